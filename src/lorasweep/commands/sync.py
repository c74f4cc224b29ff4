"""``lorasweep sync``: send MLflow what it has missed, and mark runs whose process died as killed."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_root
from lorasweep.errors import ExitCode
from lorasweep.track.delivery import Synced
from lorasweep.track.delivery import sync as deliver
from lorasweep.track.store import open_store


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``--root``."""
    add_root(parser)


def main(options: Namespace) -> Answer:
    """Deliver, and print a line a run."""
    return sync(options.root), ExitCode.FINE


def sync(root: str | Path = "mlruns") -> tuple[Synced, ...]:
    """Deliver every journal entry that MLflow lacks. Raise TryAgainError if MLflow does not answer."""
    done = tuple(deliver(Path(root), open_store(Path(root))))
    for run in done:
        print(f"{run.name}: {run.sent} entries delivered, {run.status}")
    return done
