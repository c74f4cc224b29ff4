"""Runs that version 0.1 left (``tests/fixtures/lorasweep-0.1``) are read, continued and made again by this one.

``anna`` is finished. ``bella`` was stopped at step 8 of 12; what 0.1 itself made of her at step 12 is summed up here.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lorasweep.commands.evaluate import evaluate
from lorasweep.commands.pick import pick
from lorasweep.commands.report import report
from lorasweep.commands.reproduce import reproduce
from lorasweep.commands.resume import resume
from lorasweep.outcomes import RunVerdict
from lorasweep.records import RunView
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run

OLD = Path(__file__).parents[1] / "fixtures" / "lorasweep-0.1"
OLD_SIGNATURE = "d1f9ab6f81d3d832"
BELLA_AT_12 = {"lora_up": 5.622224603927041, "lora_down": 6.966115682754215}
"""Euclidean norms of the weights."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the old runs, where the fixture's files think that they are."""
    home = Path(shutil.copytree(OLD, tmp_path / "old"))
    for path in (*home.rglob("*.json"), *home.rglob("*.jsonl")):
        path.write_text(path.read_text(encoding="utf-8").replace("/tmp/lorasweep-0.1", home.as_posix()), "utf-8")
    monkeypatch.chdir(home)  # held_out_path and track.root were typed without a folder before them
    return home / "mlruns"


def run_of(root: Path, name: str) -> RunView:
    return read_run(root / "runs" / name)


def norms(file: Path) -> dict[str, float]:
    weights = load_file(file)
    parts = ("lora_up", "lora_down")
    return {
        part: float(torch.cat([weights[key].double().flatten() for key in weights if f".{part}." in key]).norm())
        for part in parts
    }


def ignore(_: str) -> None:
    """Says nothing."""


def test_a_finished_run_is_picked_from_and_reported(root: Path, tmp_path: Path) -> None:
    view = run_of(root, "anna")
    assert (view.status, [each.step for each in view.checkpoints]) == ("finished", [4, 8, 12])
    assert [scores.step for scores in view.scores] == [0, 4, 8, 12, 8, 12]
    said: list[str] = []
    found = pick(root, "anna", tmp_path / "chosen", say=said.append)
    assert found.pick.step == 12
    assert (tmp_path / "chosen" / "anna-000012.safetensors").read_bytes() == (
        OLD / "mlruns/runs/anna/checkpoints/anna-000012.safetensors"
    ).read_bytes()
    assert "Use anna-000012.safetensors at strength 1." in said
    page = report(root, "anna").read_text(encoding="utf-8")
    assert "anna-000012.safetensors" in page and "<h2>Checkpoints</h2>" in page
    assert "bella-000008.safetensors" in report(root, "bella").read_text(encoding="utf-8")


def test_a_finished_run_is_scored_again_beside_its_old_scores(root: Path) -> None:
    before = run_of(root, "anna")
    pictures = {path: path.stat().st_mtime_ns for path in (root / "runs" / "anna" / "samples").rglob("*.png")}
    outcome = evaluate(root, "anna", say=ignore)
    after = run_of(root, "anna")
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures
    signatures = [entry.payload["signature"] for entry in read(before.folder) if entry.kind == "scores"]
    assert signatures[: len(before.scores)] == [OLD_SIGNATURE] * len(before.scores)
    assert OLD_SIGNATURE not in signatures[len(before.scores) :]
    assert [scores.step for scores in after.scores if not scores.fresh] == [0, 4, 8, 12]
    # What was fine by version 0.1's rule is somebody else by today's: twelve steps teach nobody's face.
    assert before.pick is not None and before.pick.run_verdict is not RunVerdict.NOTHING_USABLE
    assert after.pick is not None and outcome.pick is not None
    assert (after.pick.step, after.pick.run_verdict) == (None, RunVerdict.NOTHING_USABLE)
    assert after.pick.reason == outcome.pick.reason
    assert "shows somebody else" in after.pick.reason
    assert (after.status, after.provenance) == ("finished", before.provenance)


def test_a_stopped_run_is_resumed_to_the_weights_that_version_0_1_came_to(root: Path) -> None:
    before = run_of(root, "bella")
    assert (before.status, [step.step for step in before.steps]) == ("stopped", list(range(1, 9)))
    (outcome,) = resume(root, "bella", say=ignore)
    after = run_of(root, "bella")
    assert (after.status, [step.step for step in after.steps]) == ("finished", list(range(1, 13)))
    assert after.steps[:8] == before.steps
    assert [scores.step for scores in after.scores if not scores.fresh] == [0, 4, 8, 12]
    assert outcome.pick is not None and outcome.pick.run_verdict is RunVerdict.NOTHING_USABLE
    last = after.checkpoints[-1].path
    assert last is not None and norms(last) == pytest.approx(BELLA_AT_12, rel=1e-5)
    assert json.loads((after.folder / "provenance.json").read_text()) == before.provenance


def test_a_finished_run_is_made_again(root: Path) -> None:
    result = reproduce(root, "anna", True, say=ignore)
    assert result.fine
    assert result.verdict in ("identical", "within tolerance"), result
    assert not [line for line in result.changed if line.startswith(("weights.", "data."))]
