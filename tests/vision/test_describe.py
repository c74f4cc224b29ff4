from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lorasweep.errors import UserError
from lorasweep.records import TEXTURE
from lorasweep.vision.describe import COLUMNS, Scorers, describe_files, open_scorers
from lorasweep.vision.embedder import Seen, mask_faces, unit


class LeftBrightness:
    """Sees a face in the left half of every picture that is not black, and tells people by their brightness."""

    sha256 = "faces"

    def __init__(self) -> None:
        self.looked = 0

    def look(self, pictures):
        self.looked += len(pictures)
        level = np.array([picture[:, : picture.shape[1] // 2].mean() for picture in pictures]).reshape(-1)
        found = level > 0
        boxes = np.where(found[:, None], [[0.0, 0.25, 0.5, 0.75]], np.nan)
        points = np.where(found[:, None, None], np.full((1, 5, 2), 0.3), np.nan)
        vectors = unit(np.stack([level, 255 - level], axis=1)) * found[:, None]
        return Seen(vectors=vectors, count=found.astype(np.int64), boxes=boxes, landmarks=points)


class MeanColour:
    sha256 = "clip"

    def pictures(self, pictures):
        return unit(np.array([picture.mean(axis=(0, 1)) + 1 for picture in pictures]).reshape(-1, 3))

    def texts(self, texts):
        return unit(np.array([[len(text), 1.0, 1.0] for text in texts]))


@pytest.fixture
def scorers():
    return Scorers(LeftBrightness(), MeanColour())


@pytest.fixture
def files(tmp_path):
    paths = []
    for number, left in enumerate((0, 60, 200)):
        pixels = np.full((40, 60, 3), 30, np.uint8)
        pixels[:, :30] = left
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_every_column_says_what_was_seen(files, scorers):
    seen = describe_files(files, scorers, ["a", "b", "c"], size=(60, 40))
    assert seen.keys == ("a", "b", "c")
    assert seen.face_count.tolist() == [0, 1, 1]
    np.testing.assert_allclose(seen.face_size, np.array([0, 1, 1]) * np.sqrt(30 * 20) / 40)
    assert seen.face[0].tolist() == [0, 0]
    np.testing.assert_allclose(seen.face[2], np.array([200, 55]) / np.hypot(200, 55))
    assert np.isnan(seen.landmarks[0]).all()
    assert seen.texture.shape == (3, len(TEXTURE))


def test_the_scene_is_the_picture_with_the_face_painted_gray(files, scorers):
    seen = describe_files(files, scorers, ["a", "b", "c"], size=(60, 40))
    np.testing.assert_array_equal(seen.scene[0], seen.image[0])
    black = np.zeros((100, 100, 3), np.uint8)
    masked = mask_faces([black], np.array([[0.4, 0.4, 0.6, 0.6]]))[0]
    assert masked[38:62, 38:62].min() == 128
    assert masked.sum() == 24 * 24 * 3 * 128
    assert black.max() == 0


def test_a_picture_is_looked_at_once(files, scorers, tmp_path):
    fresh = describe_files(files, scorers, ["a", "b", "c"], size=(60, 40), cache=tmp_path / "cache")
    again = describe_files(files[::-1], scorers, ["c", "b", "a"], size=(60, 40), cache=tmp_path / "cache")
    assert scorers.faces.looked == 3
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(again, name)[::-1], getattr(fresh, name))
    assert again.keys == ("c", "b", "a")


def test_other_weights_another_size_and_the_mirror_are_looked_at_anew(files, scorers, tmp_path):
    cache = tmp_path / "cache"
    describe_files(files, scorers, "abc", size=(60, 40), cache=cache)
    describe_files(files, scorers, "abc", size=(30, 20), cache=cache)
    mirrored = describe_files(files, scorers, "abc", size=(60, 40), mirrored=True, cache=cache)
    assert mirrored.face_count.tolist() == [1, 1, 1]
    scorers.faces.sha256 = "others"
    describe_files(files, scorers, "abc", size=(60, 40), cache=cache)
    assert scorers.faces.looked == 12


def test_a_cache_file_that_a_crash_cut_short_is_made_again(files, scorers, tmp_path):
    fresh = describe_files(files, scorers, "abc", size=(60, 40), cache=tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    again = describe_files(files, scorers, "abc", size=(60, 40), cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.texture, fresh.texture)
    assert scorers.faces.looked == 6


def test_no_pictures_make_no_rows(scorers):
    seen = describe_files([], scorers, [], size=(64, 64))
    assert (len(seen.keys), len(seen.face), len(seen.image), seen.texture.shape) == (0, 0, 0, (0, len(TEXTURE)))


def test_the_weights_are_known_by_their_hashes(scorers):
    assert scorers.weights_sha256 == {"face": "faces", "clip": "clip"}


def test_weights_that_cannot_be_had_get_one_sentence(tmp_path):
    settings = {"face": "facenet", "face_weights": str(tmp_path / "no.pt"), "face_weights_sha256": None}
    with pytest.raises(UserError, match=r"evaluate.face_weights is '.*no.pt', which does not exist"):
        open_scorers(SimpleNamespace(**settings))


class Thing:
    sha256 = "thing"

    def pictures(self, pictures):
        return unit(np.array([[picture[:, :20].mean(), 100.0] for picture in pictures]).reshape(-1, 2))


def test_where_no_face_is_looked_for_the_whole_picture_is_and_nothing_is_masked(files, tmp_path):
    scorers = Scorers(None, MeanColour(), Thing())
    seen = describe_files(files, scorers, "abc", size=(60, 40), cache=tmp_path)
    again = describe_files(files, scorers, "abc", size=(60, 40), cache=tmp_path)
    assert (seen.face.shape, seen.face_count.tolist(), seen.face_size.tolist()) == ((3, 0), [0, 0, 0], [0, 0, 0])
    np.testing.assert_array_equal(seen.scene, seen.image)
    np.testing.assert_allclose(seen.subject, unit(np.array([[0.0, 100], [60, 100], [200, 100]])))
    np.testing.assert_array_equal(again.subject, seen.subject)
    assert scorers.weights_sha256 == {"image": "thing", "clip": "clip"}


def test_what_faces_were_seen_in_is_not_read_for_a_thing_or_a_style(files, scorers, tmp_path):
    cache = tmp_path / "cache"
    by_face = describe_files(files, scorers, "abc", size=(60, 40), cache=cache)
    by_clip = describe_files(files, Scorers(None, scorers.clip, scorers.clip), "abc", size=(60, 40), cache=cache)
    of_style = describe_files(files, Scorers(None, scorers.clip), "abc", size=(60, 40), cache=cache)
    assert len(list(cache.iterdir())) == 9
    assert by_face.whole is of_style.whole is None
    np.testing.assert_array_equal(by_clip.subject, by_clip.image)
    assert (by_face.face.shape, of_style.face.shape) == ((3, 2), (3, 0))
