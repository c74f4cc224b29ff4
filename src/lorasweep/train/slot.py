"""One trial in its place in a cohort, and what is said of it."""

from lorasweep.models.lora.layer import Adapter
from lorasweep.records import Failure, Step
from lorasweep.train.checkpoint import TrainingState
from lorasweep.train.optimizers import SlotOptimizer
from lorasweep.train.schedules import lr_factor
from lorasweep.train.starting import mean_scale
from lorasweep.train.trial import Trial


class Slot:
    """One trial in its place."""

    def __init__(self, trial: Trial, state: TrainingState, now: float) -> None:
        self.trial = trial
        self.state = state
        self.saved_at = now
        self.scale = mean_scale(state.adapter)
        self.optimizer: SlotOptimizer | None = None

    @property
    def finished(self) -> bool:
        return self.state.step >= self.trial.config.optim.steps

    @property
    def place(self) -> int:
        """Where it stands in the sequence of sizes."""
        return self.trial.place(self.state.step)

    @property
    def lr(self) -> float:
        """The learning rate of the step that comes next."""
        return self.trial.config.optim.lr * lr_factor(self.trial.config.optim, self.state.step)


def whole(adapter: Adapter) -> bool:
    return all(bool(w.down.isfinite().all()) and bool(w.up.isfinite().all()) for w in adapter.values())


def diverged(slot: Slot) -> Failure:
    step, lr = slot.state.step, slot.trial.config.optim.lr
    reason = f"The weights are no longer finite at step {step}; lower optim.lr (now {lr:g})."
    return Failure(trial=slot.trial.name, step=step, reason=reason)


def told(slot: Slot, loss: float, norm: float, lr: float) -> Step:
    step = slot.state.step
    assert slot.optimizer is not None
    lr *= slot.optimizer.pace
    return Step(
        trial=slot.trial.name,
        step=step,
        epoch=(step - 1) // slot.trial.steps_per_epoch,
        loss=loss,
        lr=lr,
        effective_lr=lr * slot.scale,
        grad_norm=norm,
    )
