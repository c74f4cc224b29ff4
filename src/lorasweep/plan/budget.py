"""How much drawing a run may afford, decided before it starts and from its configuration alone.

Counted in forward passes of the denoiser, not in seconds, so that the same configuration always draws the same
checkpoints.
"""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lorasweep.config.schema import told_by
from lorasweep.records import Pick

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig

STEP_IN_FORWARDS = 2.1
"""A LoRA step with a frozen base costs 2.0 to 2.2 forward passes a picture: no gradient of the frozen weights."""

LEAST_DRAWN = 8
"""Whatever the budget says, this many checkpoints are drawn: the pick smooths over neighbours, and a hot run may be
good at its first ones only. Cheaper sheets save better: fewer pictures, or fewer sampler steps."""

FINER = 2
"""Of the checkpoints that a budget pays for, so many are drawn last, next to the pick; the others are evenly spread."""

FINALISTS = 5
"""At most so many checkpoints are drawn again on fresh seeds: the pick, its neighbours, the best and the runner-up."""


STRENGTH_FINALISTS = 3
"""At most so many are drawn at other strengths: the pick, the best and the runner-up."""


VALIDATION_ROWS = 8
"""Photos at a noise level whose loss is measured at a checkpoint, of held-out photos and of training photos each."""
FIXED_BATCH = 4
"""Rows of the batch that DVAR watches; its authors' code takes four too."""
FIXED_BATCH_SHARE = 0.03
"""Watching it may cost this share of training. After every step, as its authors do, it would cost twice the training at
one picture a step."""


def fresh_sheets(run: "RunConfig", checkpoints: int) -> int:
    """How many sheets are drawn on fresh seeds, the base model's among them, at most; none where nothing is picked."""
    return 0 if told_by(run) == "none" else min(FINALISTS, checkpoints) + 1


def strength_sheets(run: "RunConfig", checkpoints: int) -> int:
    """How many sheets of finalists are drawn at other strengths than the run's own, at most."""
    if told_by(run) == "none":
        return 0
    return min(STRENGTH_FINALISTS, checkpoints) * len(set(run.pick.strengths) - {run.sample.strength})


def sheet_cost(run: "RunConfig") -> float:
    """Forward passes of one sheet: prompts x seeds x sampler steps, twice with guidance; FLUX is told its guidance."""
    twice = run.sample.guidance > 1 and run.model.family != "flux"
    return float(len(run.sample.prompts) * len(run.sample.seeds) * run.sample.steps * (2 if twice else 1))


def training_cost(run: "RunConfig") -> float:
    """Forward passes that the whole training is worth."""
    return run.optim.steps * run.optim.batch_size * run.optim.gradient_accumulation * STEP_IN_FORWARDS


def drawn_steps(run: "RunConfig", steps: Sequence[int]) -> tuple[int, ...]:
    """The checkpoints that are drawn as they come: all, or evenly spread ones as far as ``evaluate.budget`` pays.

    The last one is always drawn. ``finer_sheets`` more follow where some are left out.
    """
    finer = finer_sheets(run, len(steps))
    if not finer:
        return tuple(steps)
    return tuple(steps[place] for place in evenly_spread(len(steps), int(_affordable(run)) - finer))


def evenly_spread(count: int, some: int) -> list[int]:
    """``some`` (two at least) of ``count`` places, the first and the last among them."""
    last = count - 1
    return sorted({round(last - i * last / (some - 1)) for i in range(some)})


def finer_sheets(run: "RunConfig", checkpoints: int) -> int:
    """How many are drawn at the end, next to the pick, of the checkpoints that were left out; 0 where none are."""
    return FINER if _affordable(run) < checkpoints else 0


def _affordable(run: "RunConfig") -> float:
    """Sheets that the budget pays for, ``LEAST_DRAWN`` at least."""
    if run.evaluate.budget is None:
        return math.inf
    return max(LEAST_DRAWN, int(run.evaluate.budget * training_cost(run) / sheet_cost(run)))


def finer_step(pick: Pick, looked_at: Collection[int], steps: Sequence[int]) -> int | None:
    """The next checkpoint to look at: a neighbour of the pick, else of the best one, that nobody looked at.

    The later neighbour comes first, since the latest that still works is looked for. None where all are known.
    """
    for step in (pick.step, pick.best_step):
        if step is None:
            continue
        place = steps.index(step)
        for near in (place + 1, place - 1):
            if 0 <= near < len(steps) and steps[near] not in looked_at:
                return steps[near]
    return None


def glimpsed_steps(run: "RunConfig", drawn: Sequence[int]) -> tuple[int, ...]:
    """The steps whose pictures are drawn for looking only, as ``sample.every_steps`` asks; never those in ``drawn``."""
    every = run.sample.every_steps
    return tuple(step for step in range(every, run.optim.steps + 1, every) if step not in drawn) if every else ()


def fixed_batch_every(run: "RunConfig") -> int:
    """Steps between two measurements of DVAR's batch, so that they cost ``FIXED_BATCH_SHARE`` of training at most."""
    rows = run.optim.batch_size * run.optim.gradient_accumulation
    return math.ceil(FIXED_BATCH / (FIXED_BATCH_SHARE * STEP_IN_FORWARDS * rows))


def measuring_cost(run: "RunConfig", checkpoints: int, held_out: int) -> float:
    """Forward passes for losses on fixed noise, the base model's included.

    Args:
        held_out: photos; without any only training photos are measured.
    """
    if not run.evaluate.validation:
        return 0.0
    rows = VALIDATION_ROWS * (2 if held_out else 1)
    return float((checkpoints + 1) * rows + (run.optim.steps // fixed_batch_every(run) + 1) * FIXED_BATCH)


def measuring_words(run: "RunConfig", checkpoints: int, held_out: int) -> str:
    """One sentence that says what measuring losses costs; '' where none are."""
    cost = measuring_cost(run, checkpoints, held_out)
    photos = "held-out and training" if held_out else "training"
    share = cost / training_cost(run)
    return f"Losses of {photos} photos on fixed noise: about {share:.0%} of the cost of training." if cost else ""


def announcement(run: "RunConfig") -> str:
    """One sentence that says what judging will cost before it is spent."""
    from lorasweep.train.schedules import checkpoint_steps

    steps = checkpoint_steps(run)
    drawn = drawn_steps(run, steps)
    pictures = len(run.sample.prompts) * len(run.sample.seeds)
    glimpsed, finer = len(glimpsed_steps(run, drawn)), finer_sheets(run, len(steps))
    sheet = sheet_cost(run) / training_cost(run)
    fresh_sheet = sheet * len(run.sample.fresh_seeds) / len(run.sample.seeds)
    again = fresh_sheets(run, len(drawn) + finer) * fresh_sheet
    stronger = strength_sheets(run, len(drawn) + finer) * fresh_sheet
    strengths = f", and {stronger:.0%} for those at other strengths (pick.strengths)" if stronger else ""
    fewer = f" and at {finer} more next to the pick (evaluate.budget={run.evaluate.budget})" if finer else ""
    finalists = f", and at most {again:.0%} for the finalists on fresh seeds{strengths}" if again else ""
    between = f", and at {glimpsed} steps between to look at only" if glimpsed else ""
    return (
        f"Drawing {pictures} pictures at {len(drawn)} of {len(steps)} checkpoints{fewer}{between}: "
        f"about {(len(drawn) + finer + glimpsed + 1) * sheet:.0%} of the cost of training with the base model's own"
        f"{finalists}."
    )


def folder_announcement(run: "RunConfig", files: int) -> str:
    """One sentence that says how much there is to draw for a folder of so many files."""
    pictures = len(run.sample.prompts) * len(run.sample.seeds)
    fresh = len(run.sample.prompts) * len(run.sample.fresh_seeds)
    again = fresh_sheets(run, files) * fresh
    strengths = strength_sheets(run, files) * fresh
    other = f" and {strengths} more at other strengths (pick.strengths)" if strengths else ""
    then = f", then at most {again} of the finalists on fresh seeds{other}" if again else ""
    return (
        f"Drawing {pictures} pictures with each of {files} files and the base model, {(files + 1) * pictures} in all"
        f"{then}."
    )
