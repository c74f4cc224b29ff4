"""The learning rate's factor and the steps that are saved: pure functions of the configuration."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorasweep.config.schema import OptimConfig, RunConfig


def lr_factor(optim: "OptimConfig", step: int) -> float:
    """Return what the learning rate is multiplied by at optimiser step ``step`` (0 is the first), 0 to 1."""
    if step < optim.warmup_steps:  # linear, 1 at its last step; a first step at rate 0 would be a step wasted
        return (step + 1) / optim.warmup_steps
    return SCHEDULES[optim.schedule](optim, step)


def _progress(optim: "OptimConfig", step: int) -> float:
    return (step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps)


def _constant(optim: "OptimConfig", step: int) -> float:
    return 1.0


def _cosine(optim: "OptimConfig", step: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * _progress(optim, step)))


def _cosine_restarts(optim: "OptimConfig", step: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (optim.restarts * _progress(optim, step) % 1)))


def _linear(optim: "OptimConfig", step: int) -> float:
    return 1 - _progress(optim, step)


def _wsd(optim: "OptimConfig", step: int) -> float:
    """1 until the last ``decay_fraction`` of the steps, then linearly towards 0 (arXiv 2405.18392)."""
    decay = optim.decay_fraction * optim.steps
    return min(1.0, (optim.steps - step) / decay) if decay else 1.0


SCHEDULES: dict[str, Callable[["OptimConfig", int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "linear": _linear,
    "wsd": _wsd,
}


def checkpoint_steps(run: "RunConfig") -> tuple[int, ...]:
    """Return the steps (1-based) after which a checkpoint is written; the last step is always among them."""
    steps, count, every = run.optim.steps, run.save.count, run.save.every_steps
    if every is None:
        # a set: with fewer steps than checkpoints some fall on the same step
        return tuple(sorted({max(1, round(i * steps / count)) for i in range(1, count + 1)}))
    return tuple(sorted({*range(every, steps + 1, every), steps}))
