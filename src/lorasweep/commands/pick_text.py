"""What is said of a pick in the terminal: the table, the reason, what to use, and what set checkpoints apart."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.records import Explanation, RunView

NEIGHBOURS = "neighbours"
"""What ``pick --why`` explains where no step is named."""


def explain_pick(view: RunView, why: int | str | None) -> tuple[Explanation, ...]:
    """What ``pick --why`` asks for: a step against the pick, or with NEIGHBOURS the pick and those beside it.

    Raises UserError where it asks for something else, or there is nothing to compare.
    """
    from lorasweep.report.why import why_not, why_picked

    if why is None:
        return ()
    if not isinstance(why, int) and why != NEIGHBOURS:
        raise UserError(f"--why was told {why!r}; it takes the step of a checkpoint, 0 for the base model, or nothing.")
    found = why_not(view, why) if isinstance(why, int) else why_picked(view)
    if not found:
        raise UserError(f"{view.name} has nothing to compare; score it with 'lorasweep evaluate {view.name}'.")
    return found


def tell_pick(view: RunView, name: str, file: Path | None, say: Say) -> None:
    """The table, why, and what to use: ``name`` is what the picked file is called, ``file`` where it is."""
    from rich.console import Console

    from lorasweep.report.table import checkpoint_table

    # where no terminal says how wide it is, rich takes 80 columns and cuts the numbers
    Console(width=None if sys.stdout.isatty() else 120).print(checkpoint_table(view))
    chosen = view.pick
    if chosen is not None:
        say(chosen.reason)
        for note in view.notes:
            say(note)
        if chosen.step is None or math.isfinite(chosen.confidence):
            say(f"Run verdict: {chosen.run_verdict}. Confidence {chosen.confidence:.0%}.")
        if file is not None:
            say(f"Use {name} at strength {chosen.strength:g}.")
            say(f"Picked file: {file}")


def tell_why(found: Sequence[Explanation], say: Say) -> None:
    """One table an explanation."""
    from rich.console import Console

    from lorasweep.report.table import why_table

    for each in found:
        say("")
        Console(width=None if sys.stdout.isatty() else 120).print(why_table(each))
