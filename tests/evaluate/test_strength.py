from dataclasses import replace

import numpy as np
import pytest

from lorasweep.config.schema import PickConfig
from lorasweep.errors import UserError
from lorasweep.evaluate.strength import reach_of, with_strength
from lorasweep.evaluate.text import strength_range
from lorasweep.outcomes import NoteKind, RunVerdict, VetoKind
from lorasweep.records import COMPONENTS, Note, Pick, Scores, StrengthRange, Veto

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


def advice(scores, rule=RULE, own=1.0) -> tuple[float, str]:
    """The advised strength, and all that is said."""
    pick = Pick(
        trial="t", step=10, best_step=10, runner_up=20, eligible=(10,), score=0.6, confidence=0.9, verdicts=(),
        run_verdict=RunVerdict.FINE, reason="Because.",
    )  # fmt: skip
    found = with_strength(pick, scores, own, rule, np.random.default_rng(0))
    assert (found.step, found.score) == (10, 0.6)
    return found.strength, found.reason


def lost(level: float, component: str, value: float, **more) -> Scores:
    """A sheet at ``level`` that lost one component."""
    judged = scored(level, **more)
    judged.by_prompt[..., COMPONENTS.index(component)] = value
    return replace(judged, components={**judged.components, component: value})


def test_a_lower_strength_that_is_shown_to_be_better_is_advised():
    found = advice({0.7: scored(0.75), 0.85: scored(0.8), 1.0: lost(0.6, "artifact", 0.2)})
    assert found == (
        0.85,
        "Because. At strength 0.85 it scores 0.80 against 0.60 at 1. It works from 0.7 to 0.85; at 1 it shows damage: "
        "clay, mosaic, noise or burnt colours.",
    )


def test_the_runs_own_strength_stays_where_no_other_gains_anything_worth_a_word():
    found = advice({0.7: scored(0.58), 0.85: scored(0.615), 1.0: scored(0.6)})
    assert found == (1.0, "Because. No other strength is shown to be better than 1. It works from 0.7 to 1.")


def test_a_gain_that_half_of_the_prompts_contradict_is_not_shown():
    rule = PickConfig(replicates=300, confidence=0.95)
    assert advice({0.85: scored(0.64, spread=0.3), 1.0: scored(0.6)}, rule)[0] == 1.0
    assert advice({0.85: scored(0.64), 1.0: scored(0.6)}, rule)[0] == 0.85


def test_a_ruled_out_strength_is_neither_kept_nor_advised():
    strength, why = advice({0.7: scored(0.5), 0.85: scored(0.9, vetoes=COPIES), 1.0: scored(0.9, vetoes=COPIES)})
    assert strength == 0.7
    copies = "40% of it is copied from training photos"
    assert f"At strength 1 it is ruled out ({copies}), at 0.7 it is not and scores 0.50." in why
    assert why.endswith("It works at 0.7 only; at 0.85 it copies training photos or repeats itself.")
    assert advice({0.85: scored(0.9, vetoes=COPIES), 1.0: scored(0.6)})[0] == 1.0


def test_a_strength_at_which_it_is_somebody_else_is_not_advised():
    assert advice({0.7: replace(lost(0.9, "identity", 0.3), score=0.8), 1.0: scored(0.6)})[0] == 1.0


def test_a_strength_of_its_own_alone_is_advised_without_a_word():
    assert advice({1.0: scored(0.6)}) == (1.0, "Because.")


def test_what_could_not_be_judged_is_no_reason_to_change():
    nothing = replace(scored(0.6), score=float("nan"))
    assert advice({0.7: nothing, 1.0: scored(0.6)})[0] == 1.0
    assert advice({0.7: scored(0.9), 1.0: nothing})[0] == 1.0


def unknown(level: float) -> Scores:
    """A sheet on which nobody can tell whether it is like the subject."""
    return lost(level, "identity", float("nan"))


def test_a_strength_at_which_identity_cannot_be_judged_does_not_compare():
    assert advice({0.7: unknown(0.9), 1.0: scored(0.6)})[0] == 1.0
    assert advice({0.7: unknown(0.9), 0.85: scored(0.8), 1.0: scored(0.6)})[0] == 0.85
    assert advice({0.7: scored(0.9), 1.0: unknown(0.6)})[0] == 1.0
    assert advice({0.7: unknown(0.9), 1.0: unknown(0.6)})[0] == 0.7
    assert advice({0.7: unknown(0.9), 1.0: scored(0.6, vetoes=COPIES)})[0] == 1.0


def reach(scores, rule=RULE) -> StrengthRange:
    return reach_of(scores, 1.0, rule)


def test_it_works_at_the_strengths_that_lack_no_more_than_delta_in_an_unbroken_row():
    scores = {0.5: scored(0.9), 0.65: scored(0.8), 0.8: scored(0.86), 1.0: scored(0.9), 1.15: scored(0.87)}
    found = reach(scores)
    assert (found.low, found.high, found.too_weak, found.too_strong) == (0.8, 1.15, 0.65, None)
    assert reach(scores, PickConfig(delta=0.11)).low == 0.5


def test_what_ends_the_range_is_named_by_the_component_that_suffers_most():
    clay = (Note(NoteKind.DAMAGED, {"fault": "like clay"}),)
    weak, strong = lost(0.6, "identity", 0.3), replace(lost(0.7, "artifact", 0.2), notes=clay)
    scores = {0.65: weak, 1.0: scored(0.9), 1.3: strong}
    found = reach(scores)
    assert (found.lost_below, found.lost_above) == ("identity", "artifact")
    assert strength_range(found, scores) == (
        "It works at 1 only; at 0.65 it stops resembling the subject; at 1.3 it looks like clay."
    )


def test_a_ruled_out_strength_ends_the_range_whatever_its_score():
    found = reach({1.0: scored(0.8), 1.15: scored(0.9, vetoes=COPIES), 1.3: scored(0.9)})
    assert (found.high, found.too_strong, found.lost_above) == (1.0, 1.15, "novelty")


@pytest.mark.parametrize("strengths", ["[0]", "[3]", "[0.7,0.7]"])
def test_a_strength_that_makes_no_sense_is_refused(strengths):
    from lorasweep.config.compose import load_run

    with pytest.raises(UserError, match=r"^pick\.strengths is "):
        load_run(["preset=person_portraits", "data.path=photos", f"pick.strengths={strengths}"])
