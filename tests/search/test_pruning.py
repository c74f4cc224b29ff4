from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasweep.search.pruning import EARLIEST, best_by, hopeless, past_peak

DELTA = 0.03
NAN = float("nan")


def curve(*scores: float) -> dict[int, float]:
    return {10 * (place + 1): score for place, score in enumerate(scores)}


GOOD = curve(0.5, 0.7, 0.8, 0.85, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)
SLOW_AND_BAD = curve(0.2, 0.25, 0.3, 0.3, 0.35, 0.35, 0.4, 0.4, 0.4, 0.4)
SLOW_AND_GOOD = curve(0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.9)


def test_a_trial_is_past_its_peak_when_its_scores_have_fallen_twice_in_a_row():
    assert past_peak(curve(0.5, 0.9, 0.8, 0.7), DELTA)
    assert not past_peak(curve(0.5, 0.9, 0.8, 0.9), DELTA)
    assert not past_peak(curve(0.5, 0.9, 0.8), DELTA)
    assert not past_peak(curve(0.5, 0.9, 0.85, 0.86), DELTA)


def test_a_checkpoint_that_could_not_be_measured_has_not_fallen():
    assert not past_peak(curve(0.5, 0.9, 0.7, NAN), DELTA)
    assert past_peak(curve(0.5, 0.9, 0.7, NAN, 0.6), DELTA)


def test_what_training_has_only_harmed_is_past_its_peak():
    base = {0: 0.2}
    assert past_peak(base | curve(0.05, 0.04), DELTA)
    assert not past_peak(base | curve(0.05), DELTA)
    assert not past_peak(base | curve(0.16, 0.15), DELTA)
    assert not past_peak(base | curve(0.05, 0.04, 0.25), DELTA)


def test_a_base_model_that_was_not_judged_says_nothing_of_a_peak():
    assert not past_peak({0: NAN} | curve(0.05, 0.04), DELTA)


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_scores_that_only_rise_are_never_past_a_peak(scores):
    assert not past_peak(curve(*sorted(scores)), DELTA)


def test_a_trial_far_behind_is_hopeless_once_one_like_it_ended_badly():
    assert hopeless(curve(0.2, 0.25, 0.3), [GOOD, GOOD, SLOW_AND_BAD], 100, DELTA)


def test_the_first_slow_learner_is_kept():
    assert not hopeless(curve(0.2, 0.25, 0.3), [GOOD, GOOD, GOOD], 100, DELTA)


def test_a_slow_learner_that_ended_well_keeps_its_like_alive():
    assert not hopeless(curve(0.2, 0.25, 0.3), [GOOD, GOOD, SLOW_AND_GOOD], 100, DELTA)


def test_nothing_is_given_up_before_a_fifth_of_its_steps():
    others = [GOOD, GOOD, SLOW_AND_BAD]
    assert hopeless(curve(0.1, 0.1), others, 100, DELTA)
    assert not hopeless(curve(0.1, 0.1), others, 101, DELTA)
    assert EARLIEST == 0.2


@pytest.mark.parametrize("others", [[], [GOOD], [GOOD, SLOW_AND_BAD]])
def test_nothing_is_given_up_before_enough_trials_ran_whole(others):
    assert not hopeless(curve(0.1, 0.1, 0.1), others, 100, DELTA)


def test_a_trial_as_good_as_the_middle_one_goes_on():
    assert not hopeless(curve(0.5, 0.7, 0.78), [GOOD, GOOD, SLOW_AND_BAD], 100, DELTA)


def test_a_trial_is_not_measured_by_those_that_were_quick_and_fell():
    fell = {0: 0.1} | curve(0.8, 0.85, 0.2, 0.1)
    harmed = {0: 0.1} | curve(0.02, 0.02)
    assert hopeless(curve(0.2, 0.25, 0.3), [GOOD, GOOD, SLOW_AND_BAD], 100, DELTA)
    assert not hopeless(curve(0.2, 0.25, 0.3), [fell, fell, SLOW_AND_BAD], 100, DELTA)
    assert not hopeless(curve(0.2, 0.25, 0.3), [GOOD, GOOD, GOOD, harmed], 100, DELTA)


def test_trials_are_compared_at_the_same_step():
    late = {0: 0.1, 50: 0.9, 100: 0.95}
    assert not hopeless(curve(0.2, 0.25), [late, late, late, SLOW_AND_BAD], 100, DELTA)


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_best_so_far_never_falls(scores):
    bests = [best_by(curve(*scores), step) for step in range(0, 130, 10)]
    assert all(one <= other for one, other in pairwise(bests))
    assert bests[-1] == max(scores)
