"""``lorasweep check``: what it says, draws and mends, and that it changes nothing."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lorasweep import cli
from lorasweep.data.hashes import file_sha256
from lorasweep.portraits.people import sample_identity, sample_scene
from lorasweep.portraits.render import render

pytestmark = pytest.mark.slow
WORDS = ("preset=person_sd15", "evaluate.face=portraits", "hardware=cpu", "data.trigger=s1lv10")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Drawn photos of one person: one is there twice, one is torn, one lies on its side, one lacks the trigger."""
    import numpy as np

    rng = np.random.default_rng(5)
    folder, person = tmp_path / "photos", sample_identity(rng)
    folder.mkdir()
    for number in range(6):
        picture = render(person, sample_scene(rng, sketches=0.0), 640, number)
        picture.save(folder / f"{number}.jpg", quality=92)
        (folder / f"{number}.txt").write_text("a person" if number == 3 else "s1lv10 person", encoding="utf-8")
    (folder / "again.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (folder / "again.txt").write_text("s1lv10 person", encoding="utf-8")
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:5000])
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(folder / "2.jpg") as upright:
        upright.rotate(90, expand=True).save(folder / "2.jpg", quality=92, exif=exif)
    return folder


def shas(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def test_it_names_each_fault_with_its_file_and_changes_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shas(photos)
    assert cli.main(["check", str(photos), *WORDS, "--json", "--sheet", str(tmp_path / "sheet.png")]) == 2
    told = json.loads(capsys.readouterr().out)
    found = {
        (each["kind"], Path(each["paths"][0]).name)
        for level in ("errors", "warnings", "advice")
        for each in told[level]
        if each["paths"]
    }
    planted = {("truncated", "1.jpg"), ("duplicate", "again.jpg"), ("rotated", "2.jpg"), ("trigger_missing", "3.txt")}
    assert planted <= found
    assert {kind for kind, _ in found} & {
        "no_face",
        "several_faces",
        "small",
        "upscaled",
        "mirrored_duplicate",
    } == set()
    assert shas(photos) == before
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_a_mended_copy_is_whole_upright_and_single(photos: Path, tmp_path: Path) -> None:
    before = shas(photos)
    cli.main(["check", str(photos), *WORDS, "--fix", str(tmp_path / "mended")])
    assert shas(photos) == before
    names = {path.name for path in (tmp_path / "mended").iterdir()}
    assert {"1.jpg", "again.jpg"} & names == set()
    assert (tmp_path / "mended" / "3.txt").read_text(encoding="utf-8").startswith("s1lv10")
    with Image.open(tmp_path / "mended" / "2.jpg") as upright:
        assert upright.getexif().get(0x0112, 1) == 1
    assert cli.main(["check", str(tmp_path / "mended"), *WORDS]) == 0


@pytest.mark.parametrize("place", ["photos/inside", "photos"])
def test_a_mended_copy_never_lies_among_the_originals(
    photos: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(photos), *WORDS, "--fix", str(tmp_path / place)]) == 2
    assert "must lie apart from the photos" in capsys.readouterr().err
