"""``lorasweep pick RUN``: name the best checkpoint of a run, and say why."""

import dataclasses
import math
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run, checkpoint_at, view_of
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.errors import ExitCode, UserError
from lorasweep.evaluate.explain import Explanation
from lorasweep.outcomes import RunVerdict
from lorasweep.records import Pick, RunView
from lorasweep.run.picking import pick_rule
from lorasweep.run.recorder import picked_file
from lorasweep.track.recall import read_run

NEIGHBOURS = "neighbours"
"""What ``--why`` explains without a step: the pick against the base model and the checkpoints beside it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picked:
    """The answer of ``lorasweep pick``."""

    pick: Pick
    file: Path | None
    """The LoRA file; its copy if ``--to`` was given."""
    why: tuple[Explanation, ...] = ()
    """What was asked for with ``--why``."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN`` and what to do with the picked checkpoint."""
    add_run(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="copy the picked file into this folder")
    parser.add_argument("--step", type=int, metavar="N", help="take this checkpoint by hand (default: by the scores)")
    parser.add_argument(
        "--why",
        nargs="?",
        type=lambda word: int(word) if word.isdecimal() else word,
        const=NEIGHBOURS,
        metavar="STEP",
        help="say what each component did, and in which images: of this checkpoint against the pick "
        "(default: of the pick against the base model and its neighbours)",
    )


def main(options: Namespace) -> Answer:
    """Print the pick; without a usable checkpoint, as of a style, there is none to give."""
    found = pick(options.root, options.run, options.to, step=options.step, why=options.why)
    return found, ExitCode.NO_CHECKPOINT if found.pick.step is None else ExitCode.FINE


def pick(
    root: str | Path,
    what: str,
    to: Path | None = None,
    *,
    step: int | None = None,
    why: int | str | None = None,
    say: Say = print,
) -> Picked:
    """Return the picked checkpoint of a run with its reason, and print both.

    Args:
        to: a folder that the file is copied into.
        step: take this checkpoint by hand, for good: the run's other commands then take it for the pick.
        why: the step of a checkpoint to explain against the pick, 0 for the base model, or NEIGHBOURS for the
            checkpoints beside the pick.

    Raises:
        UserError: the run has no scores, no checkpoint at ``step``, or nothing to explain.
    """
    view = view_of(root, what)
    chosen = (view.pick or _choose(view)) if step is None else _by_hand(view, step)
    file = picked_file(view.folder, chosen)
    name = "" if file is None else view.file_name(file)
    if file is not None and to is not None:
        to.mkdir(parents=True, exist_ok=True)
        file = Path(shutil.copy2(file, to / name.replace("/", "-")))
    view = dataclasses.replace(view, pick=chosen)
    found = _explain(view, why)
    tell_pick(view, name, file, say)
    _tell_why(found, say)
    return Picked(pick=chosen, file=file, why=found)


def tell_pick(view: RunView, name: str, file: Path | None, say: Say) -> None:
    """Print the table, the reason and what to use: ``name`` is what the picked file is called, ``file`` its path."""
    from lorasweep.report.table import checkpoint_table
    from lorasweep.report.view import cautions, good_range

    _print_table(checkpoint_table(view))
    chosen = view.pick
    if chosen is not None:
        say(chosen.reason)
        if between := good_range(view):
            say(between)
        for caution in cautions(view):
            say(caution)
        for note in view.notes:
            say(note)
        if chosen.step is None or math.isfinite(chosen.confidence):
            say(f"Run verdict: {chosen.run_verdict}. Confidence {chosen.confidence:.0%}.")
        if file is not None:
            say(f"Use {name} at strength {chosen.strength:g}.")
            say(f"Picked file: {file}")


def _choose(view: RunView) -> Pick:
    """Pick by the scores of a run that was stopped before it picked."""
    from lorasweep.evaluate.pick import choose

    run = from_plain(view.config)
    if not view.scores:
        raise UserError(f"{view.name} has no scores to pick by; score it with 'lorasweep evaluate {view.name}'.")
    return choose(view.scores, pick_rule(run), np.random.default_rng(run.seed))


def _by_hand(view: RunView, step: int) -> Pick:
    """Write down the checkpoint that the user's eyes chose."""
    from lorasweep.report.page import write_report
    from lorasweep.track.tracker import JournalTracker

    checkpoint_at(view, step)
    chosen = Pick(
        trial=view.name,
        step=step,
        best_step=view.pick.best_step if view.pick else None,
        runner_up=None,
        eligible=(),
        score=math.nan,
        confidence=math.nan,
        verdicts=view.pick.verdicts if view.pick else (),
        run_verdict=RunVerdict.BY_HAND,
        reason=f"Checkpoint {step} was taken by hand.",
        strength=from_plain(view.config).sample.strength,
    )
    tracker = JournalTracker(view.folder)
    try:
        tracker.pick(chosen)
    finally:
        tracker.close()
    write_report(view.folder, read_run(view.folder))
    return chosen


def _explain(view: RunView, why: int | str | None) -> tuple[Explanation, ...]:
    """Return what ``--why`` asks for. Raise UserError if it asks for something else, or nothing can be compared."""
    from lorasweep.report.why import why_not, why_picked

    if why is None:
        return ()
    if not isinstance(why, int) and why != NEIGHBOURS:
        raise UserError(f"--why was told {why!r}; it takes the step of a checkpoint, 0 for the base model, or nothing.")
    found = why_not(view, why) if isinstance(why, int) else why_picked(view)
    if not found:
        raise UserError(f"{view.name} has nothing to compare; score it with 'lorasweep evaluate {view.name}'.")
    return found


def _tell_why(found: Sequence[Explanation], say: Say) -> None:
    from lorasweep.report.table import why_table

    for each in found:
        say("")
        _print_table(why_table(each))


def _print_table(table: object) -> None:
    from rich.console import Console

    # If no terminal says how wide it is, rich takes 80 columns and cuts the numbers.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
