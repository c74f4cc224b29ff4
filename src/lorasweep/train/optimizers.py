"""One optimiser a slot, on the slot's own row of the flat buffer: neighbours cannot touch it.

A row is one long vector, so AdamW and Prodigy take a handful of operations a step however many modules there are.
Adafactor needs rows and columns and gets the slot's matrices.
"""

import contextlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from prodigyopt import Prodigy
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lorasweep.models.cohort_lora import AdapterBank

if TYPE_CHECKING:
    from lorasweep.config.schema import OptimConfig

MOVING = ("d", "d_max", "d_numerator", "k")
"""What Prodigy changes in its parameter groups as it goes."""
PARTS = ("denoiser", "text")


def _adamw(groups: list[dict[str, Any]], optim: "OptimConfig") -> Optimizer:
    betas = (optim.betas[0], optim.betas[1])
    return AdamW(groups, betas=betas, eps=optim.eps, weight_decay=optim.weight_decay, foreach=False)


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
    from lorasweep.models.adafactor import adafactor  # transformers takes seconds to import

    return adafactor(groups, optim.weight_decay)


BUILDERS: dict[str, Callable[[list[dict[str, Any]], "OptimConfig"], Optimizer]] = {
    "adamw": _adamw,
    "prodigy": _prodigy,
    "adafactor": _adafactor,
}


class SlotOptimizer:
    """The optimiser of one slot of a bank; its state outlives the bank as named tensors and plain numbers."""

    def __init__(self, optim: "OptimConfig", bank: AdapterBank, slot: int) -> None:
        self._bank, self._slot = bank, slot
        self._rows = optim.name != "adafactor"
        groups, self._sections = [], []
        for part, lr in zip(PARTS, learning_rates(optim), strict=True):
            section = bank.section(part)
            if section.stop:
                leaves = [self._row(section)] if self._rows else bank.leaves(slot, part)
                groups.append({"params": leaves, "lr": lr, "base_lr": lr})
                self._sections += [section] * len(leaves)
        self._optimizer = BUILDERS[optim.name](groups, optim)
        self._leaves = [leaf for group in groups for leaf in group["params"]]

    def _row(self, section: slice) -> Tensor:
        assert self._bank.gradients is not None
        row = self._bank.values[self._slot, section]
        row.grad = self._bank.gradients[self._slot, section]
        return row

    def step(self, factor: float) -> None:
        """One step at ``factor`` times each group's learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self._optimizer.step()

    @property
    def pace(self) -> float:
        """What multiplies the learning rate from within: Prodigy's own estimate, 1 for the others."""
        return float(self._optimizer.param_groups[0].get("d", 1.0))

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors on the CPU without padding, and numbers that JSON keeps exactly."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {}
        for place, leaf in enumerate(self._leaves):
            for key, value in self._optimizer.state[leaf].items():
                if isinstance(value, Tensor):
                    tensors[f"{place}.{key}"] = self._packed(value, place).cpu().clone()
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
                key.removeprefix(prefix): self._unpacked(value, place, leaf)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
            state |= {key.removeprefix(prefix): value for key, value in numbers.items() if key.startswith(prefix)}
            if state:
                self._optimizer.state[leaf] = state
        for place, group in enumerate(self._optimizer.param_groups):
            group |= {key: numbers[f"group{place}.{key}"] for key in MOVING if f"group{place}.{key}" in numbers}

    def _mask(self, place: int) -> Tensor | None:
        mask = self._bank.occupied(self._slot) if self._rows else None
        return None if mask is None else mask[self._sections[place]]

    def _packed(self, value: Tensor, place: int) -> Tensor:
        mask = self._mask(place)
        return value if mask is None or value.dim() == 0 else value[mask.to(value.device)]

    def _unpacked(self, value: Tensor, place: int, leaf: Tensor) -> Tensor:
        if value.dim() == 0:
            return value.clone()
        mask = self._mask(place)
        if mask is None:
            return value.to(leaf.device, copy=True)
        whole = torch.zeros_like(leaf)
        whole[mask.to(leaf.device)] = value.to(leaf.device)
        return whole


def learning_rates(optim: "OptimConfig") -> tuple[float, float]:
    """Of the denoiser's and of the text encoder's adapter."""
    return optim.lr, optim.lr if optim.text_encoder_lr is None else optim.text_encoder_lr
