from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasweep.config.schema import PickConfig
from lorasweep.errors import UserError
from lorasweep.evaluate.pick import MOST_PICTURES, choose, finalists, steady_score
from lorasweep.evaluate.pick import confirm as confirm_on
from lorasweep.evaluate.table import hard_prompts, smooth
from lorasweep.outcomes import RunVerdict, VerdictWord, VetoKind
from lorasweep.records import COMPONENTS, Scores, Veto

RULE = PickConfig(replicates=300)
COPIES = (Veto(VetoKind.COPIES, 0.4),)
NO_FACE = (Veto(VetoKind.NO_FACE, 0.6),)


def scored(step: int, level, seed: int = 0, *, noise: float = 0.03, vetoes=(), fresh=False) -> Scores:
    """A checkpoint whose components all lie at ``level``, a number or one a component; same noise at every step."""
    rng = np.random.default_rng(seed)
    shares = np.broadcast_to(level, (8, 2, 5)) + noise * rng.normal(size=(8, 2, 1))
    means = np.clip(shares.mean(axis=(0, 1)), 0, 1)
    components = dict(zip(COMPONENTS, means.tolist(), strict=True))
    score = float(np.exp(np.nanmean(np.log(np.maximum(means, 0.02)))))
    return Scores(
        trial="t",
        step=step,
        components=components,
        score=score,
        low=0,
        high=1,
        by_prompt=shares,
        vetoes=vetoes,
        fresh=fresh,
    )


def run(levels, **options) -> list[Scores]:
    return [scored(10 * (place + 1), level, **options) for place, level in enumerate(levels)]


def pick(scores, rule=RULE, seed=0):
    return choose(scores, rule, np.random.default_rng(seed))


def confirm(chosen, fresh, rule=RULE, standing=None):
    return confirm_on(chosen, [*(standing or run(PLATEAU)), *fresh], rule)


ARC = (0.3, 0.5, 0.7, 0.85, 0.9, 0.9, 0.88, 0.7, 0.5, 0.3)
PLATEAU = (0.3, 0.6, 0.88, 0.9, 0.9, 0.89, 0.89, 0.88, 0.6, 0.3)
"""Best at 50, picked at 70; 60 and 80 are the pick's neighbours."""
levels = st.lists(st.floats(0.05, 0.95), min_size=3, max_size=9)


def test_the_latest_one_that_still_works_is_picked():
    chosen = pick(run(ARC))
    assert chosen.best_step == 60
    assert (chosen.step, chosen.eligible, chosen.runner_up) == (60, (50, 60), 50)
    flat = pick(run(PLATEAU))
    assert (flat.best_step, flat.step, flat.runner_up) == (50, 70, 50)
    assert flat.reason.startswith("Checkpoint 70 is the latest one shown to be within 0.05 of the best, 50")


def test_best_and_earliest_are_to_be_had_too():
    scores = run(PLATEAU)
    assert pick(scores, PickConfig(prefer="best", replicates=300)).step == 50
    assert pick(scores, PickConfig(prefer="earliest", replicates=300)).step == 40
    assert pick(scores, PickConfig(prefer="earliest", delta=0.15, replicates=300)).step == 30


def test_no_delta_leaves_the_smoothed_best():
    assert pick(run(ARC), PickConfig(delta=0.0, replicates=300)).step == 60


@settings(max_examples=40, deadline=None)
@given(levels=levels, last=st.floats(0.05, 0.95), seed=st.integers(0, 50))
def test_a_worse_late_checkpoint_is_never_picked(levels, last, seed):
    before = pick(run(levels, seed=seed, noise=0.1))
    worst = min(levels) - 0.3
    chosen = pick(run([*levels, worst], seed=seed, noise=0.1))
    assert chosen.step != 10 * (len(levels) + 1)
    assert chosen.step is None or chosen.step <= 10 * len(levels)
    if before.step is not None and before.step < 10 * len(levels) and chosen.best_step == before.best_step:
        assert chosen.step == before.step


@settings(max_examples=40, deadline=None)
@given(levels=levels, seed=st.integers(0, 50), prefer=st.sampled_from(["latest", "best", "earliest"]))
def test_the_pick_is_one_of_an_unbroken_row_around_the_best(levels, seed, prefer):
    chosen = pick(run(levels, seed=seed, noise=0.1), PickConfig(prefer=prefer, replicates=200))
    if chosen.step is None:
        assert chosen.eligible == ()
        return
    assert chosen.step in chosen.eligible
    assert chosen.best_step in chosen.eligible
    assert np.diff(chosen.eligible).tolist() == [10] * (len(chosen.eligible) - 1)
    assert {"latest": chosen.eligible[-1], "best": chosen.best_step, "earliest": chosen.eligible[0]}[
        prefer
    ] == chosen.step
    assert 0 <= chosen.confidence <= 1


@settings(max_examples=30, deadline=None)
@given(levels=levels, seed=st.integers(0, 50))
def test_the_order_in_which_scores_come_does_not_matter(levels, seed):
    scores = run(levels, seed=seed)
    shuffled = [scores[place] for place in np.random.default_rng(seed).permutation(len(scores))]
    assert repr(pick(scores)) == repr(pick(shuffled))


def test_the_base_model_and_fresh_seeds_are_passed_over():
    scores = run(ARC)
    extra = [scored(0, 0.99), scored(100, 0.99, fresh=True)]
    assert repr(pick([*scores, *extra])) == repr(pick(scores))


def test_a_broken_checkpoint_is_not_jumped_over():
    assert pick(run((0.5, 0.9, 0.9, 0.9, 0.3, 0.9, 0.9, 0.9))).eligible == (30,)


def test_a_vetoed_checkpoint_is_not_picked_and_ends_the_row():
    scores = run((0.5, 0.8, 0.9, 0.9, 0.9, 0.9))
    scores[4] = replace(scores[4], vetoes=COPIES)
    chosen = pick(scores)
    assert chosen.step == 40
    words = {verdict.step: verdict for verdict in chosen.verdicts}
    assert words[50].text == "Ruled out: 40% of it is copied from training photos."
    assert words[50].cause == "novelty"


def blurred(step: int, level: float, rng: np.random.Generator) -> Scores:
    """A checkpoint whose prompts scatter by themselves, so that little is shown."""
    part = scored(step, level)
    part.by_prompt[:] = level + 0.5 * rng.normal(size=(8, 1, 1))
    part.by_prompt[:] += level - part.by_prompt.mean()
    return part


def test_a_later_checkpoint_that_scores_as_well_is_left_open_with_the_pictures_that_would_settle_it():
    rng = np.random.default_rng(1)
    level = [*run((0.72, 0.72)), *(blurred(step, 0.68, rng) for step in (30, 40, 50, 60)), *run((0.3,) * 7)[6:]]
    found = pick(level)
    assert (found.best_step, found.step, found.open_steps) == (10, 20, (30, 40))
    assert 16 < found.settled_by <= MOST_PICTURES
    assert found.reason.endswith(
        f" Checkpoints 30 to 40 may be as good: {found.settled_by} pictures a checkpoint would show it "
        "(more sample.seeds)."
    )
    answered = confirm(found, [scored(step, 0.7, fresh=True) for step in (10, 20, 30)], RULE, level)
    assert (answered.step, answered.open_steps, answered.settled_by) == (30, (), 0)
    sharp = pick(run((0.7, 0.7, 0.7, 0.3)))
    assert (sharp.open_steps, sharp.settled_by) == ((), 0)
    assert pick(level, PickConfig(prefer="best")).open_steps == ()


def destroyed(step: int, damage: float = 0.99) -> Scores:
    return scored(step, 0.05, vetoes=(Veto(VetoKind.DAMAGED, damage),))


def test_nothing_is_taken_after_two_checkpoints_in_a_row_of_nothing_but_damage():
    comeback = [scored(10, 0.6), destroyed(20), destroyed(30), scored(40, 0.9), scored(50, 0.9)]
    chosen = pick(comeback)
    assert chosen.step == 10
    assert [verdict.cause for verdict in chosen.verdicts[3:]] == ["artifact", "artifact"]
    assert "training had diverged before it, to pictures that are 99% damage" in chosen.verdicts[3].text


@pytest.mark.parametrize(
    "blip",
    [
        [destroyed(20), scored(30, 0.9)],
        [destroyed(20, 0.9), destroyed(30, 0.99)],
        [scored(20, 0.05, vetoes=NO_FACE), destroyed(30)],
    ],
)
def test_one_destroyed_checkpoint_or_damage_that_left_something_rules_out_itself_alone(blip):
    assert pick([scored(10, 0.3), *blip, scored(40, 0.9), scored(50, 0.9)]).step == 50


def test_where_every_checkpoint_is_vetoed_none_is_usable():
    chosen = pick(run((0.5, 0.9, 0.9), vetoes=NO_FACE))
    assert (chosen.step, chosen.run_verdict) == (None, RunVerdict.NOTHING_USABLE)
    assert "60% of its pictures show no face" in chosen.reason


def test_finalists_are_the_pick_the_best_and_their_neighbours():
    chosen = pick(run(PLATEAU))
    assert finalists(chosen) == (50, 60, 70, 80)
    assert finalists(replace(chosen, step=None)) == ()


def test_fresh_seeds_give_the_score_or_take_a_step_back():
    chosen = pick(run(PLATEAU))
    assert np.isnan(chosen.score)
    held = confirm(chosen, [scored(70, 0.86, 1, fresh=True), scored(50, 0.89, 1, fresh=True)], RULE)
    assert held.step == 70
    assert held.score == pytest.approx(0.86, abs=0.02)
    back = confirm(chosen, [scored(70, 0.6, 1, fresh=True), scored(50, 0.89, 1, fresh=True)], RULE)
    assert (back.step, back.runner_up) == (50, 70)
    assert back.score == pytest.approx(0.89, abs=0.02)
    assert "Both sets of seeds together prefer 50 to 70 (0." in back.reason


def test_a_veto_on_fresh_seeds_takes_a_step_back_too():
    chosen = pick(run(PLATEAU))
    fresh = [scored(70, 0.9, fresh=True, vetoes=NO_FACE), scored(50, 0.9, fresh=True)]
    assert confirm(chosen, fresh, RULE).step == 50


def again(**changed: dict) -> list[Scores]:
    """The finalists of PLATEAU on fresh seeds, all alike but for what ``changed`` says of a step."""
    return [scored(step, 0.9, fresh=True, **changed.get(f"at_{step}", {})) for step in (50, 60, 70, 80)]


def test_a_pick_that_is_also_the_best_is_not_kept_against_a_veto_on_fresh_seeds():
    chosen = pick(run(ARC))
    assert chosen.step == chosen.best_step == 60
    fresh = [scored(step, 0.9, fresh=True, vetoes=COPIES if step == 60 else ()) for step in (50, 60, 70)]
    found = confirm(chosen, [*fresh[1:], replace(fresh[0], score=0.95)], RULE)
    assert (found.step, found.score, found.runner_up) == (50, 0.95, 70)
    assert found.reason == (
        "On fresh seeds 60 is ruled out (40% of it is copied from training photos), so 50 it is: 0.95."
    )


def test_where_pick_and_best_are_ruled_out_on_fresh_seeds_the_best_other_finalist_is_taken():
    chosen = pick(run(PLATEAU))
    fresh = again(at_50={"vetoes": COPIES}, at_70={"vetoes": NO_FACE})
    fresh = [replace(part, score=0.91) if part.step == 60 else part for part in fresh]
    assert confirm(chosen, fresh, RULE).step == 60


def test_a_best_one_that_is_ruled_out_on_fresh_seeds_takes_nothing_over():
    chosen = pick(run(PLATEAU))
    fresh = [replace(part, score=0.99) if part.step == 50 else part for part in again(at_50={"vetoes": COPIES})]
    assert confirm(chosen, fresh, RULE).step == 70


def test_where_every_finalist_is_ruled_out_on_fresh_seeds_none_is_usable():
    chosen = pick(run(PLATEAU))
    fresh = again(**{f"at_{step}": {"vetoes": COPIES} for step in (50, 60, 70, 80)})
    found = confirm(chosen, fresh, RULE)
    assert (found.step, found.run_verdict, found.runner_up) == (None, RunVerdict.NOTHING_USABLE, None)
    assert found.reason == (
        "On fresh seeds checkpoint 70 is ruled out (40% of it is copied from training photos), "
        "and no other finalist is sound."
    )


def test_a_pick_that_fresh_seeds_cannot_judge_gives_way_to_a_finalist_that_they_can():
    chosen = pick(run(PLATEAU))
    fresh = [replace(part, score=np.nan) if part.step == 70 else part for part in again()]
    assert confirm(chosen, fresh, RULE).step == 60


WEAK = [0.6, 0.9, 0.9, 0.9, 0.9]
"""Hardly like the subject, and good in all else."""
UNKNOWN = [np.nan, 0.9, 0.9, 0.9, 0.9]
"""The same, but nobody can tell whether it is like the subject at all."""


def test_a_checkpoint_whose_identity_cannot_be_judged_does_not_beat_one_whose_identity_can():
    chosen = pick(run((WEAK, WEAK, WEAK, UNKNOWN)))
    assert chosen.step == 30
    verdict = chosen.verdicts[-1]
    assert (verdict.word, verdict.cause) == (VerdictWord.UNCERTAIN, "")
    assert verdict.text == "Its identity could not be judged, so its score does not compare with the others'."
    alone = [scored(40, UNKNOWN), scored(50, UNKNOWN)]
    assert pick(alone).verdicts[0].word is VerdictWord.GOOD  # with each other they compare


def test_no_replicate_picks_a_checkpoint_that_does_not_compare():
    chosen = pick(run((WEAK, UNKNOWN, UNKNOWN, UNKNOWN)))
    assert (chosen.step, chosen.confidence) == (10, 1.0)


def test_a_first_checkpoint_that_is_best_because_the_second_cannot_be_judged_was_not_too_fast():
    chosen = pick(run((WEAK, UNKNOWN, WEAK)))
    assert (chosen.step, chosen.run_verdict) == (10, RunVerdict.FINE)


def test_where_all_that_compare_are_ruled_out_one_that_does_not_is_no_way_out():
    ruled_out = [scored(step, WEAK, vetoes=COPIES) for step in (10, 20)]
    chosen = pick([*ruled_out, scored(30, UNKNOWN)])
    assert (chosen.step, chosen.run_verdict) == (None, RunVerdict.NOTHING_USABLE)
    assert "40% of it is copied from training photos" in chosen.reason


def test_a_finalist_whose_identity_fresh_seeds_cannot_judge_takes_nothing_over_and_is_not_kept():
    standing = run([[level, 0.9, 0.9, 0.9, 0.9] for level in PLATEAU])
    chosen = pick(standing)
    assert (chosen.best_step, chosen.step) == (50, 80)
    fresh = [scored(step, WEAK, fresh=True) for step in (50, 70, 80, 90)]
    lucky = [scored(50, UNKNOWN, fresh=True), *fresh[1:]]
    assert confirm(chosen, lucky, RULE, standing).step == 80
    unknown = [*fresh[:2], scored(80, UNKNOWN, fresh=True), fresh[3]]
    assert confirm(chosen, unknown, RULE, standing).step == 70
    unknown = [*fresh[:1], scored(70, UNKNOWN, fresh=True), scored(80, UNKNOWN, fresh=True)]
    assert confirm(chosen, unknown, RULE, standing).step == 50
    assert "80 is not comparable" in confirm(chosen, unknown, RULE, standing).reason


def test_of_the_finalists_both_sets_of_seeds_together_choose_as_it_is_preferred():
    level = run((0.3, 0.88, 0.9, 0.9, 0.88, 0.3))
    chosen = pick(level)
    fresh = [scored(step, value, fresh=True) for step, value in ((20, 0.9), (30, 0.93), (40, 0.9), (50, 0.895))]
    found = {prefer: confirm(chosen, fresh, PickConfig(prefer=prefer), level).step
             for prefer in ("latest", "best", "earliest")}  # fmt: skip
    assert found == {"latest": 40, "best": 30, "earliest": 30}
    even = [scored(step, 0.9, fresh=True) for step in (30, 40)]
    assert confirm(chosen, even, PickConfig(prefer="earliest"), level).step == 30


def test_a_finalist_that_standing_seeds_rule_out_takes_nothing_over():
    standing = [scored(part.step, 0.9, vetoes=COPIES) if part.step == 80 else part for part in run(PLATEAU)]
    chosen = pick(standing)
    assert chosen.step < 80
    lucky = [scored(step, 0.99 if step == 80 else 0.9, fresh=True) for step in (50, 60, 70, 80)]
    assert confirm(chosen, lucky, RULE, standing).step < 80


def test_runs_are_not_compared_by_neighbours_whose_identity_is_unknown():
    chosen = pick(run((0.3, 0.6, 0.88)))
    fresh = [scored(20, UNKNOWN, fresh=True), scored(30, WEAK, fresh=True)]
    assert steady_score(chosen, fresh) == pytest.approx(fresh[1].score)


STRANGER = [0.45, 0.95, 1.0, 1.0, 1.0]
"""Another woman's face, flawless in all else: a score of 0.72."""


def test_a_flawless_stranger_is_not_picked_however_high_the_score_is():
    chosen = pick(run((STRANGER, STRANGER, STRANGER)))
    assert (chosen.step, chosen.run_verdict) == (None, RunVerdict.NOTHING_USABLE)
    assert "shows somebody else: identity is 0.4" in chosen.reason
    assert pick(run((STRANGER,)), replace(RULE, least_likeness=0.4)).step == 10


def test_of_a_run_that_learns_the_person_late_only_the_late_ones_are_picked():
    late = [0.7, 0.6, 0.6, 0.6, 0.6]
    earliest = replace(RULE, prefer="earliest", delta=0.5)
    assert pick(run((STRANGER, STRANGER, late, late)), earliest).step == 30


def test_a_good_checkpoint_between_broken_ones_is_not_taken_for_a_stranger():
    broken, good = [0.05, 0.3, 0.3, 0.3, 0.9], [0.6, 0.9, 0.9, 0.9, 0.9]
    assert pick(run((broken, good, broken, broken))).step == 20


def hidden(part: Scores, prompts: int, likeness: float) -> Scores:
    """The same checkpoint with so many prompts at which the face is like nobody."""
    part.by_prompt[:prompts, :, 0] = likeness
    return replace(part, components={**part.components, "identity": float(part.by_prompt[..., 0].mean())})


def test_a_prompt_at_which_likeness_is_low_at_every_checkpoint_does_not_make_them_strangers():
    rising = [hidden(part, 2, 0.1) for part in run((0.3, 0.5, 0.56, 0.57))]
    assert rising[-1].components["identity"] < RULE.least_likeness
    assert list(hard_prompts(rising)) == [True, True] + [False] * 6
    assert pick(rising).step == 40


def test_likeness_that_is_low_at_many_prompts_is_the_subjects_that_was_not_learned():
    assert not hard_prompts([hidden(part, 3, 0.1) for part in run((0.5, 0.57))]).any()
    assert pick([hidden(part, 3, 0.1) for part in run((0.5, 0.57))]).step is None


def test_a_prompt_without_a_face_at_any_checkpoint_is_no_hard_one():
    faceless = [hidden(part, 2, 0.0) for part in run((0.5, 0.57))]
    assert not hard_prompts(faceless).any()
    assert pick(faceless).step is None


def test_a_prompt_that_was_like_the_subject_once_is_no_hard_one():
    fallen = [*run((0.9,)), hidden(scored(20, 0.9), 2, 0.1)]
    assert not hard_prompts(fallen).any()


def test_a_finalist_that_fresh_seeds_show_to_be_somebody_else_gives_way():
    chosen = pick(run([[level, 0.9, 0.9, 0.9, 0.9] for level in PLATEAU]))
    fresh = [scored(step, WEAK, fresh=True) for step in (50, 70, 90)] + [scored(80, STRANGER, fresh=True)]
    found = confirm(chosen, fresh, RULE)
    assert found.step in (50, 70)
    assert "80 shows somebody else" in found.reason


def test_a_fresh_score_below_the_floor_leaves_nothing():
    anybody = replace(RULE, least_likeness=0)
    chosen = pick(run((0.2, 0.25, 0.25)), anybody)
    assert chosen.step == 30
    lost = confirm(chosen, [scored(30, 0.1, fresh=True), scored(20, 0.1, fresh=True)], anybody)
    assert (lost.step, lost.run_verdict) == (None, RunVerdict.NOTHING_USABLE)


def test_no_page_says_that_fresh_seeds_choose_nothing():
    """They reverse picks, rule finalists out and advise strengths, as the tests here and in test_strength show."""
    root = Path(__file__).parents[2]
    pages = {page.name: page.read_text("utf-8") for page in (root / "README.md", *(root / "docs").glob("*.md"))}
    assert [name for name, text in pages.items() if "nothing was chosen on" in " ".join(text.split())] == []
    choosing = "may reverse the pick and advise a strength"
    assert all(choosing in " ".join(pages[name].split()) for name in ("README.md", "glossary.md", "evaluator.md"))


def test_confirming_without_the_picks_fresh_score_changes_nothing():
    chosen = pick(run(ARC))
    assert confirm(chosen, [scored(10, 0.9, fresh=True)], RULE) == chosen


def test_runs_are_compared_by_the_pick_and_its_neighbours_on_fresh_seeds():
    chosen = pick(run(PLATEAU))
    fresh = [replace(scored(step, 0.9, fresh=True), score=score) for step, score in ((60, 0.8), (70, 0.9), (80, 0.4))]
    assert chosen.step == 70
    assert steady_score(chosen, fresh) == pytest.approx(0.25 * 0.8 + 0.5 * 0.9 + 0.25 * 0.4)
    assert steady_score(chosen, fresh[1:]) == pytest.approx((0.5 * 0.9 + 0.25 * 0.4) / 0.75)
    unmeasured = [*fresh[:2], replace(fresh[2], score=np.nan)]
    assert steady_score(chosen, unmeasured) == pytest.approx((0.25 * 0.8 + 0.5 * 0.9) / 0.75)


def test_runs_are_compared_by_neighbours_as_far_as_they_are_near_in_steps():
    chosen = pick([scored(step, level) for step, level in ((20, 0.3), (60, 0.6), (80, 0.9))])
    fresh = [replace(scored(step, 0.9, fresh=True), score=score) for step, score in ((60, 0.6), (80, 0.9))]
    assert chosen.step == 80
    weight = 0.5 * (1 - 20 / 60)
    assert steady_score(chosen, fresh) == pytest.approx((weight * 0.6 + 0.5 * 0.9) / (weight + 0.5))


def test_a_last_checkpoint_has_one_neighbour_and_standing_scores_do_not_count():
    chosen = pick(run((0.3, 0.6, 0.88)))
    fresh = [replace(scored(step, 0.9, fresh=True), score=score) for step, score in ((20, 0.6), (30, 0.9))]
    assert chosen.step == 30
    assert steady_score(chosen, [*fresh, scored(20, 0.1)]) == pytest.approx((0.25 * 0.6 + 0.5 * 0.9) / 0.75)


def test_a_neighbour_that_is_ruled_out_takes_no_part_in_what_runs_are_compared_by():
    chosen = pick(run((0.3, 0.6, 0.88)))
    fresh = [scored(20, 0.2, fresh=True, vetoes=COPIES), scored(30, 0.9, fresh=True)]
    assert steady_score(chosen, fresh) == pytest.approx(fresh[1].score)


def test_a_run_without_a_pick_or_fresh_scores_is_worth_nothing_known():
    chosen = pick(run((0.3, 0.6, 0.88)))
    assert np.isnan(steady_score(replace(chosen, step=None), [scored(30, 0.9, fresh=True)]))
    assert np.isnan(steady_score(chosen, []))
    assert chosen.worth == 0.0
    assert replace(chosen, score=0.8).worth == 0.8
    assert replace(chosen, score=0.8, steady=0.7).worth == 0.7
    assert replace(chosen, score=0.8, steady=0.7, step=None).worth == 0.0


def test_a_pick_is_surer_where_the_end_is_sharp():
    sharp = pick(run((0.3, 0.6, 0.9, 0.9, 0.2, 0.1), noise=0.05))
    vague = pick([scored(10 * (n + 1), 0.85 - 0.02 * n, seed=n, noise=0.5) for n in range(10)])
    assert sharp.confidence > 0.99
    assert vague.confidence < 0.9


def test_smoothing_leaves_level_ground_level_and_takes_no_part_of_what_was_not_judged():
    shares = np.array([0.2, 0.4, np.nan, 0.8, 0.8])
    np.testing.assert_allclose(smooth(shares, (10, 20, 30, 40, 50)), [0.8 / 3, 1 / 3, np.nan, 0.8, 0.8])


@pytest.mark.parametrize("every", [1, 40, 250])
def test_of_evenly_spaced_checkpoints_neighbours_weigh_exactly_a_quarter(every):
    shares = np.random.default_rng(0).uniform(size=12)
    before, after = shares[:-2], shares[2:]
    found = smooth(shares, every * np.arange(1, 13))
    assert found[1:-1].tolist() == ((0.25 * before + 0.5 * shares[1:-1]) + 0.25 * after).tolist()


def test_the_farther_a_neighbour_is_in_steps_the_less_it_weighs():
    alone = smooth(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), (100, 200, 300, 350, 500))  # 100 steps apart on average
    np.testing.assert_allclose(alone, [0, 0.25, 0.5 / (0.25 + 0.5 + 0.375), 0.375 / (0.375 + 0.5 + 0.125), 0])
    far = smooth(np.array([1.0, 0.0, 0.0, 0.0]), (100, 1000, 1050, 1100))
    np.testing.assert_allclose(far, [1, 0, 0, 0])  # more than twice as far as is usual: it learned something else
    assert smooth(np.array([0.7]), (100,)).tolist() == [0.7]


def test_a_checkpoint_far_from_all_others_is_not_lifted_by_them():
    early = [scored(step, level) for step, level in ((10, 0.3), (500, 0.85), (510, 0.86), (520, 0.87))]
    words = {verdict.step: verdict.text for verdict in pick(early).verdicts}
    assert words[10] == "Still 71% a generic person."  # 0.29 of its own, with nothing of step 500's


def test_scores_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="no checkpoint was scored"):
        pick([scored(0, 0.5)])
    with pytest.raises(ValueError, match="several trials were given: t, u"):
        pick([scored(10, 0.5), replace(scored(20, 0.5), trial="u")])
    with pytest.raises(UserError, match="scored on different sheets"):
        pick([scored(10, 0.5), replace(scored(20, 0.5), by_prompt=np.zeros((4, 2, 5)))])


def quality(rng: np.random.Generator, epochs: int = 12) -> np.ndarray:
    """A rise, a plateau and a break, at random places."""
    place = (np.arange(epochs) + 1) / epochs
    rise, top = rng.uniform(0.12, 0.5), rng.uniform(0.75, 0.95)
    broken = np.clip(place - rng.uniform(rise + 0.1, 1.1), 0, None) * rng.uniform(0.5, 3)
    return np.clip(0.2 + (top - 0.2) * (1 - np.exp(-2.1 * place / rise)) - broken, 0.03, 1)


@pytest.mark.parametrize("sigma", [0.15, 0.35])
def test_simulated_runs_are_picked_close_to_the_best(sigma):
    """200 runs of 12 checkpoints, 16 pictures each: noise ``sigma`` a picture, 60 % of it common to all checkpoints."""
    rng = np.random.default_rng(5)
    rule = SimpleNamespace(prefer="latest", delta=0.05, confidence=0.84, replicates=100, floor=0.0, least_likeness=0.0)
    regret, close = [], []
    for number in range(200):
        truth = quality(rng)
        shared = rng.normal(0, sigma * np.sqrt(0.6), (8, 2, 1))
        own = rng.normal(0, sigma * np.sqrt(0.4), (12, 8, 2, 1))
        scores = [
            replace(scored(place + 1, level), by_prompt=level + shared + own[place], components={"identity": level})
            for place, level in enumerate(truth)
        ]
        chosen = choose(scores, rule, np.random.default_rng(number)).step - 1
        regret.append(truth.max() - truth[chosen])
        close.append(abs(chosen - np.flatnonzero(truth >= truth.max() - 0.05).max()) <= 1)
    assert np.mean(regret) <= 0.015
    assert np.mean(np.array(regret) > 0.1) <= 0.01
    assert np.mean(close) >= (0.85 if sigma < 0.2 else 0.59)
