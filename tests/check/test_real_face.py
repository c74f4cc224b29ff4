"""A real photo of a real face, NASA's of Eileen Collins that scikit-image ships, from detection to its bucket."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.real import face
from lorasweep.check.inspection import finder_for
from lorasweep.check.text import CheckResult
from lorasweep.commands.check import check
from lorasweep.data.buckets import bucket_rule, place_pictures
from lorasweep.data.pictures import open_picture, placed
from lorasweep.plan.schedule import schedule_of
from lorasweep.run.entries import dataset_of
from lorasweep.vision.faces import CROP, face_crop

pytest.importorskip("skimage")
pytestmark = pytest.mark.slow


def ignore(_: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return face.write_set(tmp_path_factory.mktemp("real") / "photos")


@pytest.fixture(scope="module", autouse=True)
def without_weights(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A machine that has no weights to tell persons apart with, and cannot fetch them."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    with pytest.MonkeyPatch.context() as change:
        change.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        change.setattr("torch.hub.download_url_to_file", refuse)
        yield


@pytest.fixture(scope="module")
def finder(photos: Path) -> Any:
    return finder_for(face.run_for(photos))[0]


@pytest.fixture(scope="module")
def result(photos: Path) -> CheckResult:
    return check(photos, face.WORDS, say=ignore)


def eyes_in(finder: Any, picture: Image.Image) -> np.ndarray:
    """[2, 2] of the only face."""
    found = finder.find(np.asarray(picture))
    assert len(found.boxes) == 1
    return found.landmarks[0, :2]


def test_the_face_is_found_once_with_its_eyes_where_they_are(photos: Path, finder: Any) -> None:
    eyes = eyes_in(finder, open_picture(photos / "astronaut.png"))
    assert np.abs(eyes - [face.LEFT_EYE, face.RIGHT_EYE]).max() < 3
    assert np.abs(eyes_in(finder, open_picture(photos / "turned.jpg")) - eyes).max() < 3
    mirrored = [[511 - x, y] for x, y in (face.RIGHT_EYE, face.LEFT_EYE)]
    assert np.abs(eyes_in(finder, open_picture(photos / "twin.jpg")) - mirrored).max() < 4


def test_the_crop_that_is_compared_holds_the_face_and_little_else(photos: Path, finder: Any) -> None:
    photo = np.asarray(open_picture(photos / "astronaut.png"))
    crop = face_crop(photo, finder.find(photo).boxes[0])
    assert crop.size == (CROP, CROP)
    eyes = eyes_in(finder, crop)
    assert (eyes[:, 1] > 0.25 * CROP).all() and (eyes[:, 1] < 0.5 * CROP).all()
    assert 0.3 * CROP < eyes[1, 0] - eyes[0, 0] < 0.6 * CROP


def test_the_check_says_what_was_planted_and_nothing_else(result: CheckResult) -> None:
    about: dict[str, list[str]] = {name: [] for name in face.PLANTED}
    for finding in result.findings:
        if finding.kind not in face.THROUGHOUT:
            about[finding.paths[0].name].append(finding.kind)
    assert {name: tuple(sorted(kinds)) for name, kinds in about.items()} == face.PLANTED
    whole = [finding.kind for finding in result.findings if finding.kind in face.THROUGHOUT]
    assert tuple(sorted(whole)) == face.THROUGHOUT
    assert (result.pictures, result.faces, result.fits) == (7, 6, True)
    copies = {finding.paths[1].name for finding in result.findings if "duplicate" in finding.kind}
    assert copies == {"astronaut.png"}


def test_without_weights_it_says_that_persons_were_not_compared(result: CheckResult) -> None:
    (note,) = [note for note in result.notes if "one person's" in note]
    assert note.startswith("Whether all faces are one person's was not checked")
    assert not any(finding.kind == "other_person" for finding in result.findings)


def test_the_photos_are_trained_in_the_buckets_that_a_plan_tells(photos: Path, finder: Any, tmp_path: Path) -> None:
    for name in ("astronaut.png", "tall.jpg"):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    run = face.run_for(tmp_path)
    square, tall = schedule_of(run, dataset_of(run)).placements
    assert (square.bucket, square.resized, square.corner, square.scale, square.cut) == ((512, 512),) * 2 + (
        (0, 0),
        1,
        0,
    )
    assert (tall.size, tall.bucket, tall.resized, tall.corner) == ((384, 512), (448, 576), (448, 597), (0, 10))
    assert tall.scale == pytest.approx(448 / 384, abs=0.002)
    assert tall.cut == pytest.approx(1 - 576 / 597)
    (place,) = place_pictures([(384, 512)], bucket_rule(run.data, run.model.resolution))
    seen = placed(open_picture(photos / "tall.jpg"), place)
    assert seen.size == tall.bucket
    left, top = face.TALL[:2]
    plain = np.array([face.LEFT_EYE, face.RIGHT_EYE]) - [left, top]
    expected = plain * [448 / 384, 597 / 512] - tall.corner
    assert np.abs(eyes_in(finder, seen) - expected).max() < 4
