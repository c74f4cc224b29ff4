"""Pictures of people, and the truth that comes with them."""

import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lorasweep.portraits.folder import write_photos
from lorasweep.portraits.people import (
    ACCESSORIES,
    BACKGROUNDS,
    EXPRESSIONS,
    GAZES,
    NUMBERS,
    Scene,
    sample_identity,
    sample_scene,
)
from lorasweep.portraits.render import COLOURS, GAIN, face_box, landmarks, render


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def person(rng):
    return replace(sample_identity(rng), skin=0.3, hair_style="bob", facial_hair="none")


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float32)


def test_a_picture_is_a_pure_function_of_its_arguments(person):
    scene = Scene()
    assert (pixels(render(person, scene, 64, 5)) == pixels(render(person, scene, 64, 5))).all()
    assert (pixels(render(person, scene, 64, 5)) != pixels(render(person, scene, 64, 6))).any()


@pytest.mark.parametrize("size", [64, 96, 512])
def test_any_size_is_the_same_picture(person, size):
    picture = render(person, Scene(), size, 1)
    assert picture.size == (size, size) and picture.mode == "RGB"
    small = pixels(render(person, Scene(), 64, 1))
    assert np.abs(pixels(picture.resize((64, 64), Image.Resampling.BOX)) - small).mean() < 6


def test_every_parameter_of_a_person_can_be_seen(person):
    for name in NUMBERS:
        low = pixels(render(replace(person, **{name: 0.0}), Scene(), 64, 2))
        high = pixels(render(replace(person, **{name: 1.0}), Scene(), 64, 2))
        assert (np.abs(low - high).max(2) > 24).sum() >= 3, name


def test_a_mirrored_picture_differs_because_of_the_mole(person):
    left = render(replace(person, mole_side="left"), Scene(), 64, 3)
    right = render(replace(person, mole_side="right"), Scene(), 64, 3)
    difference = np.abs(pixels(left) - pixels(right)).max(2)
    assert (difference > 60).sum() >= 8
    ys, xs = np.nonzero(difference > 60)
    marks = landmarks(person, Scene(), 64, 3)
    assert xs.min() < marks[0, 0] + 3 and xs.max() > marks[1, 0] - 3 and ys.min() > marks[0, 1]


@pytest.mark.parametrize(("field", "words"), [("expression", EXPRESSIONS), ("gaze", GAZES), ("accessory", ACCESSORIES)])
def test_what_a_prompt_names_changes_many_pixels(person, field, words):
    pictures = [pixels(render(person, replace(Scene(), **{field: word}), 64, 4)) for word in words]
    for place, one in enumerate(pictures):
        for other in pictures[:place]:
            assert (np.abs(one - other).max(2) > 40).sum() >= 25


def test_the_background_is_nearest_to_its_name_in_every_light(person):
    for light in ("normal", "bright", "dim"):
        for name in BACKGROUNDS:
            scene = Scene(background=name, light=light)
            corner = pixels(render(person, scene, 64, 5))[2:14, 2:10].mean((0, 1)) / GAIN[light]
            gaps = {other: np.abs(corner - COLOURS[other]).sum() for other in BACKGROUNDS}
            assert min(gaps, key=gaps.__getitem__) == name, (light, name, corner)


def test_landmarks_lie_in_the_face_and_scale_with_the_picture(rng):
    for seed in range(50):
        person, scene = sample_identity(rng), sample_scene(rng)
        marks, box = landmarks(person, scene, 64, seed), face_box(person, scene, 64, seed)
        assert marks.shape == (5, 2) and box.shape == (4,)
        assert (marks > box[:2]).all() and (marks < box[2:]).all()
        assert np.allclose(landmarks(person, scene, 128, seed), 2 * marks, atol=1e-4)


def test_the_left_eye_is_white_at_its_landmark_around_a_dark_pupil(person):
    scene = Scene(gaze="camera")
    picture = pixels(render(person, scene, 512, 6))
    for x, y in landmarks(person, scene, 512, 6)[:2]:
        assert picture[int(y), int(x) + 2].mean() < 100


def test_drawing_is_fast(rng):
    people = [(sample_identity(rng), sample_scene(rng)) for _ in range(100)]
    started = time.process_time()
    for seed, (person, scene) in enumerate(people):
        render(person, scene, 64, seed)
    assert (time.process_time() - started) / 100 < 0.006


def test_a_folder_of_one_person_has_photos_and_captions(tmp_path, person, rng):
    write_photos(tmp_path, person, 5, rng, trigger="s1lv10")
    photos = sorted(tmp_path.glob("*.png"))
    assert len(photos) == 5
    for photo in photos:
        assert Image.open(photo).size == (64, 64)
        assert "s1lv10 person" in photo.with_suffix(".txt").read_text()
