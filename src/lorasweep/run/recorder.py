"""The recorder of one run: journals its training, draws and scores its checkpoints, and picks one at the end."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.errors import RunFailedError
from lorasweep.outcomes import RunStatus
from lorasweep.plan.budget import drawn_steps, finer_sheets, glimpsed_steps
from lorasweep.records import AtStrength, Checkpoint, Failure, Pick, Prompt, Scores, Step
from lorasweep.run.evaluator import Evaluator
from lorasweep.run.losses import LossWatch
from lorasweep.run.picking import mixed_sides, pick_checkpoint
from lorasweep.track.recall import read_run
from lorasweep.track.tracker import JournalTracker

if TYPE_CHECKING:
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial
    from lorasweep.train.validation import FixedLoss


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    name: str
    folder: Path
    status: RunStatus
    pick: Pick | None
    score: float
    """Of the picked checkpoint on fresh seeds, 0 to 1; NaN if nothing was picked."""
    error: Exception | None = None
    file: Path | None = None
    """The picked LoRA file."""
    skipped: tuple[str, ...] = ()
    """A sentence for each file of another trainer's folder that was left out."""
    undelivered: str = ""
    """A sentence if MLflow does not have everything yet, else ''."""


class RunRecorder:
    """What happens around the training of one trial. All that it knows can be read back from the run's folder."""

    def __init__(
        self,
        trial: "Trial",
        tracker: JournalTracker,
        prompts: tuple[Prompt, ...],
        evaluator: Evaluator | None,
        *,
        foreign: bool = False,
        ends: bool = True,
    ) -> None:
        """Begin with nothing scored; ``catch_up`` scores what the trial's folder holds.

        Args:
            foreign: whether the run is over another trainer's files; all of them are drawn, whatever the budget.
            ends: whether this session says how the run ended; one that only scores a trained run does not.
        """
        from lorasweep.train.schedules import checkpoint_steps

        self.trial = trial
        self.tracker = tracker
        self.prompts = prompts
        self.evaluator = evaluator
        saved = [each.step for each in self._checkpoints()] if foreign else checkpoint_steps(trial.config)
        self._finer = 0 if foreign else finer_sheets(trial.config, len(saved))
        drawn = saved if foreign else drawn_steps(trial.config, saved)
        self.drawn = tuple(drawn) if evaluator else ()
        """Steps of the checkpoints that are drawn and scored as they are saved."""
        self.glimpsed = frozenset(glimpsed_steps(trial.config, self.drawn))
        self.scores: dict[int, Scores] = {}
        """By step, on the standing seeds; without the base model's."""
        self.base_score = math.nan
        """Of the base model on the same sheet; known with the first checkpoint's."""
        self.losses: LossWatch | None = None
        """None if losses on fixed noise are not measured, as in a run that trains nothing."""
        self.outcome: Outcome | None = None
        self._ends = ends

    @property
    def name(self) -> str:
        return self.trial.name

    @property
    def folder(self) -> Path:
        return self.trial.folder

    def watch_losses(self, cohort: "Cohort", loss: "FixedLoss") -> None:
        """Measure losses on fixed noise from here on, if ``evaluate.validation`` asks for them."""
        if self.trial.config.evaluate.validation:
            self.losses = LossWatch(self.trial, self.tracker, cohort, loss)

    def catch_up(self) -> None:
        """Score the checkpoints that are on disk, as after a crash; images and losses that exist are kept."""
        for checkpoint in self._checkpoints():
            self.checkpoint_saved(checkpoint)
            self.score_checkpoint(checkpoint, report=False)

    def step_taken(self, step: Step, cohort: "Cohort") -> None:
        """Journal a step; measure losses and draw a glimpse if they are due at it.

        Must be called before a training state of this step can be saved: a run that is killed meanwhile then takes the
        step again, and neither loss nor image is missed.
        """
        self.tracker.step(step)
        if self.losses is not None:
            self.losses.step(step)
        self._glimpse(step, cohort)
        if step.step in self.trial.saved_steps:  # a state that knows more than the journal would leave a gap in it
            self.tracker.flush()

    def checkpoint_saved(self, checkpoint: Checkpoint) -> None:
        """Journal a checkpoint, and with it, for good, all steps before it."""
        self.tracker.checkpoint(checkpoint)

    def score_checkpoint(self, checkpoint: Checkpoint, *, report: bool = True) -> Scores | None:
        """Draw a checkpoint from its file, score it and write the report; return None if it is not to be drawn."""
        if checkpoint.step in self.drawn:
            if not self.scores:
                self._score_base()
            self.scores[checkpoint.step] = self._score(checkpoint.step)
        if self.losses is not None:
            self.losses.checkpoint(checkpoint)
        found = self.scores.get(checkpoint.step)
        # when catching up, the page of one checkpoint would be written over by that of the next at once
        if report and found is not None:
            self.write_report()
        return found

    def finish(self) -> Outcome:
        """Pick: the last step was taken."""
        if self.outcome is None:
            self.outcome = self._close(RunStatus.FINISHED, self._pick())
        return self.outcome

    def fail(self, failure: Failure) -> Outcome:
        """Pick among what there is: the trial cannot go on."""
        self.outcome = self._close(RunStatus.FAILED, self._pick(), RunFailedError(failure.reason))
        return self.outcome

    def give_up(self) -> Outcome:
        """End without a pick: the trial is behind others and not worth its last steps."""
        if self.outcome is None:
            self.tracker.note(f"Given up at step {max(self.scores)}, behind the other trials of its search.")
            self.outcome = self._close(RunStatus.FINISHED, None)
        return self.outcome

    def stop(self) -> Outcome:
        """End without a pick: the user asked to stop, and the run can be resumed."""
        if self.outcome is None:
            self.outcome = self._close(RunStatus.STOPPED, None)
        return self.outcome

    def write_report(self) -> Path:
        """Write the run's page from what the journal holds so far."""
        from lorasweep.report.page import write_report

        return write_report(self.folder, read_run(self.folder))

    def samples_folder(self, *, fresh: bool = False) -> Path:
        """Return where sheets are drawn to."""
        return self.folder / "samples" / ("fresh" if fresh else "standing")

    def _glimpse(self, step: Step, cohort: "Cohort") -> None:
        """Draw from the weights in memory, to be looked at and not scored, if ``sample.every_steps`` asks for it."""
        from lorasweep.train.sample import Sheet, draw_adapter

        if step.step not in self.glimpsed:
            return
        sheet = Sheet.of(self.trial.config, self.prompts)
        # from memory, since between checkpoints there is no file; drawn on the model in training, not evaluate.model
        adapter = cohort.adapter(self.name)
        drawn = draw_adapter(cohort.family, adapter, step, sheet, self.samples_folder(), cohort.texts)
        self.tracker.samples(drawn, self.prompts)
        self.write_report()

    def _score_base(self) -> None:
        """Score the base model as checkpoints are: what training gained and lost is told against it."""
        assert self.evaluator is not None
        sheet = self.evaluator.base_sheet(self.name, self.samples_folder())  # linked, and described for all runs once
        self.tracker.samples(sheet, self.prompts)
        scores = self.evaluator.score(sheet, self.evaluator.shared_features)
        self.tracker.scores(scores)
        self.base_score = scores.score

    def _score(self, step: int, *, fresh: bool = False, strength: float | None = None) -> Scores:
        assert self.evaluator is not None
        own = strength is None  # sheets at other strengths are no sheets of the run: they are journalled apart
        folder = self.samples_folder(fresh=fresh) if own else self.folder / "samples" / f"strength-{strength:g}"
        (sheet,) = self.evaluator.draw([self._checkpoint(step)], [folder], fresh=fresh, strength=strength)
        if own:
            self.tracker.samples(sheet, self.prompts)
        scores = self.evaluator.score(sheet, self.folder / "features")
        if own:
            self.tracker.scores(scores)
        else:
            self.tracker.strength(AtStrength(strength=strength, samples=sheet, scores=scores))
        return scores

    def _pick(self) -> Pick | None:
        if not self.scores:
            return None
        saved = [each.step for each in self._checkpoints()]
        pick = pick_checkpoint(self.trial.config, self.scores, saved, self._finer, self._score)
        self.tracker.pick(pick)  # before the note, which costs time and decides nothing
        if pick.step is not None and (note := self._mixed_sides(pick.step)):
            self.tracker.note(note)
        return pick

    def _mixed_sides(self, step: int) -> str:
        assert self.evaluator is not None
        checkpoint = self._checkpoint(step)
        sheets = [
            self.evaluator.draw([checkpoint], [self.samples_folder(fresh=fresh)], fresh=fresh)[0]
            for fresh in (False, True)  # both together, since of fewer images less can be said
        ]
        return mixed_sides(sheets, self.prompts, self.evaluator.scorers.faces)

    def _checkpoint(self, step: int) -> Checkpoint:
        return next(each for each in self._checkpoints() if each.step == step)

    def _checkpoints(self) -> list[Checkpoint]:
        from lorasweep.train.checkpoint import list_checkpoints

        return list_checkpoints(self.folder, self.name)

    def _close(self, status: RunStatus, pick: Pick | None, error: Exception | None = None) -> Outcome:
        from lorasweep.train.state import widths_met

        if self._ends:
            undelivered = self.tracker.end(status, str(error) if error else "", widths_met(self.folder))
        else:
            undelivered = self.tracker.close()
            status = read_run(self.folder).status  # of the training: a stopped one can still be resumed
        self.write_report()  # after the end, so that the page shows it
        return Outcome(
            name=self.name,
            folder=self.folder,
            status=status,
            pick=pick,
            score=math.nan if pick is None or pick.step is None else pick.score,
            error=error,
            file=None if pick is None else picked_file(self.folder, pick),
            undelivered=undelivered,
        )


def picked_file(folder: Path, pick: Pick) -> Path | None:
    """Return the LoRA file that was picked; None if nothing was."""
    from lorasweep.train.checkpoint import list_checkpoints

    found = [each.path for each in list_checkpoints(folder, pick.trial) if each.step == pick.step]
    return found[0] if found else None
