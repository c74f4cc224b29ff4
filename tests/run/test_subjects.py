"""Objects and styles, the whole way on a tiny random model: who looks, what is said, what is picked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.dinos import WIDTH, write_dino
from PIL import Image

from lorasweep import cli
from lorasweep.commands.pick import pick
from lorasweep.config.compose import as_override, load_run
from lorasweep.errors import UserError
from lorasweep.outcomes import NoteKind
from lorasweep.records import Note
from lorasweep.report.page import render
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run
from lorasweep.vision import faces

Overrides = Callable[..., list[str]]
KEPT = ("p1_plain", "p4_expression")
DROPPED = ("p2_side", "p3_scene", "p5_accessory", "p6_sketch", "p7_outside", "p8_class")
JUDGED = [
    *(f"~sample.prompts.{key}" for key in DROPPED),
    *("evaluate.enabled=true", "evaluate.budget=null", "track.mlflow=false", "pick.strengths=[]"),
    *("sample.seeds=[0, 1]", "sample.fresh_seeds=[1000]", "sample.steps=2", "sample.guidance=1"),
]


def train(words: list[str]) -> tuple[Any, list[str]]:
    said: list[str] = []
    (outcome,) = train_together([load_run(words)], say=said.append)
    return outcome, said


@pytest.fixture
def no_face_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a face network was opened")

    monkeypatch.setattr(faces, "PortraitFaces", refuse)
    monkeypatch.setattr(faces, "FaceNet", refuse)


def show_one_thing(photos: Path) -> None:
    """Each photo becomes another view of the first one."""
    rng = np.random.default_rng(0)
    paths = sorted(photos.glob("*.png"))
    thing = np.asarray(Image.open(paths[0]), dtype=np.float64)
    for path in paths:
        Image.fromarray((thing + rng.normal(0, 8, thing.shape)).clip(0, 255).astype(np.uint8)).save(path)


@pytest.mark.usefixtures("no_face_network")
def test_an_object_is_judged_by_dinov2_without_any_face_network(overrides: Overrides, tmp_path: Path) -> None:
    dino = write_dino(tmp_path / "dino")
    words = ["data.kind=object", "evaluate.image=dinov2", as_override("evaluate.image_weights", str(dino))]
    words = overrides(*JUDGED, *words)
    show_one_thing(tmp_path / "photos")
    outcome, said = train(words)
    view = read_run(outcome.folder)
    assert set(view.provenance["weights"]) == {"model", "image", "clip"}
    standing = [scores for scores in view.scores if not scores.fresh]
    assert [scores.step for scores in standing] == [0, 4, 8, 12]
    for scores in standing:
        assert 0 <= scores.components["identity"] <= 1, scores.notes
        assert np.isnan(scores.components["geometry"])
        assert Note(NoteKind.FACES_NOT_SOUGHT) in scores.notes
    cached = [np.load(path) for path in (tmp_path / "mlruns" / "features").glob("*.npz")]
    assert {row["whole"].shape for row in cached} == {(WIDTH,)}
    assert outcome.pick is not None
    assert not [line for line in said if "not measurable" in line]


@pytest.mark.usefixtures("no_face_network")
def test_of_a_style_sheets_and_curves_are_made_and_a_checkpoint_is_taken_by_hand(
    overrides: Overrides, tmp_path: Path
) -> None:
    outcome, said = train(overrides(*JUDGED, "data.kind=style"))
    view, root = read_run(outcome.folder), tmp_path / "mlruns"
    assert set(view.provenance["weights"]) == {"model", "clip"}
    assert [(sheet.step, sheet.fresh) for sheet in view.samples] == [(0, False), (4, False), (8, False), (12, False)]
    assert (view.pick.step, view.pick.run_verdict) == (None, "look at the sheet") if view.pick else False
    assert any("so there is no automatic pick: look at the sheet" in line for line in said)
    assert not any("finalists" in line for line in said)
    assert "No automatic pick" in render(view)
    assert cli.main(["pick", "last", "--root", str(root)]) == 3
    with pytest.raises(UserError, match="no checkpoint at step 5; it has 4, 8, 12"):
        pick(root, "last", step=5)
    assert cli.main(["pick", "last", "--root", str(root), "--step", "8", "--to", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{view.name}-000008.safetensors"]
    again = read_run(outcome.folder)
    assert (again.pick.step, again.pick.run_verdict) == (8, "taken by hand") if again.pick else False
    assert "Checkpoint 8 was taken by hand." in (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert cli.main(["pick", "last", "--root", str(root)]) == 0


def test_the_kind_of_data_says_what_tells_the_subject(overrides: Overrides) -> None:
    from lorasweep.config.schema import told_by

    found = {
        kind: told_by(load_run(overrides(f"data.kind={kind}"))) for kind in ("person", "object", "character", "style")
    }
    assert found == {"person": "face", "object": "image", "character": "image", "style": "none"}
    assert told_by(load_run(overrides("evaluate.subject=image"))) == "image"
