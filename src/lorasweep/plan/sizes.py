"""What sizes the pictures of a run are trained at, for people and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lorasweep.console import Say
from lorasweep.data.buckets import BucketRow, Size, steps_an_epoch

if TYPE_CHECKING:
    from lorasweep.train.trial import Trial

FEW = 3
"""Up to so many sizes stand in one line."""


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """One picture and what becomes of it."""

    file: str
    size: Size
    """Width and height on disk."""
    bucket: Size
    resized: Size
    corner: Size
    """Left and top of what is kept, in pixels of ``resized``."""
    scale: float
    """Above 1 it is enlarged."""
    cut: float
    """Share of its area that is cut off."""
    repeats: int
    """Times an epoch."""
    regularisation: bool
    """Whether it is one of the class and not of the subject."""


def picture_rows(trial: "Trial") -> tuple[PictureRow, ...]:
    """Every picture of a run, in order."""
    subject = len(trial.dataset.train)
    return tuple(
        PictureRow(
            file=photo.path.name,
            size=placed.size,
            bucket=placed.bucket,
            resized=placed.resized,
            corner=placed.corner,
            scale=placed.scale,
            cut=placed.cut,
            repeats=photo.repeats,
            regularisation=number >= subject,
        )
        for number, (photo, placed) in enumerate(zip(trial.pictures, trial.placements, strict=True))
    )


def sizes_in_words(table: Sequence[BucketRow]) -> str:
    """In one line; many sizes are only counted."""
    if len(table) > FEW:
        return f"{len(table)} sizes, below"
    return ", ".join(f"{row.pictures} at {_by(row.bucket)}" for row in table)


def say_sizes(table: Sequence[BucketRow], say: Say) -> None:
    """One row a size where there are several, one sentence where there is one."""
    if len(table) == 1:
        (row,) = table
        say(f"Pictures are trained at {_by(row.bucket)}; {_cut_in_words(row)}.")
        return
    shown = Table(box=None, pad_edge=False)
    for head in ("size", "pictures", "shown", "steps", "filled up", "largest cut", "enlarged"):
        shown.add_column(head, justify="right")
    for row in table:
        enlarged = f"x{row.largest_scale:.2f}" if row.largest_scale > 1 else ""
        counts = (row.pictures, row.shown, row.steps, row.filled)
        shown.add_row(_by(row.bucket), *map(str, counts), f"{row.largest_cut:.0%}", enlarged)
    console = Console()
    with console.capture() as caught:
        console.print(shown)
    say(caught.get().rstrip())
    filled = sum(row.filled for row in table)
    say(f"{len(table)} sizes: {steps_an_epoch(table)} steps an epoch, {filled} pictures only fill up short ones.")


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _cut_in_words(row: BucketRow) -> str:
    cut = f"at most {row.largest_cut:.0%} of one is cut off" if row.largest_cut > 0 else "nothing is cut off"
    return cut if row.largest_scale <= 1 else f"{cut}, and the smallest is enlarged {row.largest_scale:.2f} times"
