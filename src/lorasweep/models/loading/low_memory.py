"""How a model fits a small card: how and where its weights are kept, and what is refused before it is loaded."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lorasweep.config.card import Card
from lorasweep.errors import UserError
from lorasweep.models.family import Place
from lorasweep.models.loading.frozen import (
    KeptConv2d,
    KeptLinear,
    bytes_on_card,
    has_bitsandbytes,
    keep,
    last_layers,
    repeated_layers,
)

if TYPE_CHECKING:
    from lorasweep.config.schema import HardwareConfig

DENOISERS = ("unet", "transformer")
BASES = ("full", "fp8", "nf4")
BESIDE = 4.5
"""GB that a run needs beside the denoiser's weights, at most: adapters with their optimiser, the scorers, and 3 GB for
the VAE at work on an image of 1024 pixels."""
GB = 2**30


def require_fit(hardware: "HardwareConfig", device: torch.device, card: Card | None) -> None:
    """Raise UserError, before anything is read, if this machine cannot do what ``hardware`` asks."""
    if card is not None and device.type == "cuda":
        if hardware.precision == "bf16" and not card.bf16:
            raise UserError(f"hardware.precision is bf16, which {card.name} has not; use auto, fp16 or fp32.")
        if hardware.memory_gb is not None and hardware.memory_gb > card.memory_gb:
            raise UserError(
                f"hardware.memory_gb is {hardware.memory_gb:g}, but {card.name} has {card.memory_gb:.1f}; use "
                f"{max(1, math.floor(card.memory_gb - 0.5))} or less, or hardware=cpu."
            )
    if hardware.base == "nf4" and not has_bitsandbytes():
        raise UserError("hardware.base is nf4, which needs bitsandbytes; install lorasweep[lowvram], or use fp8.")


def bound_memory(hardware: "HardwareConfig", device: torch.device, card: Card | None) -> None:
    """Let torch take no more than ``hardware.memory_gb``."""
    # beyond a card's memory some drivers swap to the CPU's in silence, 50 times slower
    if card is not None and device.type == "cuda" and hardware.memory_gb is not None:
        number = device.index or 0  # torch wants one here; "cuda" is the first, as in find_card
        torch.cuda.set_per_process_memory_fraction(min(1.0, hardware.memory_gb / card.memory_gb), number)


def choose_base(sizes: Mapping[str, int], memory_gb: float | None) -> str:
    """Return the first of full, fp8 and nf4 that leaves enough room; nf4 if none does, full without a bound.

    Args:
        sizes: bytes that the denoiser takes on the card, by how it is kept.
    """
    if memory_gb is None:
        return "full"
    return next((base for base in BASES if sizes[base] <= _room(memory_gb)), BASES[-1])


def _room(memory_gb: float) -> float:
    """Return the bytes that the denoiser may take."""
    # half if that is more: a small model needs less than BESIDE
    return max(memory_gb - BESIDE, memory_gb / 2) * GB


def base_of(denoiser: nn.Module, hardware: "HardwareConfig") -> str:
    """Return how a denoiser that is still whole is to be kept, by its size and the configuration alone."""
    if hardware.base != "auto":
        return hardware.base
    away = last_layers(denoiser, hardware.offload)
    return choose_base({base: bytes_on_card(denoiser, base, away) for base in BASES}, hardware.memory_gb)


def way_of(part: str, module: nn.Module, hardware: "HardwareConfig") -> tuple[str, Collection[str]]:
    """Return how a part that is still whole is to be kept, and the names of its layers that stay in CPU memory."""
    if part in DENOISERS:
        return base_of(module, hardware), last_layers(module, hardware.offload)
    return "full", repeated_layers(module) if hardware.unload_encoders else ()


def placing(hardware: "HardwareConfig", device: torch.device) -> Place:
    """Return what puts each part of a model where and how ``hardware`` says."""

    def place(part: str, module: nn.Module) -> nn.Module:
        base, away = way_of(part, module, hardware)
        if base == "nf4" and not has_bitsandbytes():
            raise UserError(_lacking(module, hardware))
        return keep(module, base, device, away, pinned=part in DENOISERS)

    return place


def marked(family: Any) -> Any:
    """Return the family with how its parts are kept among its hashes: packed weights are other weights, and what was
    made from them is no cache, state or score of the whole ones."""
    layers = (layer for part in family.components.values() for layer in part.modules())
    kept = {layer.how for layer in layers if isinstance(layer, KeptLinear | KeptConv2d)} - {"full"}
    return replace(family, hashes={**family.hashes, "kept": "+".join(sorted(kept))}) if kept else family


def _lacking(denoiser: nn.Module, hardware: "HardwareConfig") -> str:
    """Say what to do if only NF4 would be small enough and bitsandbytes is not installed."""
    assert hardware.memory_gb is not None
    shares = (share / 20 for share in range(21))
    room = _room(hardware.memory_gb)
    enough = (s for s in shares if bytes_on_card(denoiser, "fp8", last_layers(denoiser, s)) <= room)
    share = next(enough, None)
    instead = "" if share is None else f", or keep a part of it in CPU memory with hardware.offload={share:g}"
    return (
        f"hardware.memory_gb is {hardware.memory_gb:g}, in which this model's weights fit as NF4 only; install "
        f"lorasweep[lowvram]{instead}."
    )


def on_card(part: str, module: nn.Module, hardware: "HardwareConfig") -> int:
    """Return the bytes that a part, still whole and possibly weightless, will take on the card."""
    return bytes_on_card(module, *way_of(part, module, hardware))
