"""The graphics card of this machine, and which settings under ``conf/hardware`` are meant for one of its kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Card:
    """What torch says of one CUDA device."""

    name: str
    memory_gb: float
    """In units of 2^30 bytes, as cards are sold; drivers keep up to a tenth of it to themselves."""
    capability: tuple[int, int]

    @property
    def bf16(self) -> bool:
        """Whether it computes in bf16: Ampere and newer do, and what ROCm calls by such numbers."""
        return self.capability >= (8, 0)


LEAST: Mapping[str, float] = {"datacenter": 38, "24gb": 21.5, "16gb": 15.5, "12gb": 11.5, "10gb": 9.5}
"""Least ``memory_gb`` for a group, the largest first: what the group may use and half a gigabyte for CUDA itself."""
SMALLEST = "8gb"


def group_for(card: Card | None) -> str:
    """Return the group under ``conf/hardware`` that ``hardware=auto`` stands for."""
    if card is None:
        return "cpu"
    # a card below the smallest group gets that one: only loading a model refuses it, so that any machine can plan
    return next((group for group, least in LEAST.items() if card.memory_gb >= least), SMALLEST)


def precision_for(asked: str, device: str, card: Card | None) -> str:
    """Return ``asked``, or for auto bf16 if the card has it, fp16 on older ones and fp32 on a CPU."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and card is None):
        return "fp32"
    # a card that is not here, as in a plan for another machine, is taken for one that has bf16
    return "bf16" if card is None or card.bf16 else "fp16"


def find_card(device: str) -> Card | None:
    """Return the card that ``hardware.device`` means; None for a CPU or if torch sees no such card."""
    if device == "cpu":
        return None
    import torch  # seconds; only where a configuration asks about the card

    cuda: Any = torch.cuda
    number = device.removeprefix("cuda:")
    number = int(number) if number.isdigit() else 0
    if not cuda.is_available() or number >= cuda.device_count():
        return None
    found = cuda.get_device_properties(number)
    return Card(name=found.name, memory_gb=found.total_memory / 2**30, capability=(found.major, found.minor))


def planned_device(asked: str) -> str:
    """Return cpu or cuda for ``hardware.device``: what would be trained on, since a plan needs no card."""
    if asked != "auto":
        return asked.partition(":")[0]
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
