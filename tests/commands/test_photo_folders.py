"""Folders of photos through the command line: what is taken from names, what is refused, what is written down."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.tiny import SIDE, write_tiny_photos
from PIL import Image
from safetensors import safe_open

from lorasweep import cli
from lorasweep.foreign.setup import compose
from lorasweep.track.journal import read
from lorasweep.track.recall import read_dataset, read_run

Words = Callable[..., list[str]]


@pytest.fixture
def words(overrides: Words) -> Words:
    """What follows DIR on the command line: a run of two steps, its photos left out."""
    own = ("track.mlflow=false", "name=run", "optim.steps=2", "save.count=1")
    kept = [word for word in overrides(*own) if not word.startswith(("data.path", "data.repeats"))]
    return lambda *more: [*kept, *more]


def kohya(root: Path, *names: str, captions: bool = True) -> Path:
    """A tiny data set in Kohya's layout; no two pictures are alike."""
    for number, name in enumerate(names):
        write_tiny_photos(root / name, 3)
        for path in (root / name).glob("*.png"):
            Image.open(path).rotate(90 * (number + 1)).save(path)
        if not captions:
            for path in (root / name).glob("*.txt"):
                path.unlink()
    return root


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_kohya_folder_gives_repeats_trigger_and_class_noun_and_the_run_says_so(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kohya(tmp_path / "set", "4_ohwx man", "2_ohwx man", captions=False)
    assert cli.main(["train", str(folder), *words()]) == 0
    assert "The folder's name says data.trigger=ohwx and data.class_noun='man'." in capsys.readouterr().out
    run = tmp_path / "mlruns" / "runs" / "run"
    view = read_run(run)
    assert (view.config["data"]["trigger"], view.config["data"]["class_noun"]) == ("ohwx", "man")
    assert view.config["data"]["repeats"] is None
    assert [photo.repeats for photo in view.train] == [2, 2, 2, 4, 4, 4]
    assert {photo.caption for photo in view.train} == {"ohwx man"}
    assert next(iter(view.provenance["data"]["train"])) == "2_ohwx man/0.png"
    with safe_open(next((run / "checkpoints").glob("*.safetensors")), "numpy") as file:
        assert file.metadata()["modelspec.trigger_phrase"] == "ohwx"


def test_what_the_user_says_wins_over_the_folders_name(words: Words, tmp_path: Path) -> None:
    folder = kohya(tmp_path / "set", "4_ohwx man", captions=False)
    inner = str(folder / "4_ohwx man")
    assert cli.main(["train", inner, *words("data.trigger=zwx", "data.repeats=3")]) == 0
    view = read_run(tmp_path / "mlruns" / "runs" / "run")
    assert (view.config["data"]["trigger"], view.config["data"]["class_noun"]) == ("zwx", "man")
    assert {(photo.repeats, photo.caption) for photo in view.train} == {(3, "zwx man")}


def test_a_plan_takes_the_folders_name_as_training_does(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kohya(tmp_path / "set", "4_ohwx man")
    assert cli.main(["plan", str(folder), *words(), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["notes"] == ["The folder's name says data.trigger=ohwx and data.class_noun='man'."]
    assert plan["schedule"]["repeats"] == [4]


def test_folders_of_two_subjects_are_refused_unless_one_word_is_said_for_both(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kohya(tmp_path / "set", "1_ohwx man", "1_zwx woman")
    for command in ("train", "plan"):
        assert cli.main([command, str(folder), *words()]) == 2
        (line,) = told(capsys)
        assert "holds folders of 2 subjects, 'ohwx', 'zwx'; a run teaches one" in line
    assert cli.main(["train", str(folder), *words("data.trigger=both")]) == 0


def test_all_that_is_wrong_with_a_folder_is_told_at_once(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kohya(tmp_path / "set", "4_ohwx man", "4_Ohwx man", "close ups")
    inner = folder / "4_ohwx man"
    (inner / "0.txt").write_bytes("a man".encode("utf-16"))
    (inner / "1.txt").write_bytes("Élan".encode("cp1252"))
    (inner / "9.txt").write_text("alone")
    (inner / "2.png").write_bytes(b"")
    Image.new("1", (9000, 9000)).save(inner / "bomb = huge.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (inner / "link.png").symlink_to(tmp_path / "outside.png")
    (inner / "line\nbreak.png").write_text("no picture")
    (inner / "new.heic").write_bytes(b"x")
    assert cli.main(["train", str(folder), *words()]) == 2
    lines = told(capsys)
    for part in (
        "close ups holds pictures, but it is not called as in '10_ohwx man'",
        "says 'ohwx man' where '4_Ohwx man' says 'Ohwx man'; write them alike.",
        "0.txt cannot be read as a caption: it is in UTF-16",
        "1.txt cannot be read as a caption: byte 1 is not UTF-8",
        "9.txt is a caption without its picture",
        "2.png is empty (0 bytes)",
        "bomb = huge.png has 81 megapixels; at most 64",
        "link.png is a symbolic link that leads out of",
        "line\\nbreak.png is not a picture that can be read",
        "new.heic is a picture of a kind that cannot be read",
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 10
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("name", ["a=b, {c} 'd'", "two\nlines", "[x] ${y} \\", "ünï 猫"])
def test_any_name_goes_through_the_command_line_the_journal_and_the_checkpoint(
    words: Words, tmp_path: Path, name: str
) -> None:
    folder = write_tiny_photos(tmp_path / name, 3)
    (folder / "1.png").rename(folder / f"{name.strip(chr(92))}.png")
    (folder / "1.txt").rename(folder / f"{name.strip(chr(92))}.txt")
    assert cli.main(["train", str(folder), *words("save.metadata=full", "evaluate.enabled=false")]) == 0
    run = tmp_path / "mlruns" / "runs" / "run"
    dataset = read_dataset(list(read(run)), run)
    assert dataset is not None
    assert dataset.path == folder
    assert sorted(photo.path.name for photo in dataset.train) == sorted(p.name for p in folder.glob("*.png"))
    assert all(photo.path.is_file() for photo in dataset.train)
    assert cli.main(["report", "run", "--root", str(tmp_path / "mlruns")]) == 0


def test_masks_and_pictures_of_others_are_trained_with_and_remembered(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_photos(tmp_path / "set", 3)
    for path in list(folder.glob("*.png")):
        Image.new("L", (SIDE, SIDE), 255).save(folder / f"{path.stem}-masklabel.png")
    others = kohya(tmp_path / "others", "1_person", "1_person too", captions=False)
    more = ("data.masks=files", f"data.regularisation_path={others}", "data.repeats=2", "data.flip=true")
    assert cli.main(["train", str(folder), *words(*more)]) == 0
    out = capsys.readouterr().out
    assert f"Regularisation doubles the steps of an epoch: 6 pictures of {others} are seen 6 times beside" in out
    assert "Mirror images are trained on too (data.flip)" in out
    run = tmp_path / "mlruns" / "runs" / "run"
    dataset = read_dataset(list(read(run)), run)
    assert dataset is not None
    assert [photo.mask for photo in dataset.train] == [folder / f"{n}-masklabel.png" for n in range(3)]
    assert len(dataset.regularisation) == 6
    assert read_run(tmp_path / "mlruns" / "runs" / "run").provenance["data"]["masks"].keys() == {
        "0.png",
        "1.png",
        "2.png",
    }


@pytest.mark.parametrize(
    ("said", "header", "trigger"),
    [
        ([], {}, "ohwx"),
        ([], {"modelspec.trigger_phrase": "zwx"}, "zwx"),
        (["data.trigger=qwx"], {"modelspec.trigger_phrase": "zwx"}, "qwx"),
    ],
)
def test_files_from_kohya_are_judged_with_the_trigger_of_its_folder_unless_they_or_the_user_name_one(
    tmp_path: Path, said: list[str], header: dict[str, str], trigger: str
) -> None:
    folder = kohya(tmp_path / "my set", "4_ohwx man")
    run = compose(tmp_path, ["preset=person_portraits", f"data.path={folder}", *said], {"a.safetensors": header})
    assert (run.data.trigger, run.data.class_noun) == (trigger, "man")
