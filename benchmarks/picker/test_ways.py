"""More ways to over-train: what their photos are, who is in them, and what is told of their runs."""

import json

import numpy as np
import pytest

from benchmarks.picker import ways
from benchmarks.picker.runs import RATE, read_shard, read_shards
from benchmarks.picker.shards import identity_of
from benchmarks.picker.trajectories import PLAN
from benchmarks.picker.trajectories import RESULTS as TRAJECTORIES
from benchmarks.picker.ways import HALVES, WAYS, Wrong, plan_of, read_ways, shots_of, write_way
from benchmarks.world.oracle import load_oracle
from lorasweep.portraits.folder import write_person
from lorasweep.run.entries import dataset_of

PERSON = HALVES["A"][0]


def test_every_way_has_a_cause_of_its_own():
    assert {way.wrong for way in WAYS.values()} == set(Wrong)


def test_the_person_of_a_seed_is_the_one_that_is_written(tmp_path):
    assert write_person(tmp_path, PERSON) == identity_of(PERSON)


def test_the_old_shards_are_still_those_of_the_present_code():
    committed = json.loads((TRAJECTORIES / "person-601.json").read_text(encoding="utf-8"))
    assert committed["made_with"] == PLAN.ingredients()


@pytest.mark.parametrize(
    ("key", "photos"), [("outfit", 6), ("few", 5), ("bare", 15), ("repeated", 15), ("strangers", 15), ("mirrored", 15)]
)
def test_a_way_is_read_as_so_many_photos(key, photos, tmp_path):
    write_way(tmp_path, PERSON, key)
    dataset = dataset_of(plan_of(key).config(key, tmp_path / "photos"))
    assert (len(dataset.train), len(dataset.held_out)) == (photos, ways.HELD_OUT)
    assert all(ways.TRIGGER in photo.caption for photo in dataset.train)


def test_the_repeated_photo_is_seen_ten_times_as_often(tmp_path):
    write_way(tmp_path, PERSON, "repeated")
    dataset = dataset_of(plan_of("repeated").config("repeated", tmp_path / "photos"))
    assert sorted(photo.repeats for photo in dataset.train) == [1] * 14 + [10]


def test_all_ways_of_a_person_hold_the_same_photos_out(tmp_path):
    for key in ("outfit", "soft"):
        write_way(tmp_path / key, PERSON, key)
    one, other = (sorted((tmp_path / key / "held_out").glob("*.png")) for key in ("outfit", "soft"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


def test_every_third_photo_is_mirrored_and_no_other():
    straight, mirrored = (shots_of(key, PERSON) for key in ("long", "mirrored"))
    # captions draw random numbers, so that only the first photos of two ways are the same
    np.testing.assert_array_equal(np.asarray(straight[0].picture), np.asarray(mirrored[0].picture))
    who = load_oracle().readers.read(np.stack([np.asarray(shot.picture) for shot in mirrored]))
    other = [reading.identity.mole_side != identity_of(PERSON).mole_side for reading in who]
    assert np.mean(other[2::3]) >= 0.8
    assert np.mean([*other[0::3], *other[1::3]]) <= 0.2


def test_what_all_photos_have_in_common_stands_in_no_caption():
    words = " ".join(shot.caption for shot in shots_of("one_pose", PERSON))
    assert not any(word in words for word in ("looking", "facing", "smil", "sad", "surprised", "neutral"))
    assert "close-up" not in " ".join(shot.caption for shot in shots_of("headshots", PERSON))
    assert {shot.caption for shot in shots_of("bare", PERSON)} == {f"a photo of {ways.TRIGGER} person"}


def test_other_photos_are_another_plan():
    signatures = {plan_of(key).ingredients() for key in ("bare", "headshots", "soft", "strangers", "mirrored")}
    assert len(signatures) == 5


def test_an_old_run_differs_in_its_rate_alone():
    (run, *_) = read_shards(TRAJECTORIES, [601])
    assert (run.way, run.rate) == (RATE, 3e-4)
    assert run.soundness.shape == run.quality.shape
    assert ((run.soundness > 0) & (run.soundness < 1)).all()


def test_a_shard_of_a_way_tells_way_and_rate():
    shard = json.loads((TRAJECTORIES / "person-601.json").read_text(encoding="utf-8"))
    run = shard["runs"].popitem()[1]
    (found,) = read_shard({**shard, "runs": {"outfit": run}, "way": "outfit", "rate": 2e-3, "rank": 16})
    assert (found.way, found.rate, found.rank) == ("outfit", 2e-3, 16)


def test_ways_that_were_not_made_are_left_out(tmp_path):
    assert read_ways(HALVES["A"], tmp_path) == []
