"""How much drawing and measuring a run pays for, decided before it starts and from its configuration alone.

The unit is a forward pass of the denoiser for one image, not a second, so that the same configuration always draws the
same checkpoints.
"""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lorasweep.config.schema import told_by
from lorasweep.records import Pick

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig

STEP_IN_FORWARDS = 2.1  # 2.0 to 2.2: frozen weights need no gradient of their own
"""Cost of a training step for one image, in forward passes."""

# On 16 runs of drawn people, leaving out every second checkpoint cost the only good one of all 8 hot runs; one seed
# instead of two cost it in 1 of 8.
LEAST_DRAWN = 8
"""Checkpoints that are drawn whatever the budget: the pick smooths over neighbours, and a run with a high learning rate
may be good at its first ones only. Cheaper sheets save better: fewer images, or fewer sampler steps."""
FINER = 2
"""Checkpoints, of those that a budget pays for, that are drawn last, next to the pick; the others are evenly spread."""
FINALISTS = 5
"""Checkpoints, at most, that are drawn again on fresh seeds: the pick, its neighbours, the best and the runner-up."""
VALIDATION_ROWS = 8
"""Photos, each at one noise level, whose loss is measured at a checkpoint: so many held-out and so many training
ones."""
FIXED_BATCH = 4  # as in its authors' code
"""Rows of the batch whose loss DVAR follows."""
FIXED_BATCH_SHARE = 0.03  # after every step, as its authors do, it would cost twice the training at one image a step
"""Share of the cost of training that following it may take."""


def fresh_sheets(run: "RunConfig", checkpoints: int) -> int:
    """Return how many sheets are drawn on fresh seeds at most, the base model's included; 0 if nothing is picked."""
    return 0 if told_by(run) == "none" else min(FINALISTS, checkpoints) + 1


def strength_sheets(run: "RunConfig") -> int:
    """Return how many sheets of the pick are drawn at other strengths than the run's own; 0 if nothing is picked."""
    return 0 if told_by(run) == "none" else len(set(run.pick.strengths) - {run.sample.strength})


def sheet_cost(run: "RunConfig") -> float:
    """Return the forward passes of one sheet: prompts x seeds x sampler steps, twice that with guidance."""
    # classifier-free guidance asks the denoiser twice; FLUX reads its guidance as an input
    twice = run.sample.guidance > 1 and run.model.family != "flux"
    return float(len(run.sample.prompts) * len(run.sample.seeds) * run.sample.steps * (2 if twice else 1))


def training_cost(run: "RunConfig") -> float:
    """Return the forward passes that the whole training is worth."""
    return run.optim.steps * run.optim.batch_size * run.optim.gradient_accumulation * STEP_IN_FORWARDS


def drawn_steps(run: "RunConfig", steps: Sequence[int]) -> tuple[int, ...]:
    """Return the checkpoints that are drawn as they are saved: all, or as many as ``evaluate.budget`` pays for.

    Those are evenly spread, the first and the last among them; ``finer_sheets`` more follow at the end.
    """
    finer = finer_sheets(run, len(steps))
    if not finer:
        return tuple(steps)
    # the finer ones come out of the same budget, and out of ``LEAST_DRAWN``
    return tuple(steps[place] for place in evenly_spread(len(steps), int(_affordable(run)) - finer))


def evenly_spread(count: int, some: int) -> list[int]:
    """Return ``some`` (2 or more) of ``count`` places, the first and the last among them."""
    last = count - 1
    return sorted({round(last - i * last / (some - 1)) for i in range(some)})


def finer_sheets(run: "RunConfig", checkpoints: int) -> int:
    """Return how many of the checkpoints that were left out are drawn at the end, next to the pick; 0 if none were."""
    return FINER if _affordable(run) < checkpoints else 0


def _affordable(run: "RunConfig") -> float:
    """Return how many sheets the budget pays for, at least ``LEAST_DRAWN``."""
    if run.evaluate.budget is None:
        return math.inf
    return max(LEAST_DRAWN, int(run.evaluate.budget * training_cost(run) / sheet_cost(run)))


def finer_step(pick: Pick, looked_at: Collection[int], steps: Sequence[int]) -> int | None:
    """Return the next checkpoint to draw: a neighbour of the pick, else of the best one; None if all are drawn.

    Args:
        looked_at: steps of the checkpoints that are drawn already.
        steps: of all checkpoints.
    """
    for step in (pick.step, pick.best_step):
        if step is None:
            continue
        place = steps.index(step)
        for near in (place + 1, place - 1):  # the later one first: the latest that still works is looked for
            if 0 <= near < len(steps) and steps[near] not in looked_at:
                return steps[near]
    return None


def glimpsed_steps(run: "RunConfig", drawn: Sequence[int]) -> tuple[int, ...]:
    """Return the steps at which images are drawn only to be looked at (``sample.every_steps``), without ``drawn``."""
    every = run.sample.every_steps
    return tuple(step for step in range(every, run.optim.steps + 1, every) if step not in drawn) if every else ()


def fixed_batch_every(run: "RunConfig") -> int:
    """Return the steps between two measurements of DVAR's batch, which then cost ``FIXED_BATCH_SHARE`` at most."""
    rows = run.optim.batch_size * run.optim.gradient_accumulation
    return math.ceil(FIXED_BATCH / (FIXED_BATCH_SHARE * STEP_IN_FORWARDS * rows))


def measuring_cost(run: "RunConfig", checkpoints: int, held_out: int) -> float:
    """Return the forward passes for losses on fixed noise, the base model's included.

    Args:
        held_out: how many photos are held out; without any, only training photos are measured.
    """
    if not run.evaluate.validation:
        return 0.0
    rows = VALIDATION_ROWS * (2 if held_out else 1)
    return float((checkpoints + 1) * rows + (run.optim.steps // fixed_batch_every(run) + 1) * FIXED_BATCH)
