"""The checkpoints of one run side by side, smoothed over their neighbours: what picks and verdicts are read from."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lorasweep.records import Bools, Floats, Scores

KERNEL = (0.25, 0.5, 0.25)
"""Weights of a checkpoint's neighbours and itself in the smoothed shares."""


class Rule(Protocol):
    """What the pick reads of ``config.pick``."""

    prefer: str
    delta: float
    confidence: float
    replicates: int
    floor: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """E checkpoints in order of steps, after smoothing."""

    judged: tuple[Scores, ...]
    """Before smoothing."""
    components: Floats
    """[E, C] in [0, 1], NaN if not judged."""
    weights: Floats
    """[C], summing to 1."""
    means: Floats
    """[E] scores."""
    spread: Floats
    """[B, E] scores in each bootstrap replicate."""
    comparable: Bools
    """[E] whether it was judged on all that the others were, so that its score is theirs to compare."""
    best: int
    """Place of the best comparable checkpoint, of one that is not ruled out if there is any."""
    eligible: Bools
    """[E] the unbroken row around ``best`` that is shown to be within ``rule.delta`` of it."""
    rule: Rule


def smooth(shares: Floats) -> Floats:
    """Return [E, ...] shares of each checkpoint averaged with its neighbours' by KERNEL.

    A share that was not judged (NaN) takes no part in its neighbours' means, and stays NaN itself.
    """
    total, weight = np.zeros_like(shares), np.zeros_like(shares)
    for shift, part in zip((-1, 0, 1), KERNEL, strict=True):
        source = slice(max(0, shift), len(shares) + min(0, shift))
        target = slice(max(0, -shift), len(shares) + min(0, -shift))
        judged = ~np.isnan(shares[source])
        total[target] += part * np.where(judged, shares[source], 0.0)
        weight[target] += part * judged
    mean = np.divide(total, weight, out=np.full_like(shares, np.nan), where=weight > 0)
    return np.where(np.isnan(shares), np.nan, mean)
