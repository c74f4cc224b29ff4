"""The replay of whole searches, on a table made by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks.search.quality import SEARCHES, Table, best_of, play, shipped, summary
from benchmarks.search.rules import Trial
from benchmarks.search.table import PLAN, RANKS, RATES

STEPS = (40, 80, 120, 160, 200, 240, 280, 320)
GRID = {"sampler": "grid", "trials": 99, "prune": False, "stop_past_peak": False}


def trial(worth: float | None) -> Trial:
    """Rises to what it is worth."""
    scores = tuple(float(score) for score in np.linspace(0.1, worth or 0.1, len(STEPS)))
    values = tuple(None if worth is None else score for score in scores)
    return Trial(steps=STEPS, scores=scores, values=values, qualities=scores, base=0.0)


def table(worth: dict[tuple[float, int], float]) -> Table:
    """Every cell of the grid; those that are not named have nothing to use."""
    return Table({(rate, rank): trial(worth.get((rate, rank))) for rate in RATES for rank in RANKS})


def test_what_is_tried_first_is_the_presets_rate_unless_another_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    tried: list[float] = []
    near = Table.near
    monkeypatch.setattr(Table, "near", lambda self, rate, rank: tried.append(rate) or near(self, rate, rank))
    cells, search = table({(RATES[2], 16): 0.9}), replace(shipped("lr"), trials=1)
    play(search, cells, 0)
    play(search, cells, 0, first=1e-3)
    assert tried == [4e-3, 1e-3]


def test_a_suggestion_is_the_cell_whose_rate_is_nearest_on_a_logarithmic_scale():
    cells = table({(RATES[2], 16): 0.9, (RATES[3], 16): 0.8})
    middle = float(np.sqrt(RATES[2] * RATES[3]))
    assert cells.near(0.99 * middle, 16).qualities[-1] == pytest.approx(0.9)
    assert cells.near(1.01 * middle, 16).qualities[-1] == pytest.approx(0.8)
    assert cells.near(1.01 * middle, 4).values[-1] is None


def test_a_grid_of_whole_trials_finds_the_best_cell_and_trains_the_whole_table():
    found = play(replace(shipped("lr_rank"), **GRID), table({(RATES[5], 64): 0.9, (RATES[1], 4): 0.5}), 0)
    assert found == {"quality": pytest.approx(0.9), "spent": 24 * 320, "trials": 24, "given_up": 0}


def test_the_grid_of_rates_stays_at_the_default_rank():
    cells = table({(RATES[5], 64): 0.9, (RATES[1], 16): 0.5})
    assert play(replace(shipped("lr"), **GRID), cells, 0)["quality"] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["lr", "lr_rank"])
def test_a_shipped_search_tries_the_runs_own_values_first(name):
    own = min(RATES, key=lambda rate: abs(np.log(rate / 4e-3)))
    found = play(replace(shipped(name), trials=1), table({(own, 16): 0.7}), 0)
    assert found == {"quality": pytest.approx(0.7), "spent": 320, "trials": 1, "given_up": 0}


def test_trials_that_stay_behind_are_given_up_and_cost_less_than_whole_ones():
    cells = table({(rate, rank): 0.9 if 1e-3 < rate < 1e-2 else 0.2 for rate in RATES for rank in RANKS})
    search = replace(shipped("lr_rank"), trials=16, sampler="random")
    ends, whole = play(search, cells, 1), play(replace(search, prune=False), cells, 1)
    assert ends["given_up"] > 0
    assert ends["spent"] < whole["spent"] == 16 * 320
    assert ends["quality"] == whole["quality"] == pytest.approx(0.9)


@dataclass
class Read:
    """A run as far as the oracle's readings go."""

    read: np.ndarray


def test_the_fair_best_is_what_the_other_half_of_the_pictures_says_of_it():
    lucky = Read(np.array([[1.0, 0.2, 1.0, 0.2]]))  # by one half of its pictures alone
    steady = Read(np.array([[0.5, 0.5, 0.5, 0.5]]))
    assert best_of([lucky, steady]) == {"best": pytest.approx(0.6), "fair": pytest.approx((0.2 + 0.5) / 2)}


def test_cost_is_a_share_of_eight_rates_for_lr_and_of_the_whole_table_for_lr_rank():
    found = [{"quality": 0.6, "spent": 320.0 * 4, "trials": 4, "given_up": 0}]
    bests = {"lr": {"best": 0.61, "fair": 0.6}, "lr_rank": {"best": 0.7, "fair": 0.6}}
    person = {"person": 1, "bests": bests, "searches": dict.fromkeys(SEARCHES, found), "steps": 320}
    one, other = (summary(name, [person]) for name in ("lr", "lr_rank"))
    assert (one["cost"], other["cost"]) == (pytest.approx(4 / 8), pytest.approx(4 / 24))
    assert (one["regret"], other["regret"]) == (pytest.approx(0.01), pytest.approx(0.1))
    assert (one["within"], other["within"]) == (1.0, 0.0)


def test_the_table_is_of_what_the_searches_try():
    assert shipped("lr_rank").space["lora.rank"].choices == list(RANKS)
    assert len(PLAN.runs) == len(RATES) * len(RANKS) == 24
