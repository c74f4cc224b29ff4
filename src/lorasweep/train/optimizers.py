"""One optimiser a slot, on the slot's own row of the flat buffer: neighbours cannot touch it.

A row is one long vector, so that AdamW and Prodigy take a handful of operations a step however many modules there are.
"""

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from prodigyopt import Prodigy
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lorasweep.errors import UserError
from lorasweep.models.loading.frozen import has_bitsandbytes
from lorasweep.models.lora.layer import AdapterBank

if TYPE_CHECKING:
    from lorasweep.config.schema import OptimConfig

MOVING = ("d", "d_max", "d_numerator", "k")
"""What Prodigy changes in its parameter groups as it goes."""
PARTS = ("denoiser", "text")


def _adamw(groups: list[dict[str, Any]], optim: "OptimConfig") -> Optimizer:
    betas = (optim.betas[0], optim.betas[1])
    # foreach gains nothing on one vector, and takes as much memory again
    return AdamW(groups, betas=betas, eps=optim.eps, weight_decay=optim.weight_decay, foreach=False)


def _adamw8bit(groups: list[dict[str, Any]], optim: "OptimConfig") -> Optimizer:
    require_optimizer(optim)
    from bitsandbytes.optim.adamw import AdamW8bit

    betas = (optim.betas[0], optim.betas[1])
    return AdamW8bit(groups, betas=betas, eps=optim.eps, weight_decay=optim.weight_decay)


def _prodigy(groups: list[dict[str, Any]], optim: "OptimConfig") -> Optimizer:
    betas = (optim.betas[0], optim.betas[1])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that weight decay is decoupled
        return Prodigy(
            groups,
            betas=betas,
            eps=optim.eps,
            weight_decay=optim.weight_decay,  # type: ignore[arg-type]
            use_bias_correction=True,
            safeguard_warmup=True,
        )


def _adafactor(groups: list[dict[str, Any]], optim: "OptimConfig") -> Optimizer:
    from transformers.optimization import Adafactor  # seconds to import

    # at the rate that is set from outside, not scaled by the weights' size, which would hold a LoRA's up matrix at the
    # zero that it starts from
    how: Any = {"scale_parameter": False, "relative_step": False, "warmup_init": False}
    return Adafactor(groups, weight_decay=optim.weight_decay, **how)


BUILDERS: dict[str, Callable[[list[dict[str, Any]], "OptimConfig"], Optimizer]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "prodigy": _prodigy,
    "adafactor": _adafactor,
}


def require_optimizer(optim: "OptimConfig") -> None:
    """Raise UserError if the optimiser's package is not installed."""
    if optim.name == "adamw8bit" and not has_bitsandbytes():
        raise UserError("optim.name is adamw8bit, which needs bitsandbytes; install lorasweep[lowvram], or use adamw.")


class Row:
    """One part of a slot as an optimiser sees it: one vector without padding, whatever lies beside it."""

    def __init__(self, bank: AdapterBank, slot: int, columns: slice | Tensor) -> None:
        assert bank.gradients is not None
        self._columns = None if isinstance(columns, slice) else columns
        own = columns if isinstance(columns, slice) else slice(None)
        self._values, self._gradients = bank.values[slot, own], bank.gradients[slot, own]
        self.leaf = self._values if self._columns is None else self._values[self._columns]
        self.leaf.grad = self._gradients if self._columns is None else torch.zeros_like(self.leaf)

    def fetch(self) -> None:
        """Copy the gradients from the bank, unless the vector is a view of it."""
        if self._columns is not None:
            assert self.leaf.grad is not None
            torch.index_select(self._gradients, 0, self._columns, out=self.leaf.grad)

    def store(self) -> None:
        """Copy the values to the bank, unless the vector is a view of it."""
        if self._columns is not None:
            self._values.index_copy_(0, self._columns, self.leaf)


class SlotOptimizer:
    """The optimiser of one slot of a bank; its state outlives the bank as named tensors and plain numbers."""

    def __init__(self, optim: "OptimConfig", bank: AdapterBank, slot: int) -> None:
        self._rows: list[Row] = []
        groups = []
        # Adafactor factors its second moment by rows and columns, so that it gets the slot's matrices
        for part, lr in zip(PARTS, learning_rates(optim), strict=True):
            leaves = bank.leaves(slot, part) if optim.name == "adafactor" else self._row(bank, slot, part)
            if leaves:
                groups.append({"params": leaves, "lr": lr, "base_lr": lr})
        self._optimizer = BUILDERS[optim.name](groups, optim)
        self._leaves = [leaf for group in groups for leaf in group["params"]]

    def _row(self, bank: AdapterBank, slot: int, part: str) -> list[Tensor]:
        row = Row(bank, slot, bank.columns(slot, part))
        if not row.leaf.numel():
            return []
        self._rows.append(row)
        return [row.leaf]

    def step(self, factor: float) -> None:
        """Take one step at ``factor`` times each group's learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        for row in self._rows:
            row.fetch()
        self._optimizer.step()
        for row in self._rows:
            row.store()

    @property
    def pace(self) -> float:
        """What multiplies the learning rate from within: Prodigy's own estimate d, 1 for the others."""
        return float(self._optimizer.param_groups[0].get("d", 1.0))

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state as tensors on the CPU and numbers that JSON keeps exactly, by the place of the leaf."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {}
        for place, leaf in enumerate(self._leaves):
            for key, value in self._optimizer.state[leaf].items():
                if isinstance(value, Tensor):
                    tensors[f"{place}.{key}"] = value.cpu().clone()
                elif value is not None:
                    numbers[f"{place}.{key}"] = value
        for place, group in enumerate(self._optimizer.param_groups):
            numbers |= {f"group{place}.{key}": group[key] for key in MOVING if key in group}
        return tensors, numbers

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Take over what ``export`` gave, into a bank that may be wider or padded otherwise."""
        for place, leaf in enumerate(self._leaves):
            prefix = f"{place}."
            state = {
                # a step count stays on the CPU, where torch makes it
                key.removeprefix(prefix): value.clone() if value.dim() == 0 else value.to(leaf.device, copy=True)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
            state |= {key.removeprefix(prefix): value for key, value in numbers.items() if key.startswith(prefix)}
            if state:
                self._optimizer.state[leaf] = state
        for place, group in enumerate(self._optimizer.param_groups):
            group |= {key: numbers[f"group{place}.{key}"] for key in MOVING if f"group{place}.{key}" in numbers}


def learning_rates(optim: "OptimConfig") -> tuple[float, float]:
    """Return the learning rates of the denoiser's and of the text encoder's adapter."""
    return optim.lr, optim.lr if optim.text_encoder_lr is None else optim.text_encoder_lr
