"""The loop: admit where a slot is free, train to the next checkpoint, look at what was saved, let go, admit again."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.records import Checkpoint, Failure, Step
from lorasweep.run.recorder import LiveRun
from lorasweep.run.stopping import StopRequest

if TYPE_CHECKING:
    from lorasweep.models.families.family import Family
    from lorasweep.run.progress import Progress
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.validation import FixedLoss

WIDEST = 8
"""``width=auto`` puts no more adapters than this side by side."""

GO_ON, ENOUGH, HOPELESS = "go on", "enough", "hopeless"


class Source(Protocol):
    """Where the runs come from that are trained side by side."""

    def next(self) -> LiveRun | None:
        """A run to be admitted where a slot is free; None where there is none now."""
        ...

    def looked(self, live: LiveRun) -> str:
        """A checkpoint was looked at: GO_ON; ENOUGH, and it is picked from; or HOPELESS, and it is not."""
        ...

    def ended(self, live: LiveRun) -> None:
        """A run is over, well or badly; ``live.outcome`` says how."""
        ...


class Listed:
    """Runs that are known beforehand, in their order, each to its end."""

    def __init__(self, lives: Sequence[LiveRun]) -> None:
        self._waiting = deque(lives)

    def next(self) -> LiveRun | None:
        return self._waiting.popleft() if self._waiting else None

    def looked(self, live: LiveRun) -> str:
        return GO_ON

    def ended(self, live: LiveRun) -> None: ...


def train_side_by_side(
    source: Source, family: "Family", width: int | str, trials: int, stop: StopRequest, say: Say
) -> None:
    """Train what the source gives until it gives no more, or a stop is asked for.

    Args:
        width: trials side by side, or auto: as many as bring something, measured at the first.
        trials: how many there will be at most.

    Raises:
        UserError: a width that is none, or memory that does not suffice for one trial.
    """
    from lorasweep.run.progress import Progress

    with Progress(say) as progress:
        loop = _Loop(source, family, Width(width, trials, say), stop, progress)
        while loop.admit():
            loop.interval()


class Width:
    """How many trials are trained side by side."""

    def __init__(self, asked: int | str, trials: int, say: Say) -> None:
        if asked != "auto" and (not isinstance(asked, int) or asked < 1):
            raise UserError(f"width is {asked!r}; it must be auto or a number of adapters from 1 up.")
        self._asked = asked
        self._trials = trials
        self._say = say

    def of(self, cohort: "Cohort", live: LiveRun) -> int:
        """For runs like this one. A run that was trained before keeps the width that it met: it ends bit-equal."""
        from lorasweep.train.state import load_state
        from lorasweep.train.width import measured_width

        most = min(self._trials, WIDEST if isinstance(self._asked, str) else self._asked)
        if isinstance(self._asked, int) or most == 1:
            return most
        state = load_state(live.trial, cohort.family)
        if state is not None and state.widths:
            return max(state.widths)
        width, seconds = measured_width(cohort, live.trial, most)
        rates = ", ".join(f"{each} {each / took:.2g}" for each, took in seconds.items())
        why = "more bring nothing here" if width < most else "all at once"
        self._say(f"Side by side: {width}, {why} (trials' steps a second by width: {rates}).")
        return width


class _Loop:
    """What goes on between two checkpoints."""

    def __init__(self, source: Source, family: "Family", width: Width, stop: StopRequest, progress: "Progress") -> None:
        self._source = source
        self._family = family
        self._width = width
        self._stop = stop
        self._progress = progress
        self._lives: dict[str, LiveRun] = {}
        """Those that were admitted."""
        self._waiting: deque[LiveRun] = deque()
        """Those that cannot be admitted yet: memory ran out, or the others train steps of another shape."""
        self._cohort: Cohort | None = None
        self._loss: FixedLoss | None = None
        self._key: object = None

    def admit(self) -> bool:
        """Fill the free slots; whether anything is to be trained."""
        while not self._stop and (self._cohort is None or self._cohort.free_slots):
            live = self._waiting.popleft() if self._waiting else self._source.next()
            if live is None:
                break
            if self._cohort is None or live.trial.key != self._key:
                if self._cohort is not None and self._cohort.busy:
                    self._waiting.append(live)
                    break
                self._begin(live)
            self._take_in(live)
        return not self._stop and self._cohort is not None and self._cohort.busy

    def interval(self) -> None:
        """Train to the next checkpoint or the end of an epoch, and act on what happened."""
        assert self._cohort is not None
        events = self._cohort.run_interval(self._stepped, lambda: bool(self._stop))
        draw_together([(self._lives[event.trial], event) for event in events if isinstance(event, Checkpoint)])
        for event in events:
            self._hear(self._lives[event.trial], event)
        self._waiting.extendleft(self._lives[trial.name] for trial in self._cohort.returned)
        self._cohort.returned.clear()

    def _begin(self, live: LiveRun) -> None:
        """A cohort for steps of this run's shape."""
        from lorasweep.train.cache import cache_folder
        from lorasweep.train.cohort import Cohort
        from lorasweep.train.validation import FixedLoss

        self._cohort = Cohort(self._family, 1, cache_folder=cache_folder(live.trial.config))
        self._cohort.width = self._width.of(self._cohort, live)
        self._loss = FixedLoss(self._family, self._cohort.latents, self._cohort.texts)
        self._key = live.trial.key

    def _take_in(self, live: LiveRun) -> None:
        """Catch up after a crash, and admit what is not at its end."""
        assert self._cohort is not None
        assert self._loss is not None
        if live.name not in self._lives:
            self._lives[live.name] = live
            self._progress.begin(live)
            live.watch_losses(self._cohort, self._loss)
            live.catch_up()
            if self._left(live):
                return
        if self._cohort.admit(live.trial) >= live.trial.config.optim.steps:
            self._finish(live)

    def _stepped(self, step: Step) -> None:
        assert self._cohort is not None
        self._progress.step(step)
        self._lives[step.trial].stepped(step, self._cohort)

    def _hear(self, live: LiveRun, event: Checkpoint | Failure) -> None:
        """A run at its last step is picked from at once."""
        if isinstance(event, Failure):
            live.fail(event)
            self._progress.failed(event)
            self._source.ended(live)
            return
        self._progress.looking(event)
        self._progress.checkpoint(event, live.take(event))
        if event.step >= live.trial.config.optim.steps:
            self._finish(live)
        else:
            self._left(live)

    def _left(self, live: LiveRun) -> bool:
        """Whether the run leaves before its end, since the source has seen enough of it."""
        said = self._source.looked(live) if live.scores else GO_ON
        if said == GO_ON:
            return False
        assert self._cohort is not None
        if live.name in self._cohort.trials:
            self._cohort.evict(live.name, save=False)
        self._finish(live, hopeless=said == HOPELESS)
        return True

    def _finish(self, live: LiveRun, *, hopeless: bool = False) -> None:
        if hopeless:
            self._progress.gave_up(live.give_up(), max(live.scores))
        else:
            self._progress.finished(live.finish())
        self._source.ended(live)


def draw_together(pairs: Sequence[tuple[LiveRun, Checkpoint]]) -> None:
    """Sheets of several runs that are due at once are drawn in the same batches; looking at them then finds them."""
    judges = {id(live.judge): live.judge for live, checkpoint in pairs if checkpoint.step in live.drawn}
    for judge in judges.values():
        due = [(live, checkpoint) for live, checkpoint in pairs if live.judge is judge]
        if judge is not None and len(due) > 1:
            judge.draw([checkpoint for _, checkpoint in due], [live.samples_folder() for live, _ in due])
