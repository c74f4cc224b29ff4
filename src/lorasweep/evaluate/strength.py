"""The strength at which to apply the picked LoRA file, and between which strengths it works.

A LoRA that was trained a little too far is often good at 0.65 or 0.8; one that was not gains nothing there.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lorasweep.evaluate.bootstrap import comparable, exponents, losses, prompt_draws, replicate_scores
from lorasweep.evaluate.table import Rule, usable
from lorasweep.evaluate.text import strength_advice, strength_range
from lorasweep.evaluate.verdict import CAUSES, LEAST_EFFECT
from lorasweep.records import Pick, Scores, StrengthRange

ByStrength = Mapping[float, Scores]
"""One file's scores on the same prompts and seeds, by strength."""


def with_strength(pick: Pick, scores: ByStrength, own: float, rule: Rule, rng: np.random.Generator) -> Pick:
    """Return the pick with the strength to use it at, and those between which it works.

    Args:
        pick: of a checkpoint.
        scores: the picked file's on fresh seeds; must hold ``own``.
        own: the strength that every checkpoint was judged at (``sample.strength``).
        rng: of the bootstrap over prompts.
    """
    strength = advise(scores, own, rule, rng)
    words = [pick.reason, strength_advice(scores, own, strength)]
    reach = None
    if len(scores) > 1:
        reach = reach_of(scores, strength, rule)
        words.append(strength_range(reach, scores))
    return replace(pick, strength=strength, strengths=reach, reason=" ".join(filter(None, words)))


def advise(scores: ByStrength, own: float, rule: Rule, rng: np.random.Generator) -> float:
    """Return the strength to use one file at.

    A strength replaces ``own`` if its score is higher by at least ``LEAST_EFFECT`` and shown to be higher at
    ``rule.confidence``, or if ``own`` is vetoed and it is not.
    """
    standing = scores[own]
    judged = list(scores.values())
    good = dict(zip(scores, usable(judged, rule), strict=True))
    # Fewer recognisable faces at one strength than at another can leave identity without an image.
    compares = comparable(judged)[list(scores).index(own)]
    allowed = [strength for strength in sorted(scores) if strength != own and compares and good[strength]]
    if not standing.vetoes:
        # Shown, not only measured: the highest of six noisy scores would name another strength by chance.
        allowed = [strength for strength in allowed if _is_better(scores[strength], standing, rule, rng)]
    return max(allowed, key=lambda strength: scores[strength].score, default=own)


def reach_of(scores: ByStrength, advised: float, rule: Rule) -> StrengthRange:
    """Return the unbroken row of strengths around ``advised`` at which a file works, and what ends it on either side.

    A file works at a strength that has no veto, shows the subject and scores no more than ``rule.delta`` below the
    advised one.
    """
    order = sorted(scores)
    place, best = order.index(advised), scores[advised]
    good = usable([scores[strength] for strength in order], rule)
    works = good & np.array([scores[strength].score >= best.score - rule.delta for strength in order])
    first = last = place
    while first > 0 and works[first - 1]:
        first -= 1
    while last < len(order) - 1 and works[last + 1]:
        last += 1
    weaker = order[first - 1] if first else None
    stronger = order[last + 1] if last < len(order) - 1 else None
    return StrengthRange(
        low=order[first],
        high=order[last],
        too_weak=weaker,
        lost_below="" if weaker is None else _lost(scores[weaker], best),
        too_strong=stronger,
        lost_above="" if stronger is None else _lost(scores[stronger], best),
    )


def _lost(found: Scores, best: Scores) -> str:
    """Return the component that its veto comes from, or else that takes most from its score."""
    if found.vetoes:
        return CAUSES[found.vetoes[0].kind]
    names = tuple(found.components)
    before, after = (np.array([part.components[name] for name in names]) for part in (best, found))
    return names[int(np.argmax(losses(before, after, exponents(names, found.weights))))]


def _is_better(other: Scores, standing: Scores, rule: Rule, rng: np.random.Generator) -> bool:
    if np.isnan(other.score) or np.isnan(standing.score) or other.score - standing.score < LEAST_EFFECT:
        return False
    weights = exponents(tuple(standing.components), standing.weights)
    shares = np.stack([standing.by_prompt, other.by_prompt])
    spread = replicate_scores(shares, weights, prompt_draws(shares.shape[1], shares.shape[2], rule.replicates, rng))
    return float(np.quantile(spread[:, 1] - spread[:, 0], 1 - rule.confidence)) > 0
