"""What judging may cost is decided before a run starts."""

import pytest

from lorasweep.config.schema import (
    EvaluateConfig,
    ModelConfig,
    OptimConfig,
    PromptConfig,
    RunConfig,
    SampleConfig,
    SaveConfig,
)
from lorasweep.plan.announcements import announcement, folder_announcement
from lorasweep.plan.budget import (
    LEAST_DRAWN,
    drawn_steps,
    finer_sheets,
    finer_step,
    glimpsed_steps,
    sheet_cost,
    training_cost,
)
from lorasweep.records import Pick
from lorasweep.train.schedules import checkpoint_steps


def run(budget: float | None, *, steps: int = 1200, count: int = 12, family: str = "sd15") -> RunConfig:
    prompts = {f"p{i}": PromptConfig(text="a photo") for i in range(8)}
    return RunConfig(
        preset="test",
        model=ModelConfig(family=family, path="base"),
        optim=OptimConfig(steps=steps, batch_size=1),
        save=SaveConfig(count=count),
        sample=SampleConfig(prompts=prompts, seeds=[0, 1], steps=20, guidance=7.0),
        evaluate=EvaluateConfig(budget=budget),
    )


def test_a_sheet_costs_one_pass_a_picture_and_step_and_twice_with_guidance() -> None:
    assert sheet_cost(run(None)) == sheet_cost(run(None, family="sdxl")) == 8 * 2 * 20 * 2


def test_flux_is_told_its_guidance_and_takes_one_pass() -> None:
    assert sheet_cost(run(None, family="flux")) == 8 * 2 * 20


def test_training_costs_two_and_a_tenth_passes_a_picture() -> None:
    assert training_cost(run(None)) == pytest.approx(1200 * 2.1)


def test_without_a_budget_every_checkpoint_is_drawn() -> None:
    config = run(None)
    assert drawn_steps(config, checkpoint_steps(config)) == checkpoint_steps(config)


def test_a_budget_leaves_evenly_spread_checkpoints_and_the_last_one_and_two_for_later() -> None:
    config = run(2.6, count=20)
    assert drawn_steps(config, checkpoint_steps(config)) == (60, 240, 360, 540, 720, 900, 1020, 1200)
    assert finer_sheets(config, 20) == 2


def test_drawing_costs_no_more_than_the_budget_where_that_pays_for_the_least() -> None:
    config = run(2.6, count=20)
    sheets = len(drawn_steps(config, checkpoint_steps(config))) + finer_sheets(config, 20)
    assert LEAST_DRAWN < sheets < 20
    assert sheets * sheet_cost(config) <= 2.6 * training_cost(config)


@pytest.mark.parametrize("budget", [0.01, 0.5, 2.0])
def test_eight_checkpoints_are_drawn_however_small_the_budget(budget: float) -> None:
    config = run(budget)
    drawn = drawn_steps(config, checkpoint_steps(config))
    assert len(drawn) + finer_sheets(config, 12) == 8
    assert (drawn[0], drawn[-1]) == (100, 1200)


@pytest.mark.parametrize(
    ("picked", "best", "looked_at", "next_one"),
    [
        (300, 300, [100, 300, 500], 400),
        (300, 300, [100, 300, 400, 500], 200),
        (500, 500, [100, 300, 500], 600),
        (500, 500, [100, 300, 500, 600], 400),
        (600, 600, [100, 300, 600], 500),
        (300, 100, [200, 300, 400, 100], None),
        (300, 500, [200, 300, 400, 600, 500], None),
        (200, 500, [100, 200, 300, 500], 600),
        (None, 500, [100, 500], 600),
        (None, None, [100], None),
    ],
)
def test_the_next_one_to_look_at_is_beside_the_pick_the_later_first_then_beside_the_best(
    picked: int | None, best: int | None, looked_at: list[int], next_one: int | None
) -> None:
    pick = Pick(
        trial="anna",
        step=picked,
        best_step=best,
        runner_up=None,
        eligible=(),
        score=0.8,
        confidence=0.9,
        verdicts=(),
        run_verdict="fine",
        reason="",
    )
    assert finer_step(pick, looked_at, [100, 200, 300, 400, 500, 600]) == next_one


def test_a_run_of_few_checkpoints_has_all_of_them_drawn() -> None:
    config = run(0.01, count=5)
    assert drawn_steps(config, checkpoint_steps(config)) == checkpoint_steps(config)


def test_the_announcement_names_how_many_checkpoints_are_left_out() -> None:
    assert "6 of 12 checkpoints and at 2 more next to the pick (evaluate.budget=1.0)" in announcement(run(1.0))


def test_the_announcement_counts_the_base_model_and_the_finalists_too() -> None:
    config = run(1.0)
    sheet = sheet_cost(config) / training_cost(config)
    assert f"about {9 * sheet:.0%} of the cost of training with the base model's own" in announcement(config)
    assert f"at most {6 * sheet:.0%} for the finalists" in announcement(config)
    config.sample.fresh_seeds = [1000]
    assert f"at most {3 * sheet:.0%} for the finalists" in announcement(config)


def test_glimpses_are_the_steps_asked_for_less_those_that_are_drawn_anyway() -> None:
    config = run(1.0)
    config.sample.every_steps = 300
    drawn = drawn_steps(config, checkpoint_steps(config))
    assert 300 in drawn
    assert glimpsed_steps(config, drawn) == (600, 900)
    assert "and at 2 steps between to look at only" in announcement(config)
    config.sample.every_steps = None
    assert glimpsed_steps(config, ()) == ()


def test_the_announcement_counts_the_pick_at_each_strength_that_is_not_the_runs_own() -> None:
    config = run(None)
    sheet = sheet_cost(config) / training_cost(config)
    assert f"and {5 * sheet:.0%} for the pick at other strengths (pick.strengths)." in announcement(config)
    config.sample.strength = 0.7
    config.pick.strengths = [0.7, 0.85]
    assert f"and {sheet:.0%} for the pick at other strengths" in announcement(config)
    config.pick.strengths = []
    assert announcement(config).endswith("for the finalists on fresh seeds.")


def test_a_folder_of_files_is_announced_in_pictures() -> None:
    assert folder_announcement(run(None), 12) == (
        "Drawing 16 pictures with each of 12 files and the base model, 208 in all, then at most 96 of the finalists on "
        "fresh seeds and 80 more of the pick at other strengths (pick.strengths)."
    )
