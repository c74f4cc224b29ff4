"""Mirrored pictures in a set, on drawn faces laid straight by nearly the renderer's own landmarks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.check import orientation as benchmark
from lorasweep.check import variety as check
from lorasweep.data.facts import FaceFacts
from lorasweep.data.orientation import HEIGHT, WIDTH, best_split, orientation
from lorasweep.portraits.people import sample_identity, sample_scene
from lorasweep.portraits.render import landmarks, render
from lorasweep.vision.face_facts import aligned_face

SIDE, PICTURES = 256, 10
MIRRORED = (2, 5, 9)


def photo(seed, number, mole=True):
    """A picture of a person and its landmarks."""
    who = sample_identity(np.random.default_rng([7, seed]))
    who = who if mole else replace(who, mole_height=20.0)
    rng = np.random.default_rng([7, seed, number])
    scene = sample_scene(rng, sketches=0.0)
    points = landmarks(who, scene, SIDE, number) + rng.normal(scale=2.0, size=(5, 2))
    return render(who, scene, SIDE, number), points


def mirrored(picture, points):
    """Left eye and left corner of the mouth are then those that were right."""
    turned = (points * (-1, 1) + (picture.width, 0))[[1, 0, 2, 4, 3]]
    return ImageOps.mirror(picture), turned


def crops(seed, turned=(), mole=True):
    """[PICTURES, HEIGHT, WIDTH]."""
    photos = [photo(seed, number, mole) for number in range(PICTURES)]
    photos = [mirrored(*each) if number in turned else each for number, each in enumerate(photos)]
    return np.stack([aligned_face(np.asarray(picture), points) for picture, points in photos])


@pytest.fixture(scope="module", params=[1, 2, 3])
def person(request):
    """Crops of one drawn person, all the same way round, and with MIRRORED turned."""
    return crops(request.param), crops(request.param, MIRRORED)


def test_pictures_that_are_the_same_way_round_are_left_alone(person):
    said = orientation(person[0])
    assert said.score < check.MIXED / 2
    assert said.mirrored == ()


def test_the_mirrored_pictures_of_a_mixed_set_are_named(person):
    said = orientation(person[1])
    assert said.score > check.MIXED
    assert said.mirrored == MIRRORED


def test_which_way_round_all_pictures_are_does_not_matter(person):
    for some in person:
        one, other = orientation(some), orientation(some[..., ::-1])
        assert one.score == pytest.approx(other.score, abs=1e-9)
        assert one.mirrored == other.mirrored


def test_light_from_alternating_sides_is_no_mirroring(person):
    ramp = 1 + 0.35 * np.linspace(-1, 1, WIDTH)
    lit = [crop * (ramp if number % 2 else ramp[::-1]) for number, crop in enumerate(person[0])]
    said = orientation(np.clip(lit, 0, 255).astype(np.uint8))
    assert said.score < check.MIXED / 2
    assert said.mirrored == ()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_a_face_without_a_mark_nothing_is_said_whichever_way_round(seed):
    for turned in ((), MIRRORED):
        assert orientation(crops(seed, turned, mole=False)).score < check.MIXED


def test_the_best_split_of_two_sides_is_found_and_the_more_come_first():
    sides = np.array([1, -1, 1, 1, -1, 1, 1.0])
    agreement = np.outer(sides, sides) + 0.2 * np.random.default_rng(0).standard_normal((7, 7))
    agreement = (agreement + agreement.T) / 2
    np.fill_diagonal(agreement, 0)
    assert best_split(agreement).tolist() == sides.tolist()
    assert best_split(np.zeros((3, 3))).tolist() == [1, 1, 1]


def test_one_picture_agrees_with_itself_and_crops_of_another_size_are_refused():
    assert orientation(np.zeros((1, HEIGHT, WIDTH), np.uint8)).score == 0
    with pytest.raises(ValueError, match=rf"\[4, 64, 64\]; they must be \[N, {HEIGHT}, {WIDTH}\]"):
        orientation(np.zeros((4, 64, 64), np.uint8))


def facts(some):
    """What the check is given of as many pictures."""
    blank = {"width": 512, "height": 512, "count": 1, "box": np.zeros(4), "turn": 0.0, "blur": 0.0, "pixels": 9.0}
    empty = {"identity": np.zeros((0, 0)), "background": np.zeros(0), "outfit": np.zeros(0)}
    return [FaceFacts(path=Path(f"{row}.jpg"), crop=crop, **blank, **empty) for row, crop in enumerate(some)]


def test_the_finding_names_the_pictures_and_how_far_to_trust_it(person):
    (found,) = check.check_orientation(facts(person[1]), None)
    assert (found.kind, found.level) == ("mixed_mirror", "advice")
    assert found.paths == tuple(Path(f"{row}.jpg") for row in MIRRORED)
    assert found.text.startswith("3 of 10 faces look mirrored")
    assert f"{check.MEASURED[8].auroc:.1%}" in found.text
    assert "drawn people only" in found.text
    assert check.check_orientation(facts(person[0]), None) == []


def test_it_is_made_unasked_only_where_it_was_measured_to_be_reliable(person, monkeypatch):
    some = facts(person[1])
    assert check.check_orientation(some, False) == []
    monkeypatch.setitem(check.MEASURED, 8, check.Reliability(auroc=0.79, precision=0.5))
    assert check.check_orientation(some, None) == []
    assert len(check.check_orientation(some, True)) == 1


def test_nothing_is_said_of_fewer_faces_than_were_measured_nor_of_pictures_of_several_people(person):
    some = facts(person[1])
    assert check.check_orientation(some[:7], True) == []
    assert check.check_orientation([replace(each, count=2) for each in some], True) == []


@pytest.mark.parametrize(("pictures", "size"), [(8, 8), (14, 8), (15, 15), (29, 15), (30, 30), (200, 30)])
def test_a_set_is_judged_by_the_largest_size_measured_that_is_no_larger(pictures, size):
    assert check.reliability(pictures) is check.MEASURED[size]


def test_the_reliability_that_is_told_is_the_one_that_was_measured():
    told = json.loads(benchmark.RESULTS.read_text(encoding="utf-8"))
    again = benchmark.summary(told["records"])
    assert again == told["figures"]
    assert again["threshold"] == check.MIXED
    measured = {int(size): (each["auroc"], each["precision"]) for size, each in again["B"].items()}
    assert {size: (each.auroc, each.precision) for size, each in check.MEASURED.items()} == measured


def test_a_mirrored_picture_has_the_mirrored_crop_at_any_size_and_tilt():
    picture, points = photo(1, 0)
    straight = aligned_face(np.asarray(picture), points)
    turned = aligned_face(*[np.asarray(part) for part in mirrored(picture, points)])
    assert np.abs(straight.astype(float) - turned[:, ::-1]).mean() < 1.5
    large = picture.resize((3 * SIDE, 3 * SIDE), Image.Resampling.BICUBIC)
    assert np.abs(straight.astype(float) - aligned_face(np.asarray(large), 3 * points)).mean() < 3
    around = np.array([SIDE, SIDE]) / 2
    tilted = aligned_face(np.asarray(picture.rotate(-90)), (points - around) @ np.array([[0, 1], [-1, 0]]) + around)
    assert np.abs(straight.astype(float) - tilted).mean() < 3
