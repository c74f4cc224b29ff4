"""The thread that delivers journals to MLflow while runs train, without ever making one wait.

A log call to a dead server blocks for minutes and then raises: no run may depend on that.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.track.journal import read_from
from lorasweep.track.run_folder import RunFolder
from lorasweep.track.secrets import redact

if TYPE_CHECKING:
    from lorasweep.config.schema import TrackConfig
    from lorasweep.track.delivery import Delivery
    from lorasweep.track.store import Store

INTERVAL = 5.0
"""Seconds between deliveries: about 50 steps of a tiny model go in one batch."""
FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 300.0
"""Seconds: each wait after a failed delivery is twice the one before, up to this."""


class Shipper:
    """Serves any number of runs of one process with one background thread and one open store."""

    def __init__(self, open_store: Callable[[], "Store"], *, patience: float = 5.0, longest: float = 10.0) -> None:
        """Open the store with ``open_store``, in the thread.

        Args:
            patience: seconds without progress that ``drain`` waits, a fifth of that if the store has failed before.
            longest: seconds that ``drain`` takes at most.
        """
        self._open = open_store
        self._patience = patience
        self._longest = longest
        self._store: Store | None = None
        self._deliveries: dict[Path, Delivery | None] = {}
        self._changed = threading.Condition()
        self._urgent = False
        self._progressed = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._error = ""
        self._thread: threading.Thread | None = None
        self._stopped = False

    def add(self, folder: Path) -> None:
        """Deliver this run's journal from now on."""
        with self._changed:
            self._deliveries.setdefault(folder, None)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="lorasweep-shipper", daemon=True)
                self._thread.start()

    def nudge(self) -> None:
        """Deliver soon rather than at the next interval: something worth seeing was written."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()

    def drain(self, folder: Path) -> str:
        """Wait for the rest of a finished run, but only for seconds, then stop serving it.

        Returns:
            '' if everything was delivered, else a sentence that says what to do.
        """
        if folder not in self._deliveries:
            return ""
        entries, _ = read_from(folder, 0)
        last = entries[-1].seq if entries else 0
        done = self._wait_for(folder, last)
        if done:
            with self._changed:
                delivery = self._deliveries.pop(folder, None)
            if delivery is not None:
                delivery.close()
            return ""
        because = f" ({self._error})" if self._error else ""
        return f"MLflow does not have all of {folder.name} yet{because}; run `lorasweep sync` to deliver the rest."

    def stop(self) -> None:
        """End the thread after the delivery that it is at; what is left stays in the journals."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _wait_for(self, folder: Path, last: int) -> bool:
        began = time.monotonic()
        failures = self._failures
        with self._changed:
            while not self._has(folder, last):
                now = time.monotonic()
                quiet = now - max(began, self._progressed)
                patience = self._patience / 5 if failures else self._patience
                if quiet > patience or now - began > self._longest or self._failures > failures + 1:
                    return False
                self._urgent, self._not_before = True, 0.0
                self._changed.notify_all()
                self._changed.wait(0.1)
        return True

    def _has(self, folder: Path, last: int) -> bool:
        delivery = self._deliveries.get(folder)
        return delivery is not None and delivery.cursor >= last

    def _serve(self) -> None:
        while not self._stopped:
            with self._changed:
                if not self._urgent:
                    self._changed.wait(INTERVAL)
                self._urgent = False
                folders = list(self._deliveries)  # runs may be added while one is delivered
            if time.monotonic() < self._not_before:
                time.sleep(0.05)
                continue
            for folder in folders:
                self._deliver(folder)
        for delivery in self._deliveries.values():
            if delivery is not None:
                delivery.close()

    def _deliver(self, folder: Path) -> None:
        try:
            if delivery := self._delivery(folder):
                delivery.deliver()
        except Exception as error:  # whatever MLflow raises must not reach the run
            self._error = redact(f"{type(error).__name__}: {error}".splitlines()[0][:200])
            wait = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**self._failures)
            self._failures += 1
            self._not_before = time.monotonic() + wait
        else:
            self._failures = 0
            self._error = ""

    def _delivery(self, folder: Path) -> "Delivery | None":
        from lorasweep.track.delivery import Delivery

        if self._store is None:
            self._store = self._open()
            self._progress()
        with self._changed:
            if folder in self._deliveries and self._deliveries[folder] is None:
                self._deliveries[folder] = Delivery(RunFolder(folder), self._store, self._progress)
            return self._deliveries.get(folder)  # None if it was drained just now

    def _progress(self) -> None:
        self._progressed = time.monotonic()


def shipper_to(root: Path, uri: str | None = None, experiment: str = "lorasweep") -> Shipper:
    """Return a shipper to the store in force."""
    from lorasweep.track.store import is_local, open_store, tracking_uri

    local = is_local(tracking_uri(root, uri))
    # one on this machine will surely answer, but laying out its database takes half a minute if every core trains
    opener = partial(open_store, root, uri, experiment)
    return Shipper(opener, patience=90.0 if local else 5.0, longest=300.0 if local else 10.0)


def shipper_of(track: "TrackConfig") -> Shipper | None:
    """Return the shipper that a run's configuration asks for; None if it wants no MLflow."""
    return shipper_to(Path(track.root), track.uri, track.experiment) if track.mlflow else None
