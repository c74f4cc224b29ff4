"""What is left of a run when it is over."""

from dataclasses import dataclass
from pathlib import Path

from lorasweep.records import Pick


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one trial ended."""

    name: str
    folder: Path
    status: str
    """finished, failed or stopped."""
    pick: Pick | None
    score: float
    """Of the picked checkpoint on fresh seeds, 0 to 1; NaN where nothing was picked."""
    error: Exception | None = None
    file: Path | None = None
    """The picked LoRA file."""
    skipped: tuple[str, ...] = ()
    """A sentence for each file of another trainer's folder that was left out."""
    undelivered: str = ""
    """A sentence where MLflow has not got everything yet, else empty."""
