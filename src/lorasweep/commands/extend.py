"""``lorasweep extend RUN steps=N``: train more steps from a checkpoint."""

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run, checkpoint_at, exit_code, require_training, view_of
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN steps=N [--step N]``."""
    add_run(parser)
    parser.add_argument("steps", metavar="steps=N", help="train this many more optimiser steps")
    parser.add_argument("--step", type=int, metavar="N", help="start from this checkpoint (default: the last one)")


def main(options: Namespace) -> Answer:
    """Train the new steps, score and pick."""
    outcome = extend(options.root, options.run, _steps(options.steps), options.step)
    return outcome, exit_code(outcome)


def extend(root: str | Path, what: str, steps: int, step: int | None = None, *, say: Say = print) -> Outcome:
    """Train ``steps`` more steps from a checkpoint's weights, as a run of its own.

    Args:
        step: the checkpoint to start from; None takes the last one.
    """
    view = view_of(root, what)
    require_training(view, "extend")
    saved = [checkpoint.step for checkpoint in view.checkpoints if checkpoint.path is not None]
    if not saved:
        raise UserError(f"{view.name} has no checkpoint to go on from; train it first.")
    start = checkpoint_at(view, max(saved) if step is None else step)
    run = from_plain(view.config)
    run = dataclasses.replace(
        run,
        name=None,
        seed=run.seed + 1,  # with the old one, the new steps would repeat the order and the noise of the first ones
        lora=dataclasses.replace(run.lora, init=str(start.path)),  # weights only: the optimiser starts anew
        optim=dataclasses.replace(run.optim, steps=steps, warmup_steps=min(run.optim.warmup_steps, steps)),
    )
    say(f"Going on for {steps} steps from {start.path}.")
    (outcome,) = train_together([run], say=say)
    return outcome


def _steps(word: str) -> int:
    """Return the number of ``steps=400`` or ``400``."""
    number = word.removeprefix("optim.").removeprefix("steps=")
    if not number.isdigit() or int(number) < 1:
        raise UserError(f"extend was told {word!r}; say how many steps to go on for, as in steps=400")
    return int(number)
