"""Tensors of LoRA files as other trainers name them; down is full of 0.5, up of 0.25."""

import torch
from torch import Tensor


def pair(down: str, up: str, into: int, out: int, rank: int = 2) -> dict[str, Tensor]:
    return {down: torch.full((rank, into), 0.5), up: torch.full((out, rank), 0.25)}


def kohya(name: str, into: int, out: int, alpha: float | None = 1.0) -> dict[str, Tensor]:
    both = pair(f"{name}.lora_down.weight", f"{name}.lora_up.weight", into, out)
    return both if alpha is None else {**both, f"{name}.alpha": torch.tensor(alpha)}


def with_alpha(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    name = next(iter(tensors)).split(".lora_A")[0]
    return {**tensors, f"{name}.alpha": torch.tensor(1.0)}


def peft(name: str, into: int, out: int) -> dict[str, Tensor]:
    return pair(f"{name}.lora_A.weight", f"{name}.lora_B.weight", into, out)
