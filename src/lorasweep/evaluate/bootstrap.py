"""From shares to scores, and how sure they are if the same prompts were drawn again from other seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from lorasweep.errors import UserError
from lorasweep.records import Bools, Floats, Scores

FLOOR = 0.01
"""Least value of a component in the geometric mean, so that one zero does not hide all other differences.

Faultless images of strangers, 0.01 ** 0.4 = 0.16 at identity's default weight, stay below ``pick.floor`` of 0.2.
"""


def exponents(components: Mapping[str, float] | tuple[str, ...], weights: Mapping[str, float]) -> Floats:
    """Return [C] weights in the components' order, summing to 1; equal if none are given.

    Raise UserError if all are zero.
    """
    values = np.array([float(weights.get(name, 0.0)) if weights else 1.0 for name in components])
    if values.sum() <= 0:
        raise UserError("evaluate.weights are all zero; at least one must be above zero")
    return values / values.sum()


def component_means(shares: Floats) -> Floats:
    """Return [..., C] means of shares [..., P, S, C], cut to [0, 1]; NaN for a component that was not judged."""
    judged = ~np.isnan(shares)
    count = judged.sum(axis=(-3, -2))
    total = np.where(judged, shares, 0.0).sum(axis=(-3, -2))
    return np.clip(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), 0, 1)


def combine(components: Floats, weights: Floats) -> Floats:
    """Return [...] weighted geometric means over the last axis; components that are NaN are left out."""
    judged = ~np.isnan(components)
    used = np.where(judged, weights, 0.0)
    total = used.sum(axis=-1)
    logs = (used * np.log(np.maximum(np.where(judged, components, 1.0), FLOOR))).sum(axis=-1)
    return np.where(total > 0, np.exp(logs / np.where(total > 0, total, 1.0)), np.nan)


def losses(best: Floats, other: Floats, weights: Floats) -> Floats:
    """Return [C] what each component takes from log(score) of ``other``, compared with ``best``; 0 if not judged."""
    values = np.log(np.maximum(np.nan_to_num([best, other], nan=1.0), FLOOR))
    return weights * (values[0] - values[1])


def comparable(scores: Sequence[Scores]) -> Bools:
    """Return [E] whether each was judged on every component that the most fully judged one was.

    ``scores`` are at least one, all with the same components and weights.
    """
    # A geometric mean over fewer components is another quantity: without identity every stranger would score high.
    weights = exponents(tuple(scores[0].components), scores[0].weights)
    judged = ~np.isnan(np.array([list(part.components.values()) for part in scores])) & (weights > 0)
    fullest = judged[np.argmax(judged @ weights)]
    return (judged | ~fullest).all(axis=1)


def prompt_draws(prompts: int, seeds: int, replicates: int, rng: np.random.Generator) -> Floats:
    """Return [B, P] how much each replicate makes of each prompt; the first replicate is the sheet as it is."""
    # Whole prompts are drawn, since one seed a prompt tells nothing else. But they are the same prompts at every
    # checkpoint and on fresh seeds, and only a part of what sets two of them apart is chance: on the drawn people that
    # are for choosing seeds scatter as much as prompts do, so of S seeds' mean 1 / (1 + S) of the variance is theirs.
    draws = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=replicates).astype(np.float64)
    draws = 1 + np.sqrt(1 / (1 + seeds)) * (draws - 1)
    draws[0] = 1.0
    return draws


def replicate_scores(shares: Floats, weights: Floats, draws: Floats) -> Floats:
    """Return [B, E] scores of E checkpoints, for shares [E, P, S, C] and draws [B, P].

    All checkpoints get the same draws, so that differences are paired. A component that a draw leaves without an image
    keeps its value on the whole sheet.
    """
    judged = ~np.isnan(shares)
    count = np.tensordot(draws, judged.sum(axis=2).astype(np.float64), axes=(1, 1))
    total = np.tensordot(draws, np.where(judged, shares, 0.0).sum(axis=2), axes=(1, 1))
    whole = np.broadcast_to(component_means(shares), total.shape)
    means = np.where(count > 0, np.clip(total / np.where(count > 0, count, 1.0), 0, 1), whole)
    return combine(means, weights)
