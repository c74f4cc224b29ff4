"""A multirun: a parent without steps of its own, and one child for each combination of values."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lorasweep.config.compose import to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.outcomes import RunStatus
from lorasweep.records import RunView
from lorasweep.run.session import Purpose, Session
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, all_runs, claim_name, parent_of
from lorasweep.track.tracker import RunMeta

if TYPE_CHECKING:
    from lorasweep.track.tracker import JournalTracker


class Multirun:
    """The parent while its children train. It holds its own run's lock, so that ``lorasweep sync`` knows that it lives.

    Nothing is written before ``begin``, so that a mistake in the first child leaves nothing behind.
    """

    def __init__(self, first: RunConfig, name: str = "") -> None:
        """``first`` is any of its runs; ``name`` that of a parent to go on with or to begin, '' for a new one."""
        self._first = first
        self._given = name
        self._session = Session(Purpose.ANNOTATE, first)
        self._tracker: JournalTracker | None = None
        self.lead = ""
        """A sentence for the page that compares its runs."""

    def begin(self) -> str:
        """Name the parent, take its lock and begin its journal, unless that was done before; return its name.

        Raise HeldError if another process has it open, and UserError if the name is not free.
        """
        if self._tracker is None:
            root = Path(self._first.track.root)
            name = self._given or _new_name(self._first.data.trigger, root)
            self._tracker = self._session.journal(RunFolder(root / "runs" / name))
            # every run has a configuration; of a parent it is its first child's
            self._tracker.start(RunMeta(name=name, config=to_plain(self._first), multirun=True))
        return self.name

    @property
    def begun(self) -> bool:
        """Whether it has a name and a journal."""
        return self._tracker is not None

    @property
    def run(self) -> RunFolder:
        """Its folder."""
        return self._journal.run

    @property
    def name(self) -> str:
        """What children call their parent."""
        return self.run.name

    def tag(self, name: str, value: str) -> None:
        """Tag the parent, as ``JournalTracker.tag`` does."""
        self._journal.tag(name, value)

    def compare(self) -> None:
        """Write the page that compares all children so far."""
        from lorasweep.report.page import write_comparison

        write_comparison(self.run.path, children_of(self.run), self.name, self.lead)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._session:  # closed even if the page cannot be written
            if self._tracker is not None:
                self._end(self._tracker, error)

    @property
    def _journal(self) -> "JournalTracker":
        if self._tracker is None:
            raise RuntimeError("a multirun has no name before begin()")
        return self._tracker

    def _end(self, tracker: "JournalTracker", error: BaseException | None) -> None:
        """Record the best child and how the multirun went, and write the page that compares all children."""
        children = children_of(tracker.run)
        picked = {child.name: child.pick.worth for child in children if child.pick and child.pick.step is not None}
        if picked:
            tracker.tag("best_run", max(picked, key=picked.__getitem__))
        tracker.end(_status(children, error), str(error) if isinstance(error, Exception) else "")
        self.compare()


def children_of(parent: RunFolder) -> list[RunView]:
    """Return the runs of a multirun, oldest first; none of a run that is no parent."""
    # a journal's first line names the parent: the journals of all other runs are not read any further
    children = (run for run in all_runs(parent.root) if run.name != parent.name and parent_of(run) == parent.name)
    return [read_run(run.path) for run in children]


def _status(children: Sequence[RunView], error: BaseException | None) -> RunStatus:
    """Return finished if all children are, failed if one of them or the whole did, else stopped: it can be resumed."""
    statuses = {child.status for child in children}
    if isinstance(error, Exception) or RunStatus.FAILED in statuses:
        return RunStatus.FAILED
    return RunStatus.FINISHED if statuses <= {RunStatus.FINISHED} and error is None else RunStatus.STOPPED


def _new_name(trigger: str, root: Path) -> str:
    taken = {folder.name for folder in all_runs(root)}
    names = (f"{trigger}-multirun-{number:04d}" for number in itertools.count(1))
    return claim_name(next(name for name in names if name not in taken), root)
