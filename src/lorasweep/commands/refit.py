"""``lorasweep refit RUN``: train on all photos, held-out ones too, for the picked number of steps."""

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run, exit_code, require_training, view_of
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN``."""
    add_run(parser)


def main(options: Namespace) -> Answer:
    """Train; the new run makes no pick, since no photo is left to score it with."""
    outcome = refit(options.root, options.run)
    return outcome, exit_code(outcome)


def refit(root: str | Path, what: str, *, say: Say = print) -> Outcome:
    """Train on all photos of a run for its picked number of steps, without scoring, as a run of its own."""
    view = view_of(root, what)
    require_training(view, "refit")
    if view.pick is None or view.pick.step is None:
        raise UserError(f"{view.name} has no picked checkpoint to refit; pick one first with 'lorasweep pick'.")
    run = from_plain(view.config)
    run = dataclasses.replace(
        run,
        name=f"{view.name}-refit",
        data=dataclasses.replace(run.data, train_on="all"),
        optim=dataclasses.replace(run.optim, steps=view.pick.step),
        save=dataclasses.replace(run.save, every_steps=view.pick.step),
        evaluate=dataclasses.replace(run.evaluate, enabled=False),
    )
    (outcome,) = train_together([run], say=say)
    return outcome
