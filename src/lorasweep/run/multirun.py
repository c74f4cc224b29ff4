"""A multirun: a parent without steps of its own, and one child for each combination of values."""

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lorasweep.config.compose import to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.records import RunView
from lorasweep.track.run_folder import RunFolder, all_runs, claim_name

if TYPE_CHECKING:
    from lorasweep.track.tracker import JournalTracker


class Multirun:
    """The parent while its children train: it holds its own run's lock, so that ``lorasweep sync`` knows it to live.

    Nothing is written before ``name`` is asked for, so that a mistake in the first child leaves nothing behind.
    """

    def __init__(self, first: RunConfig, name: str = "") -> None:
        """``first`` is one of its runs; ``name`` that of a parent to go on with or to begin, empty for a new one."""
        self._first = first
        self._given = name
        self.lead = ""
        """A sentence for the page that compares its runs."""
        self._closing = ExitStack()
        self._tracker: JournalTracker | None = None

    @property
    def name(self) -> str:
        """What children call their parent."""
        if self._tracker is None:
            self._tracker = self._begin()
        return self._tracker.run.name

    @property
    def run(self) -> RunFolder:
        """Its folder."""
        return RunFolder(Path(self._first.track.root) / "runs" / self.name)

    def tag(self, name: str, value: str) -> None:
        """As ``JournalTracker.tag``, of the parent."""
        assert self.name
        assert self._tracker is not None
        self._tracker.tag(name, value)

    def compare(self) -> None:
        """Write the page that compares all children so far."""
        from lorasweep.report.page import write_comparison

        write_comparison(self.run.path, children_of(self.run), self.name, self.lead)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._closing:
            if self._tracker is not None:
                self._end(self._tracker, error)

    def _begin(self) -> "JournalTracker":
        from lorasweep.track.shipper import shipper_of
        from lorasweep.track.tracker import JournalTracker, RunMeta

        root = Path(self._first.track.root)
        name = self._given or _new_name(self._first.data.trigger, root)
        shipper = shipper_of(self._first.track)
        if shipper is not None:
            self._closing.callback(shipper.stop)
        tracker = JournalTracker(root / "runs" / name, shipper)
        self._closing.callback(tracker.close)
        tracker.start(RunMeta(name=name, config=to_plain(self._first), multirun=True))
        return tracker

    def _end(self, tracker: "JournalTracker", error: BaseException | None) -> None:
        """Remember the best child and how it went, and write the page that compares all of them."""
        children = children_of(tracker.run)
        picked = {child.name: child.pick.worth for child in children if child.pick and child.pick.step is not None}
        if picked:
            tracker.tag("best_run", max(picked, key=picked.__getitem__))
        tracker.end(_status(children, error), str(error) if isinstance(error, Exception) else "")
        self.compare()


def children_of(parent: RunFolder) -> list[RunView]:
    """The runs of a multirun, oldest first; none for a run that is no parent."""
    from lorasweep.track.recall import read_run

    views = (read_run(run.path) for run in all_runs(parent.root) if run.name != parent.name)
    return [view for view in views if view.parent == parent.name]


def _status(children: Sequence[RunView], error: BaseException | None) -> str:
    """finished where all children are, failed where one of them or the whole did, else stopped: it can be resumed."""
    statuses = {child.status for child in children}
    if isinstance(error, Exception) or "failed" in statuses:
        return "failed"
    return "finished" if statuses <= {"finished"} and error is None else "stopped"


def _new_name(trigger: str, root: Path) -> str:
    taken = {folder.name for folder in all_runs(root)}
    names = (f"{trigger}-multirun-{number:04d}" for number in itertools.count(1))
    return claim_name(next(name for name in names if name not in taken), root)
