"""One trial in its place in a cohort: its own learning rate, clipping, optimiser and loss scale."""

import math

from torch import Tensor

from lorasweep.models.lora.layer import AdapterBank
from lorasweep.records import Failure, Step
from lorasweep.train.optimizers import SlotOptimizer
from lorasweep.train.schedules import lr_factor
from lorasweep.train.state import TrainingState, mean_scale
from lorasweep.train.trial import Trial

GROWTH_STEPS = 2000
"""Steps without an overflow after which an fp16 loss scale is doubled, as in torch's GradScaler."""


class Slot:
    """One trial in its place.

    Args:
        now: seconds, of the clock that decides when a state is saved between checkpoints.
    """

    def __init__(self, trial: Trial, state: TrainingState, now: float) -> None:
        self.trial = trial
        self.state = state
        self.saved_at = now
        self.scale = mean_scale(state.adapter)  # of the learning rate that is told; alphas never change
        self.optimizer: SlotOptimizer | None = None

    @property
    def finished(self) -> bool:
        return self.state.step >= self.trial.config.optim.steps

    @property
    def place(self) -> int:
        """Position in the trial's sequence of sizes."""
        return self.trial.place(self.state.step)

    @property
    def whole(self) -> bool:
        """Whether all weights, as last copied into the state, are finite."""
        weights = self.state.adapter.values()
        return all(bool(w.down.isfinite().all()) and bool(w.up.isfinite().all()) for w in weights)

    def put_on(self, bank: AdapterBank, number: int) -> None:
        """Make the optimiser over row ``number`` of a bank, with the state that it had."""
        self.optimizer = SlotOptimizer(self.trial.config.optim, bank, number)
        self.optimizer.load(self.state.optimizer_tensors, self.state.optimizer_numbers)

    def copy_from(self, bank: AdapterBank, number: int) -> None:
        """Copy what the bank and the optimiser hold into the state."""
        assert self.optimizer is not None
        self.state.adapter = bank.export(number)
        self.state.optimizer_tensors, self.state.optimizer_numbers = self.optimizer.export()

    def update(self, gradients: Tensor, loss: float, norm: float) -> Step | Failure:
        """Clip the gradients and take one optimiser step.

        Args:
            gradients: [P] of the slot, times its loss scale; clipped in place.
            loss: mean over the step's rows.
            norm: of the gradients, loss scale taken out.
        """
        state, optim = self.state, self.trial.config.optim
        assert self.optimizer is not None
        factor = lr_factor(optim, state.step)
        if not math.isfinite(loss):
            return self._failure(f"The loss became {loss} at step {state.step + 1}")
        if math.isfinite(norm):
            clip = min(1.0, optim.max_grad_norm / (norm + 1e-6)) if optim.max_grad_norm else 1.0
            if clip / state.loss_scale != 1.0:  # in one pass, and in none if there is nothing to do
                gradients.mul_(clip / state.loss_scale)
            self.optimizer.step(factor)
            state.good_steps += 1
            if state.loss_scale > 1 and state.good_steps % GROWTH_STEPS == 0:
                state.loss_scale *= 2
        elif state.loss_scale > 1:
            # fp16 overflowed on the way back, not the weights: skip this update and scale less from now on
            state.loss_scale, state.good_steps = state.loss_scale / 2, 0
        else:
            return self._failure(f"The gradient became {norm} at step {state.step + 1}")
        state.step += 1
        return self._told(loss, norm, optim.lr * factor)

    def diverged(self) -> Failure:
        """Return the failure of a trial whose weights are no longer finite, found when they were to be saved."""
        return self._failure(f"The weights are no longer finite at step {self.state.step}", self.state.step)

    def _failure(self, what: str, step: int | None = None) -> Failure:
        reason = f"{what}; lower optim.lr (now {self.trial.config.optim.lr:g})."
        return Failure(trial=self.trial.name, step=self.state.step + 1 if step is None else step, reason=reason)

    def _told(self, loss: float, norm: float, lr: float) -> Step:
        step = self.state.step
        assert self.optimizer is not None
        lr *= self.optimizer.pace
        return Step(
            trial=self.trial.name,
            step=step,
            epoch=(step - 1) // self.trial.steps_per_epoch,
            loss=loss,
            lr=lr,
            effective_lr=lr * self.scale,
            grad_norm=norm,
        )
