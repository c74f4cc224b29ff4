"""``lorasweep sync``: deliver what MLflow missed, and say of dead runs that they are dead."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from lorasweep.track.delivery import Delivery, shipped
from lorasweep.track.journal import read_from
from lorasweep.track.recall import read_status
from lorasweep.track.run_folder import RunFolder, all_runs, is_alive
from lorasweep.track.store import Store, answering


@dataclass(frozen=True)
class Synced:
    """What became of one run."""

    name: str
    sent: int
    """Journal entries delivered now."""
    status: str
    """finished, failed, stopped, killed, or running (left to its own process)."""


def sync(root: Path, store: Store) -> list[Synced]:
    """Deliver every run under the root, oldest first; parents come before their children.

    Raises TryAgainError where the store stops answering; what was delivered by then is not sent again.
    """
    return [sync_run(run, store) for run in all_runs(root)]


def sync_run(run: RunFolder, store: Store) -> Synced:
    """Deliver one run; one that is being trained is left to its own shipper."""
    alive = is_alive(run)
    entries, _ = read_from(run.path, 0)
    status = read_status(entries, alive=alive)
    before = (shipped(run, store) or {"seq": 0})["seq"]
    if alive or (status != "killed" and before == entries[-1].seq):
        return Synced(run.name, 0, status)
    try:
        delivery = Delivery(run, store)
    except Timeout:
        return Synced(run.name, 0, status)
    with closing(delivery), answering():
        delivery.deliver()
        if status == "killed":
            delivery.mark(status)
    return Synced(run.name, entries[-1].seq - before, status)
