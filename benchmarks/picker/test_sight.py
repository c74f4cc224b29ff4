"""What the score sees of what the oracle sees."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.picker import sight
from benchmarks.picker.measure import judge_run
from benchmarks.picker.runs import read_shards
from benchmarks.picker.trajectories import RESULTS
from benchmarks.world.oracle import combine, soundness_of


@pytest.fixture(scope="module")
def hot():
    """A run at 6e-3, which falls apart."""
    return read_shards(RESULTS, [601])[3]


def test_pairs_that_are_close_in_truth_do_not_count_and_ties_count_half():
    truth = np.array([0.40, 0.38, 0.20, 0.10])
    assert sight.ordered(np.array([0.9, 1.0, 0.5, 0.1]), truth) == 1
    assert sight.ordered(np.array([1.0, 1.0, 1.0, 1.0]), truth) == 0.5
    assert sight.ordered(np.array([0.1, 0.1, 0.5, 0.9]), truth) == 0
    assert np.isnan(sight.ordered(np.ones(2), truth[:2]))


def test_soundness_is_the_factor_of_the_oracle_s_formula():
    residuals = np.array([0.01, 0.025, 0.058, 0.2])
    whole = [combine(0.0, 1.0, float(value), None).quality for value in residuals]
    np.testing.assert_allclose(soundness_of(residuals) ** 0.4, whole)
    assert (soundness_of(residuals)[:2] == 1).all()


def test_the_oracle_s_cause_is_the_part_that_fell_most(hot):
    best = hot.best
    flat = {name: np.full(len(hot.steps), values[best]) for name, values in hot.parts.items()}
    sound = np.full(len(hot.steps), hot.soundness[best])
    away = flat["distance"].copy()
    away[-1] += 0.1
    assert sight.true_causes(replace(hot, parts=flat | {"distance": away}, soundness=sound))[-1] == ("identity",)
    unheard = flat["scene_match"].copy()
    unheard[-1] = 0.2
    assert sight.true_causes(replace(hot, parts=flat | {"scene_match": unheard}, soundness=sound))[-1] == ("prompt",)
    sound[-1] = 0.1
    assert sight.true_causes(replace(hot, parts=flat, soundness=sound))[-1] == ("artifact",)
    copied = flat["copy"].copy()
    copied[-2] = 0.8
    assert sight.true_causes(replace(hot, parts=flat | {"copy": copied}, soundness=sound))[-2] == ("novelty",)


def test_of_a_destroyed_sheet_either_of_what_is_gone_is_a_right_cause(hot):
    best = hot.best
    flat = {name: np.full(len(hot.steps), values[best]) for name, values in hot.parts.items()}
    sound = np.full(len(hot.steps), hot.soundness[best])
    flat["distance"][-1], sound[-1] = 0.44, 0.0  # a stranger's distance, and no drawing at all
    fallen = sight.true_causes(replace(hot, parts=flat, soundness=sound))
    assert set(fallen[-1]) == {"identity", "artifact"}
    found = sight.pooled(
        looked(hot, words=["over"] * len(sound), causes=["prompt"] * (len(sound) - 1) + ["geometry"]),
        replace(hot, parts=flat, soundness=sound),
        [0.5] * len(sound),
    )
    assert found["causes"]["artifact/artifact"] == 1


def looked(hot, **others):
    count = len(hot.steps)
    each = {"words": ["good"] * count, "causes": [""] * count, "intervals": [(0.4, 0.6)] * count}
    return [each | {"artifact": [1.0] * count} | others]


def test_causes_count_only_where_both_see_too_much_training(hot):
    truth, fell = sight.true_words(hot), sight.true_causes(hot)
    count = len(truth)
    found = sight.pooled(looked(hot, words=["over"] * count, causes=["geometry"] * count), hot, [0.5] * count)
    assert sum(found["causes"].values()) == truth.count("over") > 0
    damaged = sum(true == "over" and "artifact" in cause for true, cause in zip(truth, fell, strict=True))
    assert found["causes"].get("artifact/artifact", 0) == damaged > 0


def test_intervals_cover_the_score_of_all_samples(hot):
    count = len(hot.steps)
    assert sight.pooled(looked(hot), hot, [0.5] * count)["covered"] == 1
    assert sight.pooled(looked(hot), hot, [0.7] * count)["covered"] == 0


def test_a_deaf_component_keeps_what_is_sound_and_catches_nothing(hot):
    found = sight.pooled(looked(hot), hot, [0.5] * len(hot.steps))
    assert found["order"] == 0.5
    assert (found["caught"][0], found["kept"][0]) == (0, found["kept"][1])
    assert found["caught"][1] == (hot.soundness < hot.soundness.max() / 2).sum() > 0
    perfect = sight.pooled(looked(hot, artifact=hot.soundness / hot.soundness.max()), hot, [0.5] * len(hot.steps))
    assert (perfect["order"], perfect["order_before"]) == (1, 1)
    assert perfect["caught"][0] == perfect["caught"][1]


def test_a_run_that_only_rises_orders_nothing(hot):
    rising = replace(hot, soundness=np.sort(hot.soundness))
    assert "order" not in sight.pooled(looked(hot), rising, [0.5] * len(hot.steps))


def test_noise_is_seen_if_the_images_are_there(hot, tmp_path):
    assert np.isnan(sight.on_noise(hot, tmp_path))
    assert sight.on_noise(hot) <= 0.05


def test_a_run_is_judged_at_every_size(hot):
    found = judge_run(hot, redraws=2, sizes=(16, 4))
    assert (found["way"], set(found["seen"])) == ("rate", {"16", "4"})
    assert all(len(each["artifact"]) == len(hot.steps) for each in found["seen"].values())
    assert sum(found["seen"]["4"]["verdicts"].values()) == 2 * len(hot.steps)


def test_what_stands_in_for_the_base_model_is_told_for_each(hot):
    found = sight.by_stand_in(hot, 2, 16)
    assert list(found) == list(sight.STAND_INS)
    assert all(each["caught"][1] > 0 for each in found.values())
    assert found["the run's first checkpoint"]["artifact"][0] == 1.0  # nothing has moved yet
    assert sight.by_stand_in(hot, 2, 32) == {}  # no other seeds are left
