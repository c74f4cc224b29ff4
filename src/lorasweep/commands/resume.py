"""``lorasweep resume RUN``: continue an interrupted run, or every unfinished run of a multirun."""

from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run, exit_code
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.errors import ExitCode, UserError
from lorasweep.foreign.evaluation import evaluate_again
from lorasweep.outcomes import RunStatus
from lorasweep.records import RunView
from lorasweep.run.entries import entries_of
from lorasweep.run.multirun import Multirun, children_of
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_entries
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, find_run


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN``."""
    add_run(parser)


def main(options: Namespace) -> Answer:
    """Train to the end, score and pick; the worst of several runs is the exit code."""
    outcomes = resume(options.root, options.run)
    return outcomes, ExitCode.worst(exit_code(outcome) for outcome in outcomes)


def resume(root: str | Path, what: str, *, say: Say = print) -> list[Outcome]:
    """Continue a run, or the unfinished runs of a multirun, from the last saved state; bit-equal on a CPU.

    Raises:
        UserError: the run is over, or is being trained now.
    """
    found = find_run(Path(root), what)
    views = children_of(found) or [read_run(found.path)]
    waiting = [view for view in views if view.status not in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.RUNNING)]
    if not waiting:
        raise UserError(f"{found.name} is {views[0].status}; there is nothing to resume.")
    if waiting[0].source is not None:
        return [_evaluated(waiting[0], say)]
    entries = entries_of([from_plain(view.config) for view in waiting], [RunFolder(view.folder) for view in waiting])
    parent = waiting[0].parent
    with Multirun(entries[0].run, parent) if parent else nullcontext() as multirun:
        return train_entries(entries, "auto", multirun, say)


def _evaluated(view: RunView, say: Say) -> Outcome:
    """Score the rest of a folder of another trainer's files."""
    outcome = evaluate_again(view, say=say)
    if outcome.pick is not None:
        say(f"{outcome.name}: {outcome.pick.reason}")
    return outcome
