"""The arithmetic of what a cohort brings."""

import pytest

from benchmarks.speed import cohort, sweep_cost

FOUND = {
    "training": {
        "16x16, batch 1": {"1": 1.0, "8": 2.5, "peft_seconds": 0.1},
        "8x8, batch 1": {"1": 0.8, "8": 3.0, "peft_seconds": 0.05},
    },
    "largest_loss_difference": 2e-7,
    "drawing": {"8x8, 1 each": 2.6},
}


def test_a_figure_is_held_against_its_goal_in_its_own_direction():
    figures = cohort.figures(FOUND)
    assert set(figures) == set(cohort.GOALS)
    assert {name for name, value in figures.items() if not cohort.met(name, value)} == {
        "c8_over_peft_8x8",
        "c1_step_over_peft_8x8",
    }
    assert figures["c1_step_over_peft_8x8"] == pytest.approx(1.25)


def test_trunks_are_shared_by_all_budgets_of_a_rate_and_a_process_pays_for_its_start():
    found = sweep_cost.costs(peft=1.0, cohort=4.0, start=10.0)
    assert found == {
        "a cohort of 8": 10 + 400 * 4,
        "one warm process, shared trunks": 10 + 8 * 400,
        "one warm process, every cell": 10 + 8 * 1800,
        "a process a rate": 80 + 8 * 400,
        "a process a cell": 640 + 8 * 1800,
    }
    ratios = sweep_cost.figures({"start": 10.0, "steps": {"x": {"peft": 1.0, "cohort": 4.0}}})
    assert ratios["x: one warm process, shared trunks"] == pytest.approx(3210 / 1610, abs=1e-3)
