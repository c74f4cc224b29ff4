"""Deliver a run's journal to MLflow: everything once, however often delivery is cut short.

The cursor says how far delivery surely came: ``lorasweep.cursor``, a tag in MLflow itself, with a copy on disk. What
lies beyond it may or may not have arrived, so that delivering again must change nothing: a point carries the journal's
time and is one row of a table whose primary key is (run, key, step, time, value); images and models are looked up
first; tags, parameters and artifacts overwrite themselves.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lorasweep.errors import UserError
from lorasweep.records import JsonDict
from lorasweep.track import mlflow_terms as terms
from lorasweep.track.images import Images
from lorasweep.track.journal import Entry, read_from
from lorasweep.track.logged_models import LoggedModels
from lorasweep.track.recall import read_status
from lorasweep.track.run_folder import RunFolder, all_runs, is_alive, write_json
from lorasweep.track.store import Store, answering

CURSOR = "lorasweep.cursor"
# MLflow refuses more than 1,000 metrics, and more than 100 parameters, a call
POINTS_A_BATCH = 900
PARAMS_A_BATCH = 100
_SHIPPED = "shipped.json"


class Delivery:
    """Reads one run's journal from the cursor on and delivers it."""

    def __init__(self, run: RunFolder, store: Store, progress: Callable[[], None] = lambda: None) -> None:
        """Raise Timeout if another process delivers the run now; ``progress`` is called whenever something arrived."""
        self.run = run
        self._store = store
        self._progress = progress
        self._lock = FileLock(str(run.path / "ship.lock"), thread_local=False)
        self._lock.acquire(blocking=False)
        self._offset = 0
        self._points: list[terms.Point] = []
        self._tags: dict[str, str] = {}
        self._done: int | None = None
        self._attach_failed = True

    @property
    def cursor(self) -> int:
        """The last entry that is surely delivered; 0 before the first."""
        return self._done or 0

    def deliver(self) -> None:
        """Send everything that the journal holds by now; if the store raises an error the rest is left for later."""
        if self._attach_failed:
            self._attach()
        make_durable(self.run.journal)
        entries, offset = read_from(self.run.path, self._offset)
        self._attach_failed = True  # after an error the cursor is read back from MLflow: what arrived is not known here
        for entry in entries:
            if entry.seq > self.cursor:
                self._SHIP.get(entry.kind, Delivery._ignore)(self, entry)
                self._flush(entry.seq, at_least=POINTS_A_BATCH)
        if entries:
            self._flush(entries[-1].seq)
        self._offset = offset
        self._attach_failed = False

    def mark(self, status: str) -> None:
        """Close the run in MLflow in place of a process that was killed before it could."""
        if self._client.get_run(self._run_id).info.status != "RUNNING":
            return
        self._client.set_terminated(self._run_id, terms.ENDS[status])
        self._client.set_tag(self._run_id, "lorasweep.status", status)

    def close(self) -> None:
        """Give back the lock, so that another process may deliver."""
        self._lock.release()

    @property
    def _client(self) -> Any:
        return self._store.client

    def _attach(self) -> None:
        """Find or make the run in MLflow and read back from it how far delivery came."""
        self._points.clear()
        self._tags.clear()
        self._run_id = ensure_run(self._store, self.run)
        known = self._client.get_run(self._run_id)
        self._params = dict(known.data.params)
        self._done = int(known.data.tags.get(CURSOR, "0"))
        self._images = Images(self._client, self._run_id)
        self._models = LoggedModels(self._client, self._store.experiment_id, self._run_id, self.run.name)
        self._progress()

    def _flush(self, seq: int, at_least: int = 0) -> None:
        """Send what has gathered, unless that is less than a batch yet."""
        if len(self._points) < at_least or (seq == self.cursor):
            return
        self._tags[CURSOR] = str(seq)
        for first in range(0, max(len(self._points), 1), POINTS_A_BATCH):
            batch = self._points[first : first + POINTS_A_BATCH]
            last = first + POINTS_A_BATCH >= len(self._points)  # the cursor is among the tags: it must arrive last
            self._log_batch(batch, self._tags if last else {})
        self._points.clear()
        self._tags.clear()
        self._done = seq
        _remember(self.run, self._store, self._run_id, seq)
        self._progress()

    def _log_batch(self, points: list[terms.Point], tags: dict[str, str]) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [Metric(p.key, p.value, p.time, p.step) for p in points]
        self._client.log_batch(self._run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items()])

    def _ship_start(self, entry: Entry) -> None:
        self._client.update_run(self._run_id, status="RUNNING")
        self._tags |= terms.start_tags(entry.payload)

    def _ship_params(self, entry: Entry) -> None:
        from mlflow.entities import Param

        new = [Param(key, value) for key, value in entry.payload.items() if key not in self._params]
        for first in range(0, len(new), PARAMS_A_BATCH):
            self._client.log_batch(self._run_id, params=new[first : first + PARAMS_A_BATCH])
        for key, value in entry.payload.items():
            if self._params.setdefault(key, value) != value:  # a run was extended; MLflow never changes a parameter
                self._tags[f"lorasweep.changed.{key}"] = value

    def _ship_step(self, entry: Entry) -> None:
        self._points += terms.step_points(entry.payload, entry.time)
        if bad := terms.not_finite(entry.payload):
            self._tags["lorasweep.not_finite"] = bad

    def _ship_scores(self, entry: Entry) -> None:
        points = terms.score_points(entry.payload, entry.time)
        step = entry.payload["scores"]["step"]
        if entry.payload["scores"]["fresh"] or not self._models.judge(step, points):
            self._points += points

    def _ship_validation(self, entry: Entry) -> None:
        self._points += terms.validation_points(entry.payload, entry.time)

    def _ship_fixed_batch(self, entry: Entry) -> None:
        self._points += terms.fixed_batch_points(entry.payload, entry.time)

    def _ship_pick(self, entry: Entry) -> None:
        self._points += terms.pick_points(entry.payload, entry.time)
        self._tags |= terms.pick_tags(entry.payload)

    def _ship_checkpoint(self, entry: Entry) -> None:
        if entry.payload["path"] is not None:
            self._models.add(entry.payload, self.run.path / entry.payload["path"])
            self._progress()

    def _ship_sample(self, entry: Entry) -> None:
        self._images.add(entry, self.run.path)
        self._progress()

    def _ship_tag(self, entry: Entry) -> None:
        self._tags[entry.payload["name"]] = entry.payload["value"]

    def _ship_artifact(self, entry: Entry) -> None:
        path = self.run.path / entry.payload["path"]
        if path.exists():
            self._client.log_artifact(self._run_id, str(path))
        if entry.payload["sha256"]:
            self._tags[f"lorasweep.sha256.{re.sub(r'[^A-Za-z0-9_.-]', '_', path.name)}"] = entry.payload["sha256"]

    def _ship_end(self, entry: Entry) -> None:
        self._tags["lorasweep.status"] = entry.payload["status"]
        if entry.payload["error"]:
            self._tags["lorasweep.error"] = entry.payload["error"][:5000]
        self._client.set_terminated(self._run_id, terms.ENDS[entry.payload["status"]], end_time=entry.time)

    def _ignore(self, entry: Entry) -> None:
        """Deliver nothing: notes and strengths stay in the journal and the report."""

    _SHIP: dict[str, Callable[["Delivery", Entry], None]] = {  # noqa: RUF012 - a table, never changed
        "start": _ship_start,
        "params": _ship_params,
        "step": _ship_step,
        "scores": _ship_scores,
        "validation": _ship_validation,
        "fixed_batch": _ship_fixed_batch,
        "pick": _ship_pick,
        "checkpoint": _ship_checkpoint,
        "sample": _ship_sample,
        "tag": _ship_tag,
        "artifact": _ship_artifact,
        "end": _ship_end,
    }


@dataclass(frozen=True)
class Synced:
    """What ``lorasweep sync`` did for one run."""

    name: str
    sent: int
    """Journal entries delivered now."""
    status: str
    """finished, failed, stopped, killed, or running: such a run is left to its own process."""


def sync(root: Path, store: Store) -> list[Synced]:
    """Deliver every run under the root, oldest first, and say of dead runs that they are dead.

    Raises:
        TryAgainError: the store stopped answering; what was delivered by then is not sent again.
    """
    return [sync_run(run, store) for run in all_runs(root)]


def sync_run(run: RunFolder, store: Store) -> Synced:
    """Deliver one run; one that is being trained is left to its own process."""
    alive = is_alive(run)
    entries, _ = read_from(run.path, 0)
    status = read_status(entries, alive=alive)
    before = (shipped(run, store) or {"seq": 0})["seq"]
    if alive or (status != "killed" and before == entries[-1].seq):
        return Synced(run.name, 0, status)
    try:
        delivery = Delivery(run, store)
    except Timeout:  # another `sync` is at it
        return Synced(run.name, 0, status)
    with closing(delivery), answering():
        delivery.deliver()
        if status == "killed":
            delivery.mark(status)
    return Synced(run.name, entries[-1].seq - before, status)


def ensure_run(store: Store, run: RunFolder) -> str:
    """Return the MLflow run of a run folder; made once, under its parent's if it has one.

    Raises:
        UserError: the journal is empty.
    """
    with FileLock(str(run.path / "create.lock"), timeout=120, thread_local=False):
        remembered = shipped(run, store)
        if remembered is not None:
            return str(remembered["run_id"])
        first = next((entry for entry in read_from(run.path, 0)[0] if entry.kind == "start"), None)
        if first is None:
            raise UserError(f"{run.journal} has no beginning; there is nothing to deliver")
        run_id = _find(store, first.payload["uid"]) or _create(store, run, first)
        _remember(run, store, run_id, 0)
        return run_id


def shipped(run: RunFolder, store: Store) -> JsonDict | None:
    """Return ``run_id`` and ``seq`` of the last delivery to this store, from the disk; None before the first."""
    path = run.path / _SHIPPED
    return json.loads(path.read_text(encoding="utf-8")).get(store.key) if path.exists() else None


def make_durable(path: Path) -> None:
    """Force a file to the disk.

    Only what a power cut cannot take back may be delivered, or the store would know more than the journal.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _find(store: Store, uid: str) -> str | None:
    found = store.client.search_runs([store.experiment_id], filter_string=f"tags.`lorasweep.uid` = '{uid}'")
    return found[0].info.run_id if found else None


def _create(store: Store, run: RunFolder, start: Entry) -> str:
    tags = terms.start_tags(start.payload) | {"mlflow.source.name": "lorasweep", "mlflow.source.type": "LOCAL"}
    parent = RunFolder(run.path.parent / start.payload["parent"]) if start.payload["parent"] else None
    if parent is not None and parent.journal.exists():
        tags["mlflow.parentRunId"] = ensure_run(store, parent)
    made = store.client.create_run(store.experiment_id, start_time=start.time, tags=tags, run_name=run.name)
    return made.info.run_id


def _remember(run: RunFolder, store: Store, run_id: str, seq: int) -> None:
    path = run.path / _SHIPPED
    known: JsonDict = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, {**known, store.key: {"run_id": run_id, "seq": seq}})
