"""The learning rate over time, and when a checkpoint is written."""

import math

import pytest

from lorasweep.config.schema import DataConfig, ModelConfig, OptimConfig, RunConfig, SaveConfig
from lorasweep.train.schedules import checkpoint_steps, lr_factor


def factors(**optim: object) -> list[float]:
    config = OptimConfig(**{"steps": 100, **optim})  # type: ignore[arg-type]
    return [lr_factor(config, step) for step in range(config.steps)]


def test_constant_stays() -> None:
    assert set(factors()) == {1.0}


def test_a_constant_rate_does_not_know_how_long_the_run_is() -> None:
    assert factors(steps=30, warmup_steps=5) == factors(steps=100, warmup_steps=5)[:30]


def test_warm_up_is_linear_and_ends_at_one() -> None:
    assert factors(warmup_steps=4)[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_falls_to_zero_along_half_a_wave() -> None:
    values = factors(schedule="cosine")
    assert values[0] == 1
    assert values[50] == pytest.approx(0.5)
    assert values[25] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert 0 < values[-1] < 0.001


def test_restarts_begin_anew() -> None:
    values = factors(schedule="cosine_restarts", restarts=2)
    assert values[50] == 1
    assert values[49] < 0.01
    assert values[25] == pytest.approx(0.5)


def test_linear_falls_evenly_after_the_warm_up() -> None:
    values = factors(schedule="linear", warmup_steps=20)
    assert values[20] == 1
    assert values[60] == pytest.approx(0.5)
    assert values[99] == pytest.approx(1 / 80)


def test_wsd_is_stable_and_then_decays() -> None:
    values = factors(schedule="wsd", decay_fraction=0.2)
    assert set(values[:80]) == {1.0}
    assert values[90] == pytest.approx(0.5)
    assert values[99] == pytest.approx(0.05)
    assert set(factors(schedule="wsd", decay_fraction=0.0)) == {1.0}


@pytest.mark.parametrize(
    ("steps", "save", "expected"),
    [
        (100, SaveConfig(count=4), (25, 50, 75, 100)),
        (100, SaveConfig(every_steps=30), (30, 60, 90, 100)),
        (5, SaveConfig(count=12), (1, 2, 3, 4, 5)),
        (1600, SaveConfig(count=12), (133, 267, 400, 533, 667, 800, 933, 1067, 1200, 1333, 1467, 1600)),
        (10, SaveConfig(every_steps=50), (10,)),
    ],
)
def test_checkpoints_are_evenly_spaced_and_the_last_step_is_one(
    steps: int, save: SaveConfig, expected: tuple[int, ...]
) -> None:
    run = RunConfig(
        preset="t", model=ModelConfig(path="x"), data=DataConfig(path="x"), optim=OptimConfig(steps=steps), save=save
    )
    assert checkpoint_steps(run) == expected
