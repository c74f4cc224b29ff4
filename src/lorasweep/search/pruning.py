"""When a trial is not worth training further. Pure: scores in, a truth value out."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

Curve = Mapping[int, float]
"""Optimiser step to the score of its checkpoint, 0 to 1, high = good; NaN if it could not be measured.

Step 0 is the base model, so that a trial which training has only harmed is past its peak.
"""

PATIENCE = 2
"""Checkpoints in a row that must have fallen before a trial is past its peak."""
EARLIEST = 0.2
"""Share of its steps before which no trial is pruned: some learn slowly and end well."""
ENOUGH = 3
"""Whole trials that a trial must have been compared with before it is pruned."""


def past_peak(curve: Curve, delta: float) -> bool:
    """Return whether the scores have fallen for good, so that no later checkpoint would be picked.

    Args:
        delta: how much lower a score must be to count as lower, as in ``pick.delta``.
    """
    scores = _judged(curve)
    if len(scores) <= PATIENCE:
        return False
    best = max(scores[:-PATIENCE])
    # the pick goes no further than the first checkpoint delta below the best; twice that far, PATIENCE times in a row,
    # leaves room for the noise of a few images
    return all(score < best - 2 * delta for score in scores[-PATIENCE:])


def hopeless(curve: Curve, others: Sequence[Curve], steps: int, delta: float) -> bool:
    """Return whether a trial is behind the others, and one that was no better by then is known to have ended badly.

    Trials are compared by the best score that each had reached by this trial's newest step.

    Args:
        others: curves of trials that were not pruned.
        steps: of the whole trial.
        delta: how much lower a score must be to count as lower.
    """
    if not curve or max(curve) < EARLIEST * steps:
        return False
    now = max(curve)
    mine = best_by(curve, now)
    # trials that fell later were the quickest before it; to be slower than they were is no fault
    held = [other for other in others if not past_peak(other, delta) and any(0 < step <= now for step in other)]
    theirs = [(best_by(other, now), best_by(other, math.inf)) for other in held]
    if len(theirs) < ENOUGH:
        return False
    middle = median(then for then, _ in theirs) - delta
    best = max(end for _, end in theirs)
    # until a slow learner was seen to the end, nobody knows what becomes of them: the first is kept, and so is one that
    # is no worse than one that caught up
    slow = [(then, end) for then, end in theirs if then < middle]
    caught_up = any(then <= mine + delta and end >= best - delta for then, end in theirs)
    return mine < middle and bool(slow) and not caught_up


def best_by(curve: Curve, step: float) -> float:
    """Return the best score up to a step; 0 if none was measured."""
    return max((score for at, score in curve.items() if at <= step and not math.isnan(score)), default=0.0)


def _judged(curve: Curve) -> list[float]:
    return [curve[step] for step in sorted(curve) if not math.isnan(curve[step])]
