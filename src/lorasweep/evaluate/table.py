"""The checkpoints of one run side by side, smoothed over their neighbours: what picks and verdicts are read from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lorasweep.evaluate.bootstrap import comparable, component_means
from lorasweep.outcomes import VetoKind
from lorasweep.records import COMPONENTS, Bools, Floats, Scores, Veto

IDENTITY = COMPONENTS.index("identity")
HARD, FEW = 0.5, 0.25
"""A prompt is hard to be like at if its best likeness at any checkpoint is below this share of the other prompts', and
if no more than so many of all prompts are: more of them, and it is the subject that was not learned."""
GONE = 0.95
"""Share of the soundness that damage took from a sheet of which nothing is left."""


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


def hard_prompts(judged: Sequence[Scores]) -> Bools:
    """Return [P] the prompts at which likeness stays low at every checkpoint although a face is found.

    Behind sunglasses, or as an old man, nobody looks like the photos. What chance and training change there still
    orders checkpoints; how high it is says nothing of whether they show the subject.
    """
    shares = np.stack([part.by_prompt[..., IDENTITY] for part in judged])  # [E, P, S]
    found = (shares != 0) & ~np.isnan(shares)  # identity gives exactly 0 to an image that lacks its face
    told = found.mean(axis=(0, 2)) > 0.5
    if told.sum() < 1 / FEW:
        return np.zeros(len(told), dtype=np.bool_)
    means = np.where(found, shares, 0.0).sum(axis=2) / np.maximum(found.sum(axis=2), 1)
    top = np.where(told, means.max(axis=0), np.nan)
    hard = told & (top < HARD * np.nanmedian(top))
    return hard if hard.sum() <= FEW * told.sum() else np.zeros_like(hard)


def usable(judged: Sequence[Scores], rule: Rule) -> Bools:
    """Return [E] which compare with the others, have a score and no veto, and show the subject as far as is known."""
    kept = ~hard_prompts(judged)
    likeness = component_means(np.stack([part.by_prompt[kept] for part in judged]))[:, IDENTITY]
    sound = np.array([not part.vetoes and not np.isnan(part.score) for part in judged])
    return comparable(judged) & sound & ~(likeness < rule.least_likeness)


def with_diverged(judged: Sequence[Scores]) -> tuple[Scores, ...]:
    """Return the same, those ruled out that come after two in a row whose pictures are nothing but damage.

    Args:
        judged: in order of steps.
    """
    # Training that fell apart may draw a face again for one checkpoint, by luck. On the drawn people for choosing no
    # acceptable checkpoint follows even one such: 11 runs, and 111 redraws of 8 and 4 pictures.
    gone = [next((v.share for v in part.vetoes if v.kind is VetoKind.DAMAGED), 0.0) for part in judged]
    twice = [min(pair) for pair in pairwise(gone)]
    first = next((place + 2 for place, share in enumerate(twice) if share >= GONE), len(judged))
    after = tuple(
        replace(part, vetoes=(*part.vetoes, Veto(VetoKind.DIVERGED, twice[first - 2]))) for part in judged[first:]
    )
    return (*judged[:first], *after)


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
