"""What a person sees in the terminal: lines, progress bars, and a spinner during a wait."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Say = Callable[[str], None]
"""Prints one line, as ``print`` does."""


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Show a spinner beside ``words`` if stderr is a terminal."""
    with Console(stderr=True).status(words) if sys.stderr.isatty() else nullcontext():
        yield


@contextmanager
def counting(words: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for ``total`` equal pieces of work if stderr is a terminal; yield the function that advances it."""
    with bars() as shown:
        task = shown.add_task(words, total=total)
        yield lambda pieces: shown.advance(task, pieces)


def bars(*columns: TextColumn) -> Progress:
    """Return progress bars on stderr, off unless it is a terminal; ``columns`` follow the usual ones."""
    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*usual, *columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
