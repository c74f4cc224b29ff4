"""DVAR stops where its authors' rule says, whether the loss is measured at every step or more seldom."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasweep.evaluate.dvar import EPS, WINDOW, dvar_ratio, dvar_step, dvar_stop, dvar_window


def by_the_paper(losses: list[float], window: int, eps: float) -> int | None:
    """One loss after the other, in words of the paper: stop once the recent variance is small beside the whole one."""
    seen: list[float] = []
    for place, loss in enumerate(losses):
        seen.append(loss)
        if len(seen) < window:
            continue
        recent, mean_recent = seen[-window:], math.fsum(seen[-window:]) / window
        mean_all = math.fsum(seen) / len(seen)
        of_recent = math.fsum((each - mean_recent) ** 2 for each in recent) / window
        of_all = math.fsum((each - mean_all) ** 2 for each in seen) / len(seen)
        if of_all > 0 and of_recent / of_all < eps:
            return place
    return None


@given(st.integers(2, 12), st.sampled_from([0.05, 0.15, 0.4]), st.integers(0, 10_000), st.floats(0.5, 40))
def test_it_stops_where_the_papers_rule_computed_step_by_step_does(window, eps, seed, pace):
    rng = np.random.default_rng(seed)
    losses = (0.2 * np.exp(-np.arange(60) / pace) + 0.01 * rng.normal(size=60)).tolist()
    assert dvar_stop(losses, window, eps) == by_the_paper(losses, window, eps)


def test_a_line_stops_once_the_window_is_short_beside_the_whole():
    """Of n equally spaced values the variance is (n^2 - 1) / 12 of their spacing squared."""
    losses = [1.0 - 0.01 * n for n in range(40)]
    first = next(n for n in range(10, 41) if (10**2 - 1) / (n**2 - 1) < 0.4)
    assert dvar_stop(losses, 10, 0.4) == first - 1 == 15


def test_a_loss_that_has_come_to_rest_stops_earlier_than_one_that_goes_on_falling():
    falling = np.linspace(1.0, 0.0, 100)
    resting = np.where(np.arange(100) < 20, 1.0 - np.arange(100) / 20, 0.0)
    early, late = (dvar_stop(losses.tolist(), 20, 0.15) for losses in (resting, falling))
    assert early is not None
    assert late is not None
    assert early < late


def test_the_first_full_window_is_the_whole_and_never_stops():
    losses = np.random.default_rng(0).normal(size=30)
    assert dvar_ratio(losses.tolist(), 30) == 1.0
    assert math.isnan(dvar_ratio(losses.tolist(), 31))


@pytest.mark.parametrize("losses", [[0.5] * 50, [], [0.5, math.nan] * 25])
def test_nothing_stops_without_a_variance(losses):
    assert dvar_stop(losses, 5, 0.4) is None


def test_the_published_numbers_are_kept_when_the_loss_is_measured_more_seldom():
    steps = np.arange(0, 1601)
    losses = 0.1 + 0.1 * np.exp(-steps / 300)
    every = dvar_step(steps.tolist(), losses.tolist())
    seldom = dvar_step(steps[::64].tolist(), losses[::64].tolist())
    assert every == by_the_paper(losses.tolist(), WINDOW, EPS)
    assert (dvar_window(steps.tolist()), dvar_window(steps[::64].tolist())) == (440, 7)
    assert seldom is not None
    assert every is not None
    assert abs(seldom - every) <= 64


def test_a_curve_without_its_beginning_or_of_one_value_has_no_stopping_point():
    steps, losses = list(range(0, 1000, 10)), [1 / (1 + n) for n in range(100)]
    assert dvar_step(steps, losses) is not None
    assert dvar_step(steps[1:], losses[1:]) is None
    assert dvar_step([0], [0.5]) is None
