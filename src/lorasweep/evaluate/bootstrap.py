"""Shares to scores, and how sure one can be of them when prompts are what was drawn at random."""

from collections.abc import Mapping

import numpy as np

from lorasweep.records import Floats

FLOOR = 0.01
"""Least value of a component in the geometric mean: one zero must not hide all other differences.

Small enough that strangers drawn without a fault (0.01 ** 0.4 = 0.16) stay below the customary ``pick.floor`` of 0.2.
"""


def exponents(components: Mapping[str, float] | tuple[str, ...], weights: Mapping[str, float]) -> Floats:
    """[C] weights in the components' order, summing to 1; all alike where none are given."""
    values = np.array([float(weights.get(name, 0.0)) if weights else 1.0 for name in components])
    if values.sum() <= 0:
        raise ValueError("evaluate.weights are all zero; at least one must be above zero")
    return values / values.sum()


def component_means(shares: Floats) -> Floats:
    """[..., C] cut to [0, 1], for shares [..., P, S, C]; NaN where nothing was judged."""
    judged = ~np.isnan(shares)
    count = judged.sum(axis=(-3, -2))
    total = np.where(judged, shares, 0.0).sum(axis=(-3, -2))
    return np.clip(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), 0, 1)


def combine(components: Floats, weights: Floats) -> Floats:
    """[...] weighted geometric mean over the last axis; components that are NaN are left out."""
    judged = ~np.isnan(components)
    used = np.where(judged, weights, 0.0)
    total = used.sum(axis=-1)
    logs = (used * np.log(np.maximum(np.where(judged, components, 1.0), FLOOR))).sum(axis=-1)
    return np.where(total > 0, np.exp(logs / np.where(total > 0, total, 1.0)), np.nan)


def prompt_draws(prompts: int, replicates: int, rng: np.random.Generator) -> Floats:
    """[B, P] how often each prompt is in each replicate; the first replicate is the sheet as it is."""
    draws = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=replicates).astype(np.float64)
    draws[0] = 1.0
    return draws


def replicate_scores(shares: Floats, weights: Floats, draws: Floats) -> Floats:
    """[B, E] scores of E checkpoints on the drawn prompts, the same for all, so that differences are paired.

    ``shares`` is [E, P, S, C]. A component that a draw leaves without a picture keeps its value on the whole sheet.
    """
    judged = ~np.isnan(shares)
    count = np.tensordot(draws, judged.sum(axis=2).astype(np.float64), axes=(1, 1))
    total = np.tensordot(draws, np.where(judged, shares, 0.0).sum(axis=2), axes=(1, 1))
    whole = np.broadcast_to(component_means(shares), total.shape)
    means = np.where(count > 0, np.clip(total / np.where(count > 0, count, 1.0), 0, 1), whole)
    return combine(means, weights)
