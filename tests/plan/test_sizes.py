"""What a user is told of the sizes that pictures are trained at; runs of other sizes train after each other."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.tiny import tiny_run
from PIL import Image

from lorasweep import cli
from lorasweep.config.compose import as_override, load_run
from lorasweep.data.buckets import bucket_table, square_placement
from lorasweep.errors import UserError
from lorasweep.plan.announcements import say_sizes
from lorasweep.plan.schedule import picture_rows
from lorasweep.records import Dataset, Photo
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run
from lorasweep.train.trial import Trial

Overrides = Callable[..., list[str]]
QUIET = "track.mlflow=false"


def ignore(_: str) -> None:
    """Says nothing."""


def write_shapes(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.radial_gradient("L").rotate(7 * number).resize(size).save(folder / f"{number}.png")
    return folder


def test_a_plan_shows_a_row_a_size_and_as_json_a_row_a_picture(
    overrides: Overrides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_shapes(tmp_path / "shapes", (100, 60), (60, 100), (60, 100), (30, 30))
    words = [word for word in overrides(QUIET) if not word.startswith("data.path")]
    assert cli.main(["plan", str(folder), "--json", *words]) == 0
    shown = capsys.readouterr()
    schedule = json.loads(shown.out)["schedule"]
    assert schedule["steps_per_epoch"] == 4
    assert [(row["bucket"], row["pictures"], row["steps"]) for row in schedule["buckets"]] == [
        ([24, 40], 2, 2),
        ([32, 32], 1, 1),
        ([40, 24], 1, 1),
    ]
    assert schedule["placements"][3] == {
        **{"file": "3.png", "size": [30, 30], "bucket": [32, 32], "resized": [32, 32], "corner": [0, 0]},
        **{"scale": 32 / 30, "cut": 0.0, "repeats": 2, "regularisation": False},
    }
    table = [line.split() for line in shown.err.splitlines() if "x" in line.partition(" ")[0]]
    assert table == [
        ["24x40", "2", "4", "2", "0", "0%"],
        ["32x32", "1", "2", "1", "0", "0%", "x1.07"],
        ["40x24", "1", "2", "1", "0", "0%"],
    ]
    assert "3 sizes: 4 steps an epoch, 0 pictures only fill up short ones." in shown.err


def test_one_size_is_told_in_a_sentence() -> None:
    said: list[str] = []
    say_sizes(bucket_table([square_placement((100, 80), 64), square_placement((32, 32), 64)], [1, 1], 1), said.append)
    say_sizes(bucket_table([square_placement((64, 64), 64)], [1], 1), said.append)
    assert said == [
        "Pictures are trained at 64x64; at most 20% of one is cut off, and the smallest is enlarged 2.00 times.",
        "Pictures are trained at 64x64; nothing is cut off.",
    ]


def test_pictures_of_others_are_marked(tmp_path: Path) -> None:
    photos = [
        Photo(path=tmp_path / f"{n}.png", caption="a", width=64, height=64, sha256=str(n), repeats=n) for n in (1, 2)
    ]
    words = {"trigger": "s1lv10", "class_noun": "person", "fingerprint": "x"}
    dataset = Dataset(path=tmp_path, train=(photos[0],), held_out=(), regularisation=(photos[1],), **words)
    rows = picture_rows(Trial("a", tiny_run(tmp_path), dataset, tmp_path))
    assert [(row.file, row.repeats, row.regularisation) for row in rows] == [("1.png", 1, False), ("2.png", 2, True)]


def test_runs_of_other_sizes_are_trained_after_each_other_and_each_says_its_sizes(
    overrides: Overrides, tmp_path: Path
) -> None:
    folder = write_shapes(tmp_path / "shapes", (100, 60), (60, 100), (40, 40))
    words = overrides(QUIET, as_override("data.path", str(folder)))
    runs = [load_run([*words, f"data.buckets={kind}"]) for kind in ("aspect", "square", "aspect")]
    said: list[str] = []
    outcomes = train_together(runs, say=said.append)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [len(read_run(outcome.folder).steps) for outcome in outcomes] == [12] * 3
    assert sum("3 sizes: 3 steps an epoch" in line for line in said) == 1
    assert "Pictures are trained at 32x32; at most 40% of one is cut off." in said


def test_sizes_that_cannot_be_are_told_before_anything_is_loaded(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lorasweep.models.load_family", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(UserError, match=r"^data\.bucket_step is 12; for this model\.family it must be a number of"):
        train_together([load_run(overrides(QUIET, "data.bucket_step=12"))], say=ignore)
    assert not (tmp_path / "mlruns" / "runs").exists()
