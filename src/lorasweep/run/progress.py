"""What a person sees while runs train: a bar a run with its current score, or plain lines without a terminal."""

import math
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import TaskID, TextColumn

from lorasweep.console import bars
from lorasweep.records import Checkpoint, Failure, Scores, Step
from lorasweep.run.recorder import Outcome

if TYPE_CHECKING:
    from lorasweep.console import Say


def score_line(scores: Scores) -> str:
    """Return ``score 0.812  (I 0.80 P 0.91 …)``: the score, and those of its components that could be judged."""
    judged = {name: value for name, value in scores.components.items() if not math.isnan(value)}
    parts = " ".join(f"{name[:1].upper()} {value:.2f}" for name, value in judged.items())
    word = "not measurable" if math.isnan(scores.score) else f"score {scores.score:.3f}"
    return f"{word}  ({parts})"


class Progress:
    """One bar a run; lines go through ``say``, so that they stand above the bars. It only shows."""

    def __init__(self, say: "Say") -> None:
        self._say = say
        self._bars = bars(TextColumn("{task.fields[word]}"))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, run: str, steps: int) -> None:
        """Show a bar for a run of so many steps."""
        self._tasks[run] = self._bars.add_task(run, total=steps, word="")

    def step(self, step: Step) -> None:
        """Move a run's bar to a step."""
        self._bars.update(self._tasks[step.trial], completed=step.step, word=f"loss {step.loss:.4f}")

    def drawing(self, checkpoint: Checkpoint) -> None:
        """Say that a checkpoint is being drawn."""
        self._bars.update(self._tasks[checkpoint.trial], word="drawing")

    def scored(self, checkpoint: Checkpoint, scores: Scores | None) -> None:
        """Show the scores of a checkpoint; nothing if it was not drawn."""
        if scores is None:
            return
        line = score_line(scores)
        self._bars.update(self._tasks[checkpoint.trial], word=line.partition("  ")[0])
        self._say(f"{checkpoint.trial} step {checkpoint.step}: {line}")

    def failed(self, failure: Failure) -> None:
        """Say why a run could not go on."""
        self._say(f"{failure.trial} failed after step {failure.step}: {failure.reason}")

    def gave_up(self, outcome: Outcome, step: int) -> None:
        """Say that a run was ended because it is behind the others."""
        self._say(f"{outcome.name}: given up at step {step}, behind the other trials.")

    def finished(self, outcome: Outcome) -> None:
        """Say which checkpoint a finished run is picked from."""
        if outcome.pick is not None:
            self._say(f"{outcome.name}: {outcome.pick.reason}")
        else:
            self._say(f"{outcome.name}: trained, not judged; the files are in {outcome.folder / 'checkpoints'}")
        if outcome.undelivered:
            self._say(outcome.undelivered)
