"""The measure of the pick: sheets taken from a pool, figures from outcomes, arrays in JSON."""

import copy
import json

import numpy as np
import pytest
from contracts import subject

from benchmarks.picker import figures, measure, trajectories
from benchmarks.picker.packing import pack, pack_features, unpack, unpack_features
from benchmarks.picker.rules import BUDGETS, OURS, OURS_BEST, RULES
from benchmarks.picker.runs import read_shard, redraw, take
from benchmarks.picker.shards import rounded
from benchmarks.picker.trajectories import PLAN


@pytest.fixture(scope="module")
def evidence():
    return subject.evidence()


def test_packed_vectors_keep_their_cosines_and_zero_rows(evidence):
    face = evidence.base.face.copy()
    face[1] = 0
    again = unpack(json.loads(json.dumps(pack(face, unit=True))))
    np.testing.assert_allclose(again @ again.T, face @ face.T, atol=0.01)
    assert not again[1].any()


def test_packed_features_are_the_same_to_the_scores(evidence):
    again = unpack_features(json.loads(json.dumps(pack_features(evidence.base))))
    assert again.keys == evidence.base.keys
    np.testing.assert_array_equal(again.face_count, evidence.base.face_count)
    np.testing.assert_allclose(again.texture, evidence.base.texture, rtol=2e-3)
    np.testing.assert_array_equal(np.isnan(again.landmarks), np.isnan(evidence.base.landmarks))


def test_rounded_latents_are_within_half_a_unit_of_their_channel():
    latents = np.random.default_rng(2).normal(size=(3, 8, 16, 16)).astype(np.float32)
    (name, whole), (of_unit, unit) = rounded("0.001", latents)
    assert (name, of_unit, whole.dtype) == ("0.001", "0.001 unit", np.int8)
    again = whole * unit.astype(np.float32)
    assert np.abs(again - latents).max() <= 0.51 * unit.max() + 1e-3 * np.abs(latents).max()
    assert unit.shape == (3, 8, 1, 1)


def test_a_shard_is_made_anew_only_where_what_it_depends_on_has_changed(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(trajectories, "make", lambda plan, people, jobs: made.append(people) or iter(()))
    for person, with_what in ((1, PLAN.ingredients()), (2, "something else")):
        (tmp_path / f"person-{person}.json").write_text(json.dumps({"person": person, "made_with": with_what}))
    found = list(trajectories.shards(PLAN, (1, 2, 3), tmp_path, 1))
    assert [each["person"] for each in found] == [1]
    assert made == [[2, 3]]


def test_a_shard_made_anew_is_told_apart_by_where_the_latest_acceptable_checkpoint_went():
    committed = json.loads((trajectories.RESULTS / "person-601.json").read_text())
    assert [row[2:] for row in trajectories.compare(committed, committed)] == [["0.0000", "0.0000", "+0.0000", "0"]] * 5
    made = copy.deepcopy(committed)
    (run, *_) = read_shard(committed)
    seen = made["runs"]["0.0003"]["seen"]
    quality = unpack(seen["quality"]).reshape(len(run.steps), -1)
    quality[run.latest_acceptable] = 0
    seen["quality"] = pack(quality.ravel())
    spoilt, *others = trajectories.compare(made, committed)
    assert spoilt[2:] == [f"{run.quality[run.latest_acceptable]:.4f}", *spoilt[3:5], "-1"]
    assert (float(spoilt[3]) == 0) == (run.latest_acceptable > run.best)
    assert {row[5] for row in others} == {"0"}


@pytest.mark.parametrize(("pictures", "shape"), [(16, (8, 2)), (8, (8, 1)), (4, (4, 1))])
def test_a_redraw_takes_so_many_pictures_and_others_for_the_finalists(pictures, shape):
    part = redraw(8, 4, pictures, np.random.default_rng(3))
    assert part.rows.shape == part.fresh.shape == shape
    assert not set(part.rows.ravel()) & set(part.fresh.ravel())
    assert all(set(mine // 4) == set(other // 4) for mine, other in zip(part.rows, part.fresh, strict=True))
    assert (np.sort(part.rows[:, 0]) == part.rows[:, 0]).all()


def test_all_pictures_leave_none_for_the_finalists():
    part = redraw(8, 4, 32, np.random.default_rng(3))
    np.testing.assert_array_equal(part.rows.ravel(), np.arange(32))
    assert part.fresh is None
    with pytest.raises(ValueError, match="none are left"):
        part.swapped()


def test_a_smaller_sheet_keeps_prompts_texts_and_base_together(evidence):
    prompts, seeds = len(evidence.prompts), len(evidence.seeds)
    part = redraw(prompts, seeds, prompts, np.random.default_rng(5))
    small = part.evidence(evidence)
    assert small.base.keys == tuple(evidence.base.keys[row] for row in part.rows.ravel())
    assert [key.split("/")[0] for key in small.base.keys] == [prompt.key for prompt in small.prompts]
    assert take(evidence.base, part.rows.ravel()).keys == small.base.keys


def outcome(picks, **others):
    """Return a run of five checkpoints whose third and fourth are acceptable."""
    chosen = {name: [4] * len(picks) for name in (*RULES, *BUDGETS)} | {OURS: picks, OURS_BEST: [2]}
    seen = {
        "verdicts": {"good/good": 19, "good/over": 1, "over/over": 2, "under/uncertain": 2},
        "causes": {"artifact/artifact": 9, "prompt/identity": 1},
        "covered": 0.9,
        "artifact": [1.0, 1.0, 1.0, 0.9, 0.1],
        **{"order": 1.0, "order_before": 0.98, "caught": [99, 100], "kept": [49, 50]},
    }
    return {
        "person": 1,
        "rate": 1e-3,
        "quality": [0.30, 0.50, 0.62, 0.61, 0.40],
        "base_quality": 0.1,
        "picks": {"16": chosen},
        "seen": {"16": seen},
        "split_half": 0.9,
        "standing": 3,
        "moved": [3, 2, 4, 1],
        "second": 3,
    } | others


def seen(**others):
    """Return the same with something else seen."""
    whole = outcome([3])["seen"]["16"]
    return {"seen": {"16": whole | others}}


def test_regret_is_to_the_best_and_distance_to_the_latest_acceptable():
    found = figures.figures([outcome([3, 2, 4, None])])
    assert found["mean_regret"] == pytest.approx((0.01 + 0.0 + 0.22 + 0.52) / 4, abs=1e-4)
    assert found["share_regret_above_0_1"] == 0.5
    assert found["latest_acceptable"] == 0.25
    assert found["within_one_epoch"] == 0.75
    assert found["acceptable"] == 0.5


def test_goals_are_met_only_where_the_figures_are():
    met = figures.met([outcome([3, 3], moved=[3, 2])], noise=0.01)
    assert all(met.values()), met
    assert not figures.met([outcome([4, 4])])["mean_regret"]
    assert not figures.met([outcome([3, 3], second=0)])["same_pick_other_face_network"]
    assert not figures.met([outcome([3, 3], split_half=0.5)])["split_half_spearman"]
    assert not figures.met([outcome([3])], noise=0.06)["artifact_on_noise"]
    assert not figures.met([outcome([3])])["artifact_on_noise"]


@pytest.mark.parametrize(
    ("goal", "others"),
    [
        ("artifact_soundness_order", {"order": 0.97}),
        ("artifact_soundness_order_before", {"order_before": 0.96}),
        ("artifact_caught", {"caught": [98, 100]}),
        ("artifact_kept", {"kept": [48, 50]}),
        ("false_alarms", {"verdicts": {"good/good": 18, "good/under": 1, "over/over": 2}}),
        ("cause_right", {"causes": {"artifact/artifact": 8, "prompt/identity": 1}}),
        ("interval_coverage", {"covered": 0.95}),
        ("interval_coverage", {"covered": 0.87}),
    ],
)
def test_a_goal_is_missed_by_a_little(goal, others):
    assert figures.met([outcome([3])])[goal]
    assert not figures.met([outcome([3], **seen(**others))])[goal]


def test_a_perfect_latest_pays_for_what_is_acceptable():
    assert figures.summary([outcome([2])])["perfect_latest_regret"] == pytest.approx(0.01)
    assert figures.summary([outcome([3])])["best_regret"] == 0.0


def test_each_way_is_told_by_itself_and_may_order_a_little_worse():
    runs = [outcome([3]), outcome([4], way="outfit", **seen(order=0.96))]
    found = figures.summary(runs)
    assert list(found["ways"]) == ["rate", "outfit"]
    assert found["ways"]["rate"]["mean_regret"] == pytest.approx(0.01)
    assert found["ways"]["outfit"]["mean_regret"] == pytest.approx(0.22)
    assert found["mean_regret"] == pytest.approx(0.115)
    lost = figures.missed(figures.by_goal([runs[1]]))
    assert "mean_regret" in lost
    assert "artifact_soundness_order" not in lost


def test_a_way_in_which_nothing_falls_misses_no_order():
    run = outcome([3], **seen(order=None, order_before=None))
    assert np.isnan(figures.by_goal([run])["artifact_soundness_order"])
    assert "artifact_soundness_order" not in figures.missed(figures.by_goal([run]))


def test_another_rule_is_better_only_beyond_the_interval_over_people():
    def runs(others):
        found = [outcome([3], person=person) for person in range(len(others))]
        for run, picks in zip(found, others, strict=True):
            run["picks"]["16"]["last"] = picks
        return found

    always, mostly = [2] * 12, [2] * 11 + [4]
    assert figures.better_baselines(runs([always] * 6)) == ["last"]
    doubtful = runs([always, mostly] * 3)
    assert figures.figures(doubtful, "last")["mean_regret"] < figures.figures(doubtful)["mean_regret"]
    assert figures.better_baselines(doubtful) == []


def test_a_false_alarm_is_a_good_checkpoint_that_is_called_bad():
    found = figures.verdicts([outcome([3])])
    assert found["false_alarms"] == 0.05
    assert found["uncertain"] == pytest.approx(2 / 24, abs=1e-4)
    assert found["agreement"] == pytest.approx(21 / 22, abs=1e-4)
    assert found["cause_right"] == 0.9


def test_outcomes_of_before_say_what_they_know():
    run = outcome([3], verdicts={"good/good": 3, "good/over": 1}, covered=0.9)
    del run["seen"]
    assert figures.verdicts([run])["false_alarms"] == 0.25
    assert np.isnan(figures.verdicts([run], 8)["false_alarms"])
    assert np.isnan(figures.sight([run])["artifact_caught"])


def test_the_page_says_what_both_sets_of_runs_gave():
    """The table beside the replayed ones is typed by hand."""
    page = measure.PAGE.read_text(encoding="utf-8")
    names = {"the runs at five rates": measure.RESULTS, "made again": measure.RESULTS_ANEW}
    for name, results in names.items():
        runs = json.loads(results.read_text(encoding="utf-8"))["runs"]
        found = figures.summary(figures.ways_of(runs)[figures.RATE])  # only those were made again
        mean, share, within, exactly = (
            found[key] for key in ("mean_regret", "share_regret_above_0_1", "within_one_epoch", "latest_acceptable")
        )
        others = max(each["latest_acceptable"] for each in found["baselines"].values())
        shares = " | ".join(f"{100 * value:.1f} %" for value in (share, within, exactly, others))
        assert f"| {name} | {mean:.4f} | {shares} |" in page
