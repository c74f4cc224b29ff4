"""Which noise levels are trained how often: uniform numbers in, places on the way from picture to noise out."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lorasweep.config.schema import OptimConfig

SMALL, LARGE = (256, 0.5), (4096, 1.15)
"""Tokens of a picture and the log of its shift; FLUX.1's own, linear between and beyond them."""


def spread(uniforms: Tensor, optim: "OptimConfig | None", tokens: int, auto: str) -> Tensor:
    """[N] numbers in [0, 1) to [N] places in [0, 1), 1 being pure noise.

    Args:
        optim: its ``timesteps``, ``sigmoid_scale`` and ``timestep_shift``; None means ``auto``.
        tokens: of one picture, for the shift that grows with it.
        auto: what ``timesteps=auto`` means for this family.

    Source: sd-scripts' ``timestep_sampling`` sigmoid, shift and flux_shift; Esser et al. 2024, arXiv 2403.03206.
    """
    kind = auto if optim is None or optim.timesteps == "auto" else optim.timesteps
    if kind == "uniform":
        return uniforms
    # the quantile function turns uniform numbers into normal ones: one random number a row, whatever the kind
    normal = torch.special.ndtri(uniforms.clamp(1e-6, 1 - 1e-6))
    places = torch.sigmoid(normal * (optim.sigmoid_scale if optim else 1.0))
    if kind == "shift":
        return shifted(places, optim.timestep_shift if optim else 1.0)
    return shifted(places, math.exp(log_shift(tokens))) if kind == "resolution_shift" else places


def shifted(places: Tensor, shift: float) -> Tensor:
    """More noise where ``shift`` is above 1; 0 and 1 stay where they are."""
    return shift * places / (1 + (shift - 1) * places)


def log_shift(tokens: int) -> float:
    """Log of the shift that FLUX.1 takes for a picture of so many tokens."""
    slope = (LARGE[1] - SMALL[1]) / (LARGE[0] - SMALL[0])
    return SMALL[1] + slope * (tokens - SMALL[0])
