"""The strength at which to apply a LoRA file: the one it was judged at, unless another is shown to be better.

A LoRA that was trained a little too far is often good at 0.7 or 0.85; one that was not gains nothing there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lorasweep.evaluate.bootstrap import comparable, exponents, prompt_draws, replicate_scores
from lorasweep.evaluate.table import Rule
from lorasweep.evaluate.text import veto_text
from lorasweep.evaluate.verdict import LEAST_EFFECT
from lorasweep.records import Pick, Scores

ByStrength = Mapping[float, Scores]
"""One file's scores on the same prompts and seeds, by strength."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A strength, and why."""

    strength: float
    reason: str


def advise(scores: ByStrength, own: float, rule: Rule, rng: np.random.Generator) -> Advice:
    """Return the strength to use one file at.

    A strength replaces ``own`` if its score is higher by at least ``LEAST_EFFECT`` and shown to be higher at
    ``rule.confidence``, or if ``own`` is vetoed and it is not.

    Args:
        scores: the file's; must hold ``own``.
        own: the strength that every checkpoint was judged at (``sample.strength``).
        rng: of the bootstrap over prompts.
    """
    standing = scores[own]
    others = [strength for strength in sorted(scores) if strength != own]
    # Fewer recognisable faces at one strength than at another can leave identity without an image.
    fit = dict(zip(scores, comparable(list(scores.values())), strict=True))
    allowed = [strength for strength in others if fit[own] and fit[strength] and not scores[strength].vetoes]
    if standing.vetoes and allowed:
        best = max(allowed, key=lambda strength: _worth(scores[strength]))
        text = f"At strength {own:g} it is ruled out ({veto_text(standing.vetoes[0])}), at {best:g} it is not"
        return Advice(strength=best, reason=f"{text} and scores {scores[best].score:.2f}.")
    # Shown, not only measured: the highest of three noisy scores would name another strength by chance.
    better = [strength for strength in allowed if _is_better(scores[strength], standing, rule, rng)]
    if not better:
        named = " or ".join(f"{strength:g}" for strength in others)
        return Advice(strength=own, reason=f"Strength {named} is not shown to be better than {own:g}." if named else "")
    best = max(better, key=lambda strength: scores[strength].score)
    text = f"At strength {best:g} it scores {scores[best].score:.2f} against {standing.score:.2f} at {own:g}."
    return Advice(strength=best, reason=text)


def strength_finalists(pick: Pick) -> tuple[int, ...]:
    """Return the steps to draw at other strengths, ascending: the pick, the best and the runner-up."""
    if pick.step is None:
        return ()
    return tuple(sorted({step for step in (pick.step, pick.best_step, pick.runner_up) if step is not None}))


def advise_pair(pick: Pick, scores: Mapping[int, ByStrength], own: float, rule: Rule, rng: np.random.Generator) -> Pick:
    """Return the pick with a strength, or another finalist if, each at its strength, it is better by ``rule.delta``.

    ``scores`` are the finalists', by step and strength, and must hold the picked step's.
    """
    if pick.step is None:
        return pick
    advice = {step: advise(found, own, rule, rng) for step, found in scores.items()}
    at_best = {step: scores[step][advice[step].strength] for step in scores}
    fit = dict(zip(at_best, comparable(list(at_best.values())), strict=True))
    rivals = [step for step in at_best if fit[step]] if fit[pick.step] else [pick.step]
    rival = max(rivals, key=lambda step: _worth(at_best[step]))
    # The pick stood on the standing seeds too, so a rival must beat it by more than the pick rule lets pass.
    if _worth(at_best[rival]) <= _worth(at_best[pick.step]) + rule.delta:
        chosen = advice[pick.step]
        return replace(pick, strength=chosen.strength, reason=f"{pick.reason} {chosen.reason}".strip())
    strength, beaten = advice[rival].strength, advice[pick.step].strength
    text = (
        f"Checkpoint {rival} at strength {strength:g} scores {at_best[rival].score:.2f}, {pick.step} at strength "
        f"{beaten:g} only {at_best[pick.step].score:.2f}, so {rival} it is."
    )
    score = scores[rival][own].score  # at the run's own strength, so that runs compare
    return replace(pick, step=rival, runner_up=pick.step, score=score, strength=strength, reason=text)


def _is_better(other: Scores, standing: Scores, rule: Rule, rng: np.random.Generator) -> bool:
    if np.isnan(other.score) or np.isnan(standing.score) or other.score - standing.score < LEAST_EFFECT:
        return False
    weights = exponents(tuple(standing.components), standing.weights)
    shares = np.stack([standing.by_prompt, other.by_prompt])
    spread = replicate_scores(shares, weights, prompt_draws(shares.shape[1], shares.shape[2], rule.replicates, rng))
    return float(np.quantile(spread[:, 1] - spread[:, 0], 1 - rule.confidence)) > 0


def _worth(scores: Scores) -> float:
    """Return the score, or less than any score if nothing was judged or it is ruled out."""
    return -1.0 if np.isnan(scores.score) or scores.vetoes else scores.score
