"""The measure of ``lorasweep check``: what it plants is what it says, and what counts as found."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.check import content, measure
from benchmarks.check.faults import Chance, stream
from benchmarks.check.sets import clean_album, write_set
from lorasweep.data.findings import KINDS

PICTURES = 5


@pytest.fixture
def planted(tmp_path):
    """A fault in a small set: ``planted(kind, way)`` is the set and the plant."""

    def plant(kind, way=0, count=2):
        there = write_set(clean_album(17, PICTURES), tmp_path / f"{kind}-{way}" / "set")
        return there, measure.PLANTERS[kind][way](Chance(there, stream(0, kind, way), count))

    return plant


def test_every_kind_of_finding_is_planted():
    assert set(measure.PLANTERS) == set(KINDS)


def test_the_halves_share_no_set_and_no_person():
    seeds = {half: {case.seed for case in measure.cases(half, ["clean", *measure.PLANTERS])} for half in measure.HALVES}
    assert not seeds["A"] & seeds["B"]
    assert not seeds["C"] & (seeds["A"] | seeds["B"])
    assert clean_album(min(seeds["A"])).identity != clean_album(min(seeds["B"])).identity


def test_what_is_kept_is_kept_by_the_album_that_was_spoiled(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_experiment", lambda case, root: {"seed": case.seed})
    case = measure.Case("A", "small", 1)
    first = measure.checked(case, tmp_path)
    assert measure.checked(case, tmp_path) == first
    monkeypatch.setattr(measure, "CLEAN", measure.CLEAN + 6)
    assert measure.checked(case, tmp_path)["seed"] == case.seed != first["seed"]


def test_a_clean_set_is_a_function_of_its_seed_and_varies():
    album = clean_album(3)
    assert album == clean_album(3)
    assert 12 <= len(album.shots) <= 20
    assert len({shot.file for shot in album.shots}) == len(album.shots)
    for part in ("background", "shirt", "gaze", "expression"):
        words = [getattr(shot.scene, part) for shot in album.shots]
        assert max(map(words.count, words)) <= len(words) / 2
    assert all(album.trigger in album.caption(shot) for shot in album.shots)


@pytest.mark.parametrize(
    ("kind", "true_of"),
    [
        ("sixteen_bit", lambda picture: picture.mode == "I;16"),
        ("cmyk", lambda picture: picture.mode == "CMYK"),
        ("alpha", lambda picture: np.asarray(picture.getchannel("A")).min() == 0),
        ("rotated", lambda picture: picture.getexif()[0x0112] in (3, 6, 8)),
        ("animated", lambda picture: picture.n_frames == 3 and min(picture.size) >= 512),
        ("small", lambda picture: max(picture.size) < 256),
    ],
)
def test_planted_files_are_what_they_are_said_to_be(planted, kind, true_of):
    _, plant = planted(kind)
    assert len(plant.must) == 2
    for path in plant.must:
        with Image.open(path) as picture:
            assert true_of(picture), path


@pytest.mark.parametrize("way", range(len(measure.PLANTERS["truncated"])))
def test_a_truncated_file_begins_well_and_cannot_be_read_to_its_end(planted, way):
    for path in planted("truncated", way)[1].must:
        with Image.open(path) as picture, pytest.raises(OSError, match=r"truncated|Truncated|broken"):
            picture.load()


def test_a_phrase_is_invented_only_where_the_thing_is_not(planted):
    there, plant = planted("invented_phrase", 1, PICTURES)
    shown = {shot.stem for shot in there.album.shots if shot.scene.accessory == "microphone"}
    assert plant.must
    assert not shown & {path.stem for path in plant.must}
    assert all(path.read_text().endswith("with a microphone\n") for path in plant.must)


def test_a_stranger_is_far_from_the_person():
    rng = np.random.default_rng(1)
    one = clean_album(1).identity
    assert content.identity_distance(one, content.stranger(one, rng)) >= content.STRANGER


def record(kind, must=(), may=(), also=(), said=()):
    """What a set gave."""
    return {"half": "B", "kind": kind, "number": 0, "pictures": 10} | {
        "must": list(must),
        "may": list(may),
        "also": list(also),
        "said": [[each, list(names)] for each, names in said],
    }


def test_found_is_the_right_kind_for_every_planted_file():
    small = {"kind": "small", "must": ["a", "b"]}
    assert measure.judge(record(**small, said=[("small", ["a"]), ("small", ["b"])])).found
    half = measure.judge(record(**small, said=[("small", ["a"])]))
    assert (half.found, half.named) == (False, 1)
    assert not measure.judge(record(**small, said=[("large", ["a", "b"])])).found
    assert measure.judge(record("one_pose", said=[("one_pose", [])])).found
    assert not measure.judge(record("one_pose", said=[("one_outfit", [])])).found


def test_a_false_alarm_is_another_kind_or_another_file_and_advice_is_none():
    pair = {"kind": "duplicate", "must": ["copy"], "may": ["a"], "also": ["small"]}
    said = [("duplicate", ["a", "copy"]), ("duplicate", ["copy", "c"]), ("small", ["copy"]), ("small", ["d"])]
    verdict = measure.judge(record(**pair, said=[*said, ("rotated", ["d"]), ("one_outfit", [])]))
    assert verdict.false == {("duplicate", "c"), ("small", "d"), ("one_outfit", "")}
    assert verdict.advice == {("rotated", "d")}


def test_figures_count_sets_and_files():
    records = [
        record("clean"),
        record("clean", said=[("no_face", ["a"])]),
        record("small", ["a", "b"], said=[("small", ["a", "b"])]),
        record("small", ["a", "b"], said=[("small", ["a"]), ("no_face", ["c"])]),
    ]
    found = measure.figures(records)
    assert (found["clean_sets"], found["false_alarms"], found["pictures_wrongly_named"]) == (2, 0.5, 0.05)
    assert found["kinds"]["small"] == {"sets": 2, "found": 1, "files": 4, "named": 3, "false_alarms": 1} | {
        "said_of_others": 0
    }
    assert found["kinds_at_goal"] == 0


@pytest.mark.parametrize("kind", ["truncated", "duplicate", "caption_orphan"])
def test_what_is_planted_is_found(kind):
    verdict = measure.judge(measure.checked(measure.Case("A", kind, 0)))
    assert verdict.found
    assert not verdict.false


def test_the_page_shows_the_committed_figures():
    records = json.loads(measure.RESULTS.read_text(encoding="utf-8"))["records"]
    half = [each for each in records if each["half"] == measure.REPORTED]
    assert {(each["kind"], each["number"]) for each in half} == {
        (case.kind, case.number) for case in measure.cases(measure.REPORTED, ["clean", *measure.PLANTERS])
    }
    shown = measure.PAGE.read_text(encoding="utf-8").partition(measure.MARKS[0])[2].partition(measure.MARKS[1])[0]
    assert shown.strip() == measure.tables(measure.figures(half))
