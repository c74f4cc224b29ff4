"""A run's losses on fixed noise: measured beside its training, journalled, and used for nothing else."""

from typing import TYPE_CHECKING

from lorasweep.evaluate.dvar import EPS, dvar_ratio, dvar_window
from lorasweep.plan.budget import FIXED_BATCH, VALIDATION_ROWS, fixed_batch_every
from lorasweep.records import Checkpoint, FixedBatch, Step, Validation
from lorasweep.track.recall import read_run
from lorasweep.track.tracker import JournalTracker

if TYPE_CHECKING:
    from lorasweep.models.lora.layer import Adapter
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial
    from lorasweep.train.validation import FixedLoss, FixedRow


class LossWatch:
    """Measures one run on photos, noise and timesteps that stay the same; nothing of its training is touched.

    What the journal holds is not measured again. A loss depends on the adapter and the photos alone, so what is lost in
    a crash is measured to the same value.
    """

    def __init__(self, trial: "Trial", tracker: JournalTracker, cohort: "Cohort", loss: "FixedLoss") -> None:
        from lorasweep.train.validation import fixed_rows

        self._trial = trial
        self._tracker = tracker
        self._cohort = cohort
        self._held_out = fixed_rows(trial, trial.dataset.held_out, VALIDATION_ROWS)
        self._train = fixed_rows(trial, trial.dataset.train, VALIDATION_ROWS)
        self._batch = fixed_rows(trial, trial.dataset.train, FIXED_BATCH)
        self._fixed_loss = loss
        # encoders may be unloaded once training has begun, so what the rows need is encoded now
        loss.encode((*self._held_out, *self._train, *self._batch), trial.config)
        view = read_run(trial.folder)
        self._validation = {found.step: found for found in view.validation}
        self._fixed = {found.step: found.loss for found in view.fixed_batch}
        self._dvar_told = False

    def step(self, step: Step) -> None:
        """Measure DVAR's batch, from the weights in memory, if it is due at this step."""
        if step.step == 1:
            self._base()
            self._measure_batch(0, self._start())
        if step.step % fixed_batch_every(self._trial.config) == 0:
            self._measure_batch(step.step, self._cohort.adapter(self._trial.name))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Measure a checkpoint from its file."""
        from lorasweep.models.lora.file import read_lora

        if checkpoint.path is not None and checkpoint.step not in self._validation:
            base = self._base()
            self._record(self._measured(checkpoint.step, read_lora(checkpoint.path, self._cohort.family)), base)

    def _base(self) -> Validation:
        """Return the base model's losses, which are recorded before all others."""
        if 0 not in self._validation:
            base = self._measured(0, {})
            self._record(base, base)
        return self._validation[0]

    def _start(self) -> "Adapter":
        """Return what training begins with. A fresh adapter changes nothing yet, so the base model stands for it."""
        from lorasweep.train.state import starting_adapter

        config = self._trial.config
        return {} if config.lora.init is None else starting_adapter(config, self._cohort.family)

    def _measured(self, step: int, adapter: "Adapter") -> Validation:
        held_out, train = self._loss(adapter, self._held_out), self._loss(adapter, self._train)
        return Validation(trial=self._trial.name, step=step, held_out=held_out, train=train)

    def _loss(self, adapter: "Adapter", rows: "tuple[FixedRow, ...]") -> float:
        return self._fixed_loss(adapter, rows, self._trial.config)

    def _record(self, found: Validation, base: Validation) -> None:
        self._tracker.validation(found, base)
        self._validation[found.step] = found

    def _measure_batch(self, step: int, adapter: "Adapter") -> None:
        if step in self._fixed:
            return
        self._fixed[step] = self._loss(adapter, self._batch)
        self._tracker.fixed_batch(FixedBatch(trial=self._trial.name, step=step, loss=self._fixed[step]))
        steps = sorted(self._fixed)
        if self._dvar_told or steps[0] != 0 or len(steps) < 2:  # a journal that lost its start has no window to compare
            return
        if dvar_ratio([self._fixed[each] for each in steps], dvar_window(steps)) < EPS:
            self._tracker.tag("dvar_step", str(step))
            self._dvar_told = True
