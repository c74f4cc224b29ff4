"""The replay of a search's rules, on trials made by hand."""

import pytest

from benchmarks.search.rules import Trial, search, table

STEPS = (10, 20, 30, 40, 50)


def trial(*scores: float, values: tuple[float | None, ...] | None = None, base: float = 0.0) -> Trial:
    """Its pick is worth the best score so far, and so is its quality."""
    bests = tuple(max(scores[: place + 1]) for place in range(len(scores)))
    return Trial(steps=STEPS, scores=scores, values=values or bests, qualities=bests, base=base)


GOOD, PEAKED = trial(0.5, 0.7, 0.8, 0.85, 0.86), trial(0.6, 0.9, 0.6, 0.4, 0.2)
SLOW, SLOWER = trial(0.1, 0.15, 0.2, 0.25, 0.3), trial(0.05, 0.1, 0.15, 0.2, 0.25)


def test_whole_trials_cost_everything_and_the_best_value_wins():
    found = search([GOOD, SLOW], ends_past_peak=False, gives_up=False)
    assert found == {"quality": 0.86, "spent": 1.0, "given_up": 0}


def test_a_trial_past_its_peak_keeps_its_pick_and_saves_its_last_step():
    found = search([PEAKED], ends_past_peak=True, gives_up=False)
    assert found == {"quality": 0.9, "spent": pytest.approx(0.8), "given_up": 0}


def test_a_trial_that_is_worse_than_the_base_model_ends_at_its_second_checkpoint():
    harmed = trial(0.05, 0.04, 0.05, 0.03, 0.04, values=(None,) * 5, base=0.2)
    assert search([harmed], ends_past_peak=True, gives_up=False)["spent"] == pytest.approx(0.4)
    assert search([harmed], ends_past_peak=False, gives_up=False)["spent"] == 1.0


def test_the_first_slow_trial_is_kept_and_the_second_is_given_up_at_a_fifth():
    found = search([GOOD, GOOD, SLOW, SLOWER], ends_past_peak=False, gives_up=True)
    assert (found["given_up"], found["quality"]) == (1, 0.86)
    assert found["spent"] == pytest.approx((3 + 0.2) / 4)


def test_a_trial_without_a_usable_checkpoint_never_wins():
    nothing = trial(0.9, 0.9, 0.9, 0.9, 0.9, values=(None,) * 5)
    assert search([nothing, SLOW], ends_past_peak=False, gives_up=False)["quality"] == 0.3


def test_regret_is_measured_against_whole_trials_in_the_same_order():
    searches = {
        "whole": [{"quality": 0.9, "spent": 1.0, "given_up": 0}],
        **{name: [{"quality": 0.8, "spent": 0.5, "given_up": 2}] for name in ("past peak", "given up", "both")},
    }
    rows = table([{"person": person, "searches": searches} for person in (1, 2)])
    assert rows[0][:3] == ["whole", "+0.0000 ± 0.0000", "100%"]
    assert rows[3] == ["both", "+0.1000 ± 0.0000", "50%", "2.0"]
