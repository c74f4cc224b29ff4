"""Which checkpoint: the latest one that still works, made testable.

"Not shown to differ from the best" is the wrong question, since with few pictures nothing is ever shown; it picks
broken checkpoints. Asked instead is which ones are *shown* to be within ``delta`` of the best, in an unbroken row
from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lorasweep.evaluate.bootstrap import combine, component_means, exponents, prompt_draws, replicate_scores
from lorasweep.evaluate.verdict import WITHHELD, Table, judge_checkpoints, judge_run, reason
from lorasweep.records import Bools, Floats, Pick, Scores

KERNEL = (0.25, 0.5, 0.25)
"""Weights of a checkpoint's neighbours and itself in the smoothed shares."""


class Rule(Protocol):
    """What the pick reads of ``config.pick``."""

    prefer: str
    delta: float
    confidence: float
    replicates: int
    floor: float


@dataclass(frozen=True)
class _Row:
    """The outcome on one set of scores."""

    best: int
    eligible: Bools
    chosen: int


def choose(scores: Sequence[Scores], rule: Rule, rng: np.random.Generator) -> Pick:
    """The checkpoint to use, before the finalists are drawn again (``Pick.score`` is NaN until ``confirm``).

    ``scores`` are one trial's, all under one evaluation signature, in any order; the base model's (step 0) and those on
    fresh seeds are passed over. The answer depends on ``rng`` only through the bootstrap.

    Raises:
        ValueError: where no checkpoint is given, or they are of different trials or sheets.
    """
    judged = sorted((part for part in scores if part.step > 0 and not part.fresh), key=lambda part: part.step)
    _check(judged)
    weights = exponents(tuple(judged[0].components), judged[0].weights)
    shares = smooth(np.stack([part.by_prompt for part in judged]))
    draws = prompt_draws(shares.shape[1], rule.replicates, rng)
    spread = replicate_scores(shares, weights, draws)
    allowed = np.array([not part.vetoes for part in judged])
    means = combine(component_means(shares), weights)
    row = _decide(means, spread, allowed, rule)
    table = Table(
        judged=tuple(judged),
        components=component_means(shares),
        weights=weights,
        means=means,
        spread=spread,
        best=row.best,
        eligible=row.eligible,
        rule_delta=rule.delta,
        confidence=rule.confidence,
    )
    return _to_pick(table, row, rule, allowed)


def finalists(pick: Pick) -> tuple[int, ...]:
    """Steps to draw again on fresh seeds, ascending: the pick, the best, the runner-up, and the pick's neighbours."""
    if pick.step is None:
        return ()
    steps = sorted(verdict.step for verdict in pick.verdicts if verdict.step > 0)
    place = steps.index(pick.step)
    wanted = {pick.step, pick.best_step, pick.runner_up, *steps[max(0, place - 1) : place + 2]}
    return tuple(sorted(step for step in wanted if step is not None))


def confirm(pick: Pick, fresh: Sequence[Scores], rule: Rule) -> Pick:
    """The pick with its score on fresh seeds, or a step back to the best where these reverse it.

    The score of a checkpoint that was chosen for its score is a lucky one; only this one may be reported or optimised.
    Returned unchanged where nothing was picked or its fresh score is missing.
    """
    again = {part.step: part for part in fresh if part.fresh}
    if pick.step is None or pick.step not in again:
        return pick
    chosen, best = again[pick.step], again.get(pick.best_step or 0)
    step = pick.step
    if best is not None and best.step != step and _reversed(chosen, best, rule.delta):
        step = best.step
    final = again[step]
    if final.score < rule.floor or np.isnan(final.score):
        text = f"On fresh seeds checkpoint {step} scores {final.score:.2f}, below the floor of {rule.floor:.2f}."
        return replace(
            pick, step=None, runner_up=None, score=final.score, run_verdict="no usable checkpoint", reason=text
        )
    if step == pick.step:
        return replace(pick, score=final.score, reason=f"{pick.reason} On fresh seeds it scores {final.score:.2f}.")
    scores = f"{chosen.score:.2f} against {final.score:.2f}"
    text = f"On fresh seeds {pick.step} fell behind {step} ({scores}), so {step} it is."
    return replace(pick, step=step, runner_up=pick.step, score=final.score, reason=text)


def steady_score(pick: Pick, fresh: Sequence[Scores]) -> float:
    """The pick's fresh score averaged with its neighbours', as the shares were that it was chosen by.

    Runs are compared by it: of many that are equally good the one whose single checkpoint is luckiest on few pictures
    would seem the best, and luck is not shared by checkpoints that learned nearly the same.

    Args:
        pick: after ``confirm``.
        fresh: scores on fresh seeds at the run's own strength; neighbours that are not among them take no part.

    Returns:
        0 to 1, high = good; NaN where nothing was picked or drawn again.
    """
    steps = sorted(verdict.step for verdict in pick.verdicts if verdict.step > 0)
    if pick.step not in steps:
        return math.nan
    scores = {part.step: part.score for part in fresh if part.fresh}
    return float(smooth(np.array([scores.get(step, math.nan) for step in steps]))[steps.index(pick.step)])


def smooth(shares: Floats) -> Floats:
    """[E, ...] each checkpoint averaged with its neighbours by KERNEL; what was not judged takes no part.

    Where a checkpoint itself was not judged it stays so.
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


def _check(judged: Sequence[Scores]) -> None:
    if not judged:
        raise ValueError("no checkpoint was scored; there is nothing to choose from")
    if len({part.trial for part in judged}) > 1:
        raise ValueError(f"scores of several trials were given: {', '.join(sorted({part.trial for part in judged}))}")
    if len({part.by_prompt.shape for part in judged}) > 1 or len({part.step for part in judged}) < len(judged):
        raise ValueError("checkpoints were scored on different sheets, or one of them twice; score the run again")


def _decide(means: Floats, spread: Floats, allowed: Bools, rule: Rule) -> _Row:
    best = int(_best(means[None], allowed)[0])
    fall = spread - spread[:, [best]]
    shown = (np.quantile(fall, 1 - rule.confidence, axis=0) > -rule.delta) & allowed
    first, last = _unbroken(shown[None], np.array([best]))
    places = np.arange(len(means))
    chosen = {"latest": last[0], "best": best, "earliest": first[0]}[rule.prefer]
    return _Row(best, (places >= first) & (places <= last), int(chosen))


def _best(means: Floats, allowed: Bools) -> NDArray[np.intp]:
    """[B] the place of the highest score in each row; a vetoed one only where all are."""
    candidates = np.where(allowed | ~allowed.any(), means, -1.0)
    return np.argmax(np.where(np.isnan(candidates), -1.0, candidates), axis=1)


def _unbroken(shown: Bools, best: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """[B] first and last place that is joined to the best one by places that are all ``shown`` [B, E]."""
    count = shown.shape[1]
    places: NDArray[np.intp] = np.arange(count, dtype=np.intp)[None]
    before = np.where(~shown & (places < best[:, None]), places, -1).max(axis=1)
    after = np.where(~shown & (places > best[:, None]), places, count).min(axis=1)
    return before + 1, after - 1


def _confidence(table: Table, row: _Row, rule: Rule, allowed: Bools) -> float:
    """Share of replicates that pick within one checkpoint. The margin that the confidence asks for is carried over."""
    fall = table.spread - table.spread[:, [row.best]]
    margin = fall.mean(axis=0) - np.quantile(fall, 1 - rule.confidence, axis=0)
    best = _best(table.spread, allowed)
    behind = table.spread - np.take_along_axis(table.spread, best[:, None], axis=1)
    first, last = _unbroken((behind > margin - rule.delta) & allowed, best)
    chosen = {"latest": last, "best": best, "earliest": first}[rule.prefer]
    return float(np.mean(np.abs(chosen - row.chosen) <= 1))


def _to_pick(table: Table, row: _Row, rule: Rule, allowed: Bools) -> Pick:
    run_verdict = judge_run(table, rule.floor, bool(allowed.any()))
    usable = run_verdict not in ("not measurable", "no usable checkpoint", WITHHELD)
    steps = [part.step for part in table.judged]
    chosen = steps[row.chosen] if usable else None
    return Pick(
        trial=table.judged[0].trial,
        step=chosen,
        best_step=steps[row.best],
        runner_up=_runner_up(table, row, allowed) if usable else None,
        eligible=tuple(step for step, good in zip(steps, row.eligible, strict=True) if good) if usable else (),
        score=float("nan"),
        confidence=_confidence(table, row, rule, allowed) if usable else 0.0,
        verdicts=judge_checkpoints(table),
        run_verdict=run_verdict,
        reason=reason(table, row.chosen, run_verdict, rule),
    )


def _runner_up(table: Table, row: _Row, allowed: Bools) -> int | None:
    """The best one where it was not picked, else the next best that may be."""
    if row.best != row.chosen:
        return table.judged[row.best].step
    others = np.where(allowed & (np.arange(len(allowed)) != row.chosen), table.means, -1.0)
    place = int(np.argmax(others))
    return table.judged[place].step if others[place] >= 0 else None


def _reversed(chosen: Scores, best: Scores, delta: float) -> bool:
    return bool(chosen.vetoes and not best.vetoes) or chosen.score < best.score - delta
