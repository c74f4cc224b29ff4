"""The loop: fill free slots, train to the next checkpoint, score what was saved, let finished runs go, fill again."""

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.records import Checkpoint, Failure, Step
from lorasweep.run.progress import Progress
from lorasweep.run.recorder import RunRecorder
from lorasweep.run.stopping import StopRequest

if TYPE_CHECKING:
    from lorasweep.models.family import Family
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.validation import FixedLoss

WIDEST = 8
"""With ``width=auto``, no more trials than this are trained side by side."""


class Decision(Enum):
    """What becomes of a run after one of its checkpoints was scored."""

    GO_ON = auto()
    FINISH = auto()
    """Train it no further, and pick from what it has."""
    GIVE_UP = auto()
    """Train it no further, and pick nothing."""


class Source(Protocol):
    """Where the runs come from that are trained side by side."""

    def next(self) -> RunRecorder | None:
        """Return a run for a free slot; None if there is none now."""
        ...

    def decide(self, run: RunRecorder) -> Decision:
        """Return whether a run goes on, after a checkpoint that is not its last one was scored."""
        ...

    def ended(self, run: RunRecorder) -> None:
        """Take note of a run that is over, well or badly, as ``run.outcome`` says."""
        ...


class Queue:
    """A source of runs that are known beforehand; each is trained to its end, in their order."""

    def __init__(self, runs: Sequence[RunRecorder]) -> None:
        self._waiting = deque(runs)

    def next(self) -> RunRecorder | None:
        return self._waiting.popleft() if self._waiting else None

    def decide(self, run: RunRecorder) -> Decision:
        return Decision.GO_ON

    def ended(self, run: RunRecorder) -> None: ...


def train_side_by_side(
    source: Source, family: "Family", width: int | str, trials: int, stop: StopRequest, say: Say
) -> None:
    """Train what the source gives until it gives no more, or until a stop is asked for.

    Args:
        width: trials side by side, or ``auto``: as many as make training faster, measured with the first one.
        trials: how many there will be at most.

    Raises:
        UserError: the width is neither, or memory does not suffice for one trial.
    """
    with Progress(say) as progress:
        loop = _Loop(source, family, Width(width, trials, say), stop, progress)
        while loop.admit():
            loop.interval()


class Width:
    """How many trials are trained side by side."""

    def __init__(self, asked: int | str, trials: int, say: Say) -> None:
        """Raise UserError if the width is neither ``auto`` nor a number from 1 up."""
        if asked != "auto" and (not isinstance(asked, int) or asked < 1):
            raise UserError(f"width is {asked!r}; it must be auto or a number of adapters from 1 up.")
        self._asked = asked
        self._trials = trials
        self._say = say

    def of(self, cohort: "Cohort", run: RunRecorder) -> int:
        """Return the width for runs of this one's shape."""
        from lorasweep.train.state import load_state
        from lorasweep.train.width import measured_width

        most = min(self._trials, WIDEST if isinstance(self._asked, str) else self._asked)
        if isinstance(self._asked, int) or most == 1:
            return most
        # a resumed run keeps the width that it was trained at: it then ends bit-equal to one that never stopped
        state = load_state(run.trial, cohort.family)
        if state is not None and state.widths:
            return max(state.widths)
        width, seconds = measured_width(cohort, run.trial, most)
        rates = ", ".join(f"{each} {each / took:.2g}" for each, took in seconds.items())
        why = "more bring nothing here" if width < most else "all at once"
        self._say(f"Side by side: {width}, {why} (trials' steps a second by width: {rates}).")
        return width


class _Loop:
    def __init__(self, source: Source, family: "Family", width: Width, stop: StopRequest, progress: Progress) -> None:
        self._source = source
        self._family = family
        self._width = width
        self._stop = stop
        self._progress = progress
        self._runs: dict[str, RunRecorder] = {}
        """By name, all that were ever admitted."""
        self._waiting: deque[RunRecorder] = deque()
        """Runs that cannot be admitted yet: memory ran out, or the runs that train take steps of another shape."""
        self._cohort: Cohort | None = None
        self._loss: FixedLoss | None = None
        self._key: object = None

    def admit(self) -> bool:
        """Fill the free slots; return whether anything is to be trained."""
        while not self._stop and (self._cohort is None or self._cohort.free_slots):
            run = self._waiting.popleft() if self._waiting else self._source.next()
            if run is None:
                break
            if self._cohort is None or run.trial.key != self._key:
                if self._cohort is not None and self._cohort.busy:
                    self._waiting.append(run)  # a cohort takes steps of one shape: this run opens the next one
                    break
                self._begin_cohort(run)
            self._take_in(run)
        return not self._stop and self._cohort is not None and self._cohort.busy

    def interval(self) -> None:
        """Train to the next checkpoint or the end of an epoch, and act on what happened."""
        assert self._cohort is not None
        events = self._cohort.run_interval(self._step_taken, lambda: bool(self._stop))
        saved = [(self._runs[event.trial], event) for event in events if isinstance(event, Checkpoint)]
        for run, checkpoint in saved:  # before minutes of drawing, in which a power cut would lose the steps
            run.checkpoint_saved(checkpoint)
            self._progress.drawing(checkpoint)
        draw_together(saved)
        for event in events:
            self._act_on(self._runs[event.trial], event)
        # to the front: what had begun goes on before anything new is begun
        self._waiting.extendleft(self._runs[trial.name] for trial in self._cohort.returned)
        self._cohort.returned.clear()

    def _begin_cohort(self, run: RunRecorder) -> None:
        """Begin a cohort for steps of this run's shape."""
        from lorasweep.train.cache import cache_folder
        from lorasweep.train.cohort import Cohort
        from lorasweep.train.validation import FixedLoss

        # of width 1 first: the width is measured on the cohort itself, with this run's steps
        self._cohort = Cohort(self._family, 1, cache_folder=cache_folder(run.trial.config))
        self._cohort.width = self._width.of(self._cohort, run)
        self._loss = FixedLoss(self._family, self._cohort.latents, self._cohort.texts)
        self._key = run.trial.key

    def _take_in(self, run: RunRecorder) -> None:
        """Admit a run that is not at its end, once its checkpoints from before a crash are scored."""
        assert self._cohort is not None
        assert self._loss is not None
        if run.name not in self._runs:  # not one that comes back because memory had run out
            self._runs[run.name] = run
            self._progress.begin(run.name, run.trial.config.optim.steps)
            run.watch_losses(self._cohort, self._loss)
            run.catch_up()
            if self._leaves_early(run):
                return
        if self._cohort.admit(run.trial) >= run.trial.config.optim.steps:
            self._finish(run)

    def _step_taken(self, step: Step) -> None:
        assert self._cohort is not None
        self._runs[step.trial].step_taken(step, self._cohort)
        self._progress.step(step)

    def _act_on(self, run: RunRecorder, event: Checkpoint | Failure) -> None:
        if isinstance(event, Failure):
            run.fail(event)
            self._progress.failed(event)
            self._source.ended(run)
            return
        self._progress.scored(event, run.score_checkpoint(event))
        if event.step >= run.trial.config.optim.steps:
            self._finish(run)
        else:
            self._leaves_early(run)

    def _leaves_early(self, run: RunRecorder) -> bool:
        """Let a run go before its last step if the source decides so; return whether it did."""
        decision = self._source.decide(run) if run.scores else Decision.GO_ON
        if decision is Decision.GO_ON:
            return False
        assert self._cohort is not None
        if run.name in self._cohort.trials:  # not one that catches up, which has no slot yet
            self._cohort.evict(run.name, save=False)
        if decision is Decision.GIVE_UP:
            self._progress.gave_up(run.give_up(), max(run.scores))
            self._source.ended(run)
        else:
            self._finish(run)
        return True

    def _finish(self, run: RunRecorder) -> None:
        self._progress.finished(run.finish())
        self._source.ended(run)


def draw_together(saved: Sequence[tuple[RunRecorder, Checkpoint]]) -> None:
    """Draw the sheets of several runs that are due at once in the same batches; scoring then finds the images."""
    # runs that share an evaluator may save at one step and draw at different ones, as their budgets allow
    due = [(run, checkpoint) for run, checkpoint in saved if run.evaluator and checkpoint.step in run.drawn]
    for evaluator in {id(run.evaluator): run.evaluator for run, _ in due}.values():
        sheets = [(checkpoint, run.samples_folder()) for run, checkpoint in due if run.evaluator is evaluator]
        if evaluator is not None and len(sheets) > 1:
            checkpoints, folders = zip(*sheets, strict=True)
            evaluator.draw(checkpoints, folders)
