from dataclasses import replace

import numpy as np
import pytest

from lorasweep.config.schema import PickConfig
from lorasweep.errors import UserError
from lorasweep.evaluate.strength import advise, advise_pair, strength_finalists
from lorasweep.records import COMPONENTS, Pick, RunVerdict, Scores, Veto, VetoKind

RULE = PickConfig(replicates=300)
COPIES = (Veto(VetoKind.COPIES, 0.4),)


def scored(level: float, *, spread: float = 0.0, vetoes=()) -> Scores:
    """A sheet at ``level``; with ``spread`` half of its prompts lie above that and half below."""
    sign = np.where(np.arange(8) % 2, 1.0, -1.0)[:, None, None]
    shares = np.full((8, 2, 5), level) + spread * sign
    means = dict.fromkeys(COMPONENTS, level)
    return Scores(
        trial="t", step=1, components=means, score=level, low=0, high=1, by_prompt=shares, vetoes=vetoes, fresh=True
    )  # fmt: skip


def advice(scores, rule=RULE, own=1.0):
    return advise(scores, own, rule, np.random.default_rng(0))


def picked(step: int | None = 10, best: int = 10, runner_up: int | None = 20) -> Pick:
    return Pick(
        trial="t", step=step, best_step=best, runner_up=runner_up, eligible=(10,), score=0.6, confidence=0.9,
        verdicts=(), run_verdict=RunVerdict.FINE, reason="Because.",
    )  # fmt: skip


def pair(pick, scores, rule=RULE):
    return advise_pair(pick, scores, 1.0, rule, np.random.default_rng(0))


def test_a_lower_strength_that_is_shown_to_be_better_is_advised():
    found = advice({0.7: scored(0.75), 0.85: scored(0.8), 1.0: scored(0.6)})
    assert (found.strength, found.reason) == (0.85, "At strength 0.85 it scores 0.80 against 0.60 at 1.")


def test_the_runs_own_strength_stays_where_no_other_gains_anything_worth_a_word():
    found = advice({0.7: scored(0.5), 0.85: scored(0.615), 1.0: scored(0.6)})
    assert (found.strength, found.reason) == (1.0, "Strength 0.7 or 0.85 is not shown to be better than 1.")


def test_a_gain_that_half_of_the_prompts_contradict_is_not_shown():
    rule = PickConfig(replicates=300, confidence=0.95)
    assert advice({0.85: scored(0.64, spread=0.3), 1.0: scored(0.6)}, rule).strength == 1.0
    assert advice({0.85: scored(0.64), 1.0: scored(0.6)}, rule).strength == 0.85


def test_a_ruled_out_strength_is_neither_kept_nor_advised():
    found = advice({0.7: scored(0.5), 0.85: scored(0.9, vetoes=COPIES), 1.0: scored(0.9, vetoes=COPIES)})
    assert found.strength == 0.7
    copies = "40% of it is copied from training photos"
    assert found.reason == f"At strength 1 it is ruled out ({copies}), at 0.7 it is not and scores 0.50."
    assert advice({0.85: scored(0.9, vetoes=COPIES), 1.0: scored(0.6)}).strength == 1.0


def test_a_strength_of_its_own_alone_is_advised_without_a_word():
    found = advice({1.0: scored(0.6)})
    assert (found.strength, found.reason) == (1.0, "")


def test_what_could_not_be_judged_is_no_reason_to_change():
    nothing = replace(scored(0.6), score=float("nan"))
    assert advice({0.7: nothing, 1.0: scored(0.6)}).strength == 1.0
    assert advice({0.7: scored(0.9), 1.0: nothing}).strength == 1.0


def unknown(level: float) -> Scores:
    """A sheet on which nobody can tell whether it is like the subject."""
    judged = scored(level)
    judged.by_prompt[..., 0] = np.nan
    return replace(judged, components={**judged.components, "identity": float("nan")})


def test_a_strength_at_which_identity_cannot_be_judged_does_not_compare():
    assert advice({0.7: unknown(0.9), 1.0: scored(0.6)}).strength == 1.0
    assert advice({0.7: unknown(0.9), 0.85: scored(0.8), 1.0: scored(0.6)}).strength == 0.85
    assert advice({0.7: scored(0.9), 1.0: unknown(0.6)}).strength == 1.0
    assert advice({0.7: unknown(0.9), 1.0: unknown(0.6)}).strength == 0.7
    assert advice({0.7: unknown(0.9), 1.0: scored(0.6, vetoes=COPIES)}).strength == 1.0


def test_a_finalist_whose_identity_cannot_be_judged_takes_nothing_over():
    assert pair(picked(), {10: {1.0: scored(0.6)}, 20: {1.0: unknown(0.9)}}).step == 10
    assert pair(picked(), {10: {1.0: unknown(0.6)}, 20: {1.0: scored(0.9)}}).step == 10
    assert pair(picked(), {10: {1.0: unknown(0.6)}, 20: {1.0: unknown(0.9)}}).step == 20


def test_the_pick_the_best_and_the_runner_up_are_drawn_once_each():
    assert strength_finalists(picked(30, best=20, runner_up=20)) == (20, 30)
    assert strength_finalists(picked(30, best=20, runner_up=None)) == (20, 30)
    assert strength_finalists(picked(None, best=20)) == ()


def test_the_advice_is_a_pair_of_checkpoint_and_strength():
    found = pair(picked(), {10: {0.7: scored(0.7), 1.0: scored(0.6)}, 20: {0.7: scored(0.72), 1.0: scored(0.5)}})
    assert (found.step, found.strength, found.score) == (10, 0.7, 0.6)
    assert found.reason == "Because. At strength 0.7 it scores 0.70 against 0.60 at 1."


def test_another_finalist_takes_over_only_where_it_is_better_by_more_than_delta_at_its_own_strength():
    scores = {10: {0.7: scored(0.5), 1.0: scored(0.6)}, 20: {0.7: scored(0.8), 1.0: scored(0.55)}}
    found = pair(picked(), scores)
    assert (found.step, found.strength, found.runner_up, found.score) == (20, 0.7, 10, 0.55)
    assert found.reason == ("Checkpoint 20 at strength 0.7 scores 0.80, 10 at strength 1 only 0.60, so 20 it is.")
    assert pair(picked(), scores, PickConfig(replicates=300, delta=0.25)).step == 10


def test_a_ruled_out_finalist_takes_nothing_over():
    scores = {10: {1.0: scored(0.6)}, 20: {1.0: scored(0.9, vetoes=COPIES)}}
    assert pair(picked(), scores).step == 10
    assert pair(picked(20), scores).step == 10


def test_no_pick_stays_no_pick():
    nothing = picked(None)
    assert pair(nothing, {}) is nothing


@pytest.mark.parametrize("strengths", ["[0]", "[3]", "[0.7,0.7]"])
def test_a_strength_that_makes_no_sense_is_refused(strengths):
    from lorasweep.config.compose import load_run

    with pytest.raises(UserError, match=r"^pick\.strengths is "):
        load_run(["preset=person_portraits", "data.path=photos", f"pick.strengths={strengths}"])
