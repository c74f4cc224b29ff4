"""The checkpoints of one run side by side, smoothed over their neighbours: what picks and verdicts are read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lorasweep.records import Bools, Floats, Scores


class Rule(Protocol):
    """What the pick reads of ``config.pick``."""

    prefer: str
    delta: float
    confidence: float
    replicates: int
    floor: float
    least_likeness: float


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


def smooth(shares: Floats, steps: Sequence[int] | NDArray[np.int64]) -> Floats:
    """Return [E, ...] shares of each checkpoint averaged with its neighbours', which weigh less the farther they are.

    Args:
        shares: [E, ...]; one that was not judged (NaN) takes no part in its neighbours' means, and stays NaN itself.
        steps: [E] ascending, of the checkpoints.
    """
    # Checkpoints that are few steps apart learned nearly the same, so what sets them apart is mostly chance. At the
    # mean distance a neighbour weighs half as much as the checkpoint itself, at twice that distance nothing.
    gaps = np.diff(steps).astype(np.float64)
    nearness = np.clip(1 - gaps / (2 * gaps.mean()), 0, None) if len(gaps) else gaps
    parts = nearness.reshape(-1, *([1] * (shares.ndim - 1)))
    total, weight = np.zeros_like(shares), np.zeros_like(shares)
    before, whole, after = slice(None, -1), slice(None), slice(1, None)
    for target, source, part in ((after, before, parts), (whole, whole, 1.0), (before, after, parts)):
        judged = ~np.isnan(shares[source])
        total[target] += part * np.where(judged, shares[source], 0.0)
        weight[target] += part * judged
    mean = np.divide(total, weight, out=np.full_like(shares, np.nan), where=weight > 0)
    return np.where(np.isnan(shares), np.nan, mean)
