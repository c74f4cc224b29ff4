"""One run while it lives: its checkpoints drawn, judged, remembered and, at the end, one of them picked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorasweep.errors import RunFailedError
from lorasweep.plan.budget import drawn_steps, finer_sheets, finer_step, glimpsed_steps
from lorasweep.records import AtStrength, Checkpoint, Failure, Pick, Prompt, Scores, Step
from lorasweep.run.evaluator import Judge
from lorasweep.run.losses import LossWatch
from lorasweep.run.mirrored import mixed_sides
from lorasweep.run.outcome import Outcome
from lorasweep.track.recall import read_run
from lorasweep.track.tracker import JournalTracker

if TYPE_CHECKING:
    from lorasweep.models.families.family import Family
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial
    from lorasweep.train.validation import FixedLoss


class LiveRun:
    """What happens around the training of one trial. Everything it knows is in the run's folder too."""

    def __init__(
        self,
        trial: "Trial",
        family: "Family",
        tracker: JournalTracker,
        prompts: tuple[Prompt, ...],
        judge: Judge | None,
        steps: Sequence[int] | None = None,
    ) -> None:
        """``steps`` are those of the checkpoints that are drawn; None leaves it to ``evaluate.budget``."""
        from lorasweep.train.schedules import checkpoint_steps

        self.trial = trial
        self.family = family
        self.tracker = tracker
        self.prompts = prompts
        self.judge = judge
        saved = checkpoint_steps(trial.config)
        self._finer = finer_sheets(trial.config, len(saved)) if steps is None else 0
        if steps is None:
            steps = drawn_steps(trial.config, saved)
        self.drawn = tuple(steps) if judge else ()
        self.glimpsed = frozenset(glimpsed_steps(trial.config, self.drawn))
        self.scores: dict[int, Scores] = {}
        self.base_score = math.nan
        """Of the model that training started from, on the same sheet; known with the first checkpoint's."""
        self.losses: LossWatch | None = None
        """Who measures losses on fixed noise; None where nobody does, as where nothing is trained."""
        self.outcome: Outcome | None = None

    @property
    def name(self) -> str:
        return self.trial.name

    @property
    def folder(self) -> Path:
        return self.trial.folder

    def catch_up(self) -> None:
        """After a crash: draw and judge the checkpoints that were written but not looked at."""
        for checkpoint in self._checkpoints():
            self.take(checkpoint, report=False)

    def take(self, checkpoint: Checkpoint, *, report: bool = True) -> Scores | None:
        """A checkpoint is on disk: draw it from its file, judge it, and tell the journal and the report."""
        self.tracker.checkpoint(checkpoint)
        if self.judge is not None and checkpoint.step in self.drawn:
            if not self.scores:
                self._look_at_base()
            self.scores[checkpoint.step] = self._look(checkpoint, fresh=False)
        if self.losses is not None:
            self.losses.checkpoint(checkpoint)
        found = self.scores.get(checkpoint.step)
        if report and found is not None:
            self.write_report()
        return found

    def watch_losses(self, cohort: "Cohort", loss: "FixedLoss") -> None:
        """Measure losses on fixed noise from here on, as ``evaluate.validation`` asks."""
        if self.trial.config.evaluate.validation:
            self.losses = LossWatch(self.trial, self.tracker, cohort, loss)

    def stepped(self, step: Step, cohort: "Cohort") -> None:
        """A step was taken and is in the journal."""
        if self.losses is not None:
            self.losses.step(step)
        self.glimpse(step, cohort)

    def glimpse(self, step: Step, cohort: "Cohort") -> None:
        """Draw from the weights in memory where ``sample.every_steps`` asks for it, to be looked at and not scored.

        To be called before a training state of this step can be saved: a run that is killed while it draws then takes
        the step again, and no picture is missed.
        """
        from lorasweep.train.sample import Sheet, draw_adapter

        if step.step not in self.glimpsed:
            return
        sheet = Sheet.of(self.trial.config, self.prompts)
        adapter = cohort.adapter(self.name)
        drawn = draw_adapter(self.family, adapter, step, sheet, self.samples_folder(), cohort.texts)
        self.tracker.samples(drawn, self.prompts)
        self.write_report()

    def fail(self, failure: Failure) -> None:
        """The trial cannot go on; what it had made before stays and one of it may still be picked."""
        self._close("failed", self._choose(), RunFailedError(failure.reason))

    def finish(self) -> Outcome:
        """The last step is taken: pick."""
        if self.outcome is None:
            self._close("finished", self._choose(), None)
        assert self.outcome is not None
        return self.outcome

    def give_up(self) -> Outcome:
        """It stays behind others and is not worth its last steps: over, with no pick."""
        if self.outcome is None:
            self.tracker.note(f"Given up at step {max(self.scores)}, behind the other trials of its search.")
            self._close("finished", None, None)
        assert self.outcome is not None
        return self.outcome

    def stop(self) -> Outcome:
        """The user asked to stop; the run can be resumed."""
        if self.outcome is None:
            self._close("stopped", None, None)
        assert self.outcome is not None
        return self.outcome

    def write_report(self) -> Path:
        """The run's page from what the journal holds so far."""
        from lorasweep.report.page import write_report

        return write_report(self.folder, read_run(self.folder))

    def _look_at_base(self) -> None:
        """Where training started from, judged like its checkpoints: what was gained and lost is told against it."""
        assert self.judge is not None
        sheet = self.judge.base_sheet(self.name, self.samples_folder())
        self.tracker.samples(sheet, self.prompts)
        scores = self.judge.judge(sheet, self.judge.shared)
        self.tracker.scores(scores)
        self.base_score = scores.score

    def _look(self, checkpoint: Checkpoint, *, fresh: bool) -> Scores:
        assert self.judge is not None
        (sheet,) = self.judge.draw([checkpoint], [self.samples_folder(fresh=fresh)], fresh=fresh)
        self.tracker.samples(sheet, self.prompts)
        scores = self.judge.judge(sheet, self.folder / "features")
        self.tracker.scores(scores)
        return scores

    def samples_folder(self, *, fresh: bool = False) -> Path:
        """Where sheets are drawn to."""
        return self.folder / "samples" / ("fresh" if fresh else "standing")

    def _choose(self) -> Pick | None:
        """Choose, look again at the finalists on fresh seeds, and choose for good."""
        from lorasweep.evaluate.pick import confirm, finalists, steady_score

        if not self.scores:
            return None
        config = self.trial.config
        pick = self._standing_pick()
        for _ in range(self._finer):
            step = finer_step(pick, self.scores, [each.step for each in self._checkpoints()])
            if step is not None:
                self.scores[step] = self._look(self._checkpoint(step), fresh=False)
                pick = self._standing_pick()
        fresh = [self._fresh_scores(step) for step in finalists(pick)]
        pick = self._with_strength(confirm(pick, fresh, config.pick), {scores.step: scores for scores in fresh})
        pick = replace(pick, steady=steady_score(pick, fresh))
        self.tracker.pick(pick)
        if pick.step is not None and (note := self._mixed_sides(self._checkpoint(pick.step))):
            self.tracker.note(note)
        return pick

    def _mixed_sides(self, checkpoint: Checkpoint) -> str:
        """What is to be said of left and right in a checkpoint's pictures, on standing and on fresh seeds."""
        assert self.judge is not None
        folders = {fresh: self.samples_folder(fresh=fresh) for fresh in (False, True)}
        sheets = [self.judge.draw([checkpoint], [folder], fresh=fresh)[0] for fresh, folder in folders.items()]
        return mixed_sides(sheets, self.prompts, self.judge.scorers.faces)

    def _standing_pick(self) -> Pick:
        """Of what was looked at so far, on the standing seeds."""
        from lorasweep.evaluate.pick import choose

        config = self.trial.config
        standing = [self.scores[step] for step in sorted(self.scores)]
        return choose(standing, config.pick, np.random.default_rng(config.seed))

    def _fresh_scores(self, step: int) -> Scores:
        return self._look(self._checkpoint(step), fresh=True)

    def _with_strength(self, pick: Pick, fresh: Mapping[int, Scores]) -> Pick:
        """Look at the pick, the best and the runner-up at the strengths of ``pick.strengths``, and choose the pair."""
        from lorasweep.evaluate.strength import advise_pair, strength_finalists

        config, own = self.trial.config, self.trial.config.sample.strength
        others = [strength for strength in config.pick.strengths if strength != own]
        scores = {
            step: {own: fresh[step], **{strength: self._scores_at(step, strength) for strength in others}}
            for step in strength_finalists(pick)
        }
        pick = replace(pick, strength=own)
        return advise_pair(pick, scores, own, config.pick, np.random.default_rng(config.seed)) if others else pick

    def _scores_at(self, step: int, strength: float) -> Scores:
        assert self.judge is not None
        folder = self.folder / "samples" / f"strength-{strength:g}"
        (sheet,) = self.judge.draw([self._checkpoint(step)], [folder], fresh=True, strength=strength)
        scores = self.judge.judge(sheet, self.folder / "features")
        self.tracker.strength(AtStrength(strength=strength, samples=sheet, scores=scores))
        return scores

    def _checkpoint(self, step: int) -> Checkpoint:
        return next(each for each in self._checkpoints() if each.step == step)

    def _checkpoints(self) -> list[Checkpoint]:
        from lorasweep.train.checkpoint import list_checkpoints

        return list_checkpoints(self.folder, self.name)

    def _close(self, status: str, pick: Pick | None, error: Exception | None) -> None:
        undelivered = self.tracker.end(status, str(error) if error else "")
        self.write_report()
        self.outcome = Outcome(
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
    """The LoRA file that was picked."""
    from lorasweep.train.checkpoint import list_checkpoints

    found = [each.path for each in list_checkpoints(folder, pick.trial) if each.step == pick.step]
    return found[0] if found else None
