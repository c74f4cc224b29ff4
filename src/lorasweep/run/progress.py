"""What a person sees while it runs: a bar with the current score, or plain lines where there is no terminal."""

import math
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import TaskID, TextColumn

from lorasweep.console import bars
from lorasweep.records import Checkpoint, Failure, Scores, Step
from lorasweep.run.outcome import Outcome

if TYPE_CHECKING:
    from lorasweep.console import Say
    from lorasweep.run.recorder import LiveRun
    from lorasweep.track.tracker import JournalTracker


def score_line(scores: Scores) -> str:
    """``score 0.812  (I 0.80 P 0.91 …)``: the score and what of its components could be judged."""
    judged = {name: value for name, value in scores.components.items() if not math.isnan(value)}
    parts = " ".join(f"{name[:1].upper()} {value:.2f}" for name, value in judged.items())
    word = "not measurable" if math.isnan(scores.score) else f"score {scores.score:.3f}"
    return f"{word}  ({parts})"


class Progress:
    """One bar a run; lines go through ``say`` so that they stand above the bars."""

    def __init__(self, say: "Say") -> None:
        self._say = say
        self._bars = bars(TextColumn("{task.fields[word]}"))
        self._tasks: dict[str, TaskID] = {}
        self._trackers: dict[str, JournalTracker] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, live: "LiveRun") -> None:
        """A run is about to be trained; its steps will be journalled."""
        self._tasks[live.name] = self._bars.add_task(live.name, total=live.trial.config.optim.steps, word="")
        self._trackers[live.name] = live.tracker

    def step(self, step: Step) -> None:
        """Journal the step and move its bar."""
        self._trackers[step.trial].step(step)
        self._bars.update(self._tasks[step.trial], completed=step.step, word=f"loss {step.loss:.4f}")

    def looking(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is about to be drawn."""
        self._trackers[checkpoint.trial].flush()
        self._bars.update(self._tasks[checkpoint.trial], word="drawing")

    def checkpoint(self, checkpoint: Checkpoint, scores: Scores | None) -> None:
        """A checkpoint was looked at, or was not to be."""
        if scores is None:
            return
        line = score_line(scores)
        self._bars.update(self._tasks[checkpoint.trial], word=line.partition("  ")[0])
        self._say(f"{checkpoint.trial} step {checkpoint.step}: {line}")

    def failed(self, failure: Failure) -> None:
        """A trial left."""
        self._say(f"{failure.trial} failed after step {failure.step}: {failure.reason}")

    def gave_up(self, outcome: Outcome, step: int) -> None:
        """A run stays behind the others and was ended."""
        self._say(f"{outcome.name}: given up at step {step}, behind the other trials.")

    def finished(self, outcome: Outcome) -> None:
        """A run is over; say which checkpoint it is."""
        if outcome.pick is not None:
            self._say(f"{outcome.name}: {outcome.pick.reason}")
        else:
            self._say(f"{outcome.name}: trained, not judged; the files are in {outcome.folder / 'checkpoints'}")
        if outcome.undelivered:
            self._say(outcome.undelivered)
