"""Which checkpoint: the latest one that is shown to be within ``delta`` of the best, in an unbroken row from it.

"Not shown to differ from the best" would be the wrong test: with few images nothing is ever shown, so it picks broken
checkpoints.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lorasweep.errors import UserError
from lorasweep.evaluate import text
from lorasweep.evaluate.bootstrap import combine, comparable, component_means, exponents, prompt_draws, replicate_scores
from lorasweep.evaluate.table import Rule, Table, smooth, usable, with_diverged
from lorasweep.evaluate.verdict import LEAST_EFFECT, judge_checkpoints, judge_run
from lorasweep.outcomes import RunVerdict
from lorasweep.records import Bools, Floats, Pick, Scores

MOST_PICTURES = 64
"""A checkpoint; if more would be needed to settle a question, nobody will draw them."""


@dataclass(frozen=True)
class _Row:
    """The outcome on one set of scores, as places in it."""

    best: int
    eligible: Bools
    chosen: int


def choose(scores: Sequence[Scores], rule: Rule, rng: np.random.Generator) -> Pick:
    """Return the checkpoint to use, before the finalists are drawn again (``Pick.score`` is NaN until ``confirm``).

    Args:
        scores: one trial's, all under one evaluation signature, in any order. The base model's (step 0) and those on
            fresh seeds are passed over.
        rng: of the bootstrap over prompts.

    Raises:
        UserError: if they were scored on different sheets.
        ValueError: if no checkpoint is given, or they are of different trials.
    """
    judged = sorted((part for part in scores if part.step > 0 and not part.fresh), key=lambda part: part.step)
    _check(judged)
    judged = with_diverged(judged)
    shares, weights = _smoothed(judged)
    draws = prompt_draws(shares.shape[1], shares.shape[2], rule.replicates, rng)
    spread = replicate_scores(shares, weights, draws)
    fit = comparable(judged)
    components = component_means(shares)
    # Not smoothed: a good checkpoint between broken ones is no stranger, and no stranger is a friend's neighbour.
    allowed = usable(judged, rule)
    means = combine(components, weights)
    row = _decide(means, spread, fit, allowed, rule)
    table = Table(
        judged=judged,
        components=components,
        weights=weights,
        means=means,
        spread=spread,
        comparable=fit,
        best=row.best,
        eligible=row.eligible,
        rule=rule,
    )
    return _to_pick(table, row, allowed)


def _smoothed(judged: Sequence[Scores]) -> tuple[Floats, Floats]:
    """Return [E, P, S, C] shares averaged with their neighbours', and [C] weights; ``judged`` are in order of steps."""
    shares = smooth(np.stack([part.by_prompt for part in judged]), [part.step for part in judged])
    return shares, exponents(tuple(judged[0].components), judged[0].weights)


def finalists(pick: Pick) -> tuple[int, ...]:
    """Return the steps to draw from fresh seeds, ascending: the pick, its neighbours, the best and the runner-up."""
    if pick.step is None:
        return ()
    steps = sorted(verdict.step for verdict in pick.verdicts if verdict.step > 0)
    place = steps.index(pick.step)
    wanted = {pick.step, pick.best_step, pick.runner_up, *steps[max(0, place - 1) : place + 2]}
    return tuple(sorted(step for step in wanted if step is not None))


def confirm(pick: Pick, scores: Sequence[Scores], rule: Rule) -> Pick:
    """Return the pick with its score on fresh seeds, or another finalist if both sets of seeds together prefer it.

    Of the finalists that fresh seeds do not rule out, ``latest`` takes the latest that lacks less than
    ``LEAST_EFFECT`` of the best; if they rule out all, no checkpoint is usable. Return the pick unchanged if nothing
    was picked or its fresh score is missing.

    Args:
        scores: the finalists' on fresh seeds, and all checkpoints' on standing ones.
    """
    # Of few images chance moves a score by more than what is asked about: twice as many halve its variance. Seeds that
    # chose nothing before give the reported score. What it owes to this choice is 0.0004 ± 0.001 on the drawn people,
    # so no third set of seeds is drawn for it.
    again = {part.step: part for part in scores if part.fresh}
    if pick.step is None or pick.step not in again:
        return pick
    chosen = again[pick.step]
    sound = {step: again[step] for step, good in zip(again, usable(list(again.values()), rule), strict=True) if good}
    if not sound:
        return _unusable(pick, chosen, text.none_confirmed(chosen, rule))
    standing = sorted((part for part in scores if part.step > 0 and not part.fresh), key=lambda part: part.step)
    final = sound[_of_both(sound, standing, rule)]
    if final.score < rule.floor:
        return _unusable(pick, final, text.below_floor(final, rule))
    if final is chosen:
        return replace(pick, score=final.score, reason=f"{pick.reason} On fresh seeds it scores {final.score:.2f}.")
    others = sorted((part for part in sound.values() if part is not final), key=lambda part: -part.score)
    runner_up = pick.step if pick.step in sound else others[0].step if others else None
    why = text.gave_way(chosen, final, rule, sound=pick.step in sound)
    settled = {"open_steps": (), "settled_by": 0}  # twice the pictures have answered it
    return replace(pick, step=final.step, runner_up=runner_up, score=final.score, reason=why, **settled)


def _of_both(sound: Mapping[int, Scores], standing: Sequence[Scores], rule: Rule) -> int:
    """Return the step of the finalist, ``sound`` on fresh seeds, that both sets of seeds together prefer."""
    shares, weights = _smoothed(standing)
    means = combine(component_means(shares), weights)
    known = {part.step: mean for part, mean, good in zip(standing, means, usable(standing, rule), strict=True) if good}
    # A neighbour may be ruled out on standing seeds; of finalists that all are, fresh seeds alone decide.
    worth = {step: (known[step] + part.score) / 2 for step, part in sound.items() if step in known}
    worth = worth or {step: part.score for step, part in sound.items()}
    near = [step for step in worth if worth[step] > max(worth.values()) - LEAST_EFFECT]
    return {"latest": max(near), "best": max(worth, key=lambda step: worth[step]), "earliest": min(near)}[rule.prefer]


def _unusable(pick: Pick, judged: Scores, why: str) -> Pick:
    verdict = RunVerdict.NOTHING_USABLE
    return replace(pick, step=None, runner_up=None, score=judged.score, run_verdict=verdict, reason=why)


def steady_score(pick: Pick, fresh: Sequence[Scores]) -> float:
    """Return the pick's fresh score averaged with its neighbours', 0 to 1; NaN if nothing was picked or drawn again.

    Args:
        pick: after ``confirm``.
        fresh: scores on fresh seeds at the run's own strength; neighbours that are not among them, or are ruled out,
            take no part.
    """
    # Runs are compared by it: among equally good runs the luckiest single checkpoint would win, and neighbours, which
    # learned nearly the same, do not share its luck. On 12 drawn people the best of five runs by it lacks 0.010 of the
    # oracle's best pick, by the pick's own score 0.016.
    steps = sorted(verdict.step for verdict in pick.verdicts if verdict.step > 0)
    if pick.step not in steps or not any(part.fresh for part in fresh):
        return math.nan
    again = [part for part in fresh if part.fresh]
    compares = zip(again, comparable(again), strict=True)
    scores = {part.step: part.score for part, fit in compares if fit and (not part.vetoes or part.step == pick.step)}
    return float(smooth(np.array([scores.get(step, math.nan) for step in steps]), steps)[steps.index(pick.step)])


def _check(judged: Sequence[Scores]) -> None:
    if not judged:
        raise ValueError("no checkpoint was scored; there is nothing to choose from")
    if len({part.trial for part in judged}) > 1:
        raise ValueError(f"scores of several trials were given: {', '.join(sorted({part.trial for part in judged}))}")
    if len({part.by_prompt.shape for part in judged}) > 1 or len({part.step for part in judged}) < len(judged):
        raise UserError("checkpoints were scored on different sheets, or one of them twice; score the run again")


def _decide(means: Floats, spread: Floats, fit: Bools, allowed: Bools, rule: Rule) -> _Row:
    best = int(_best(means[None], allowed if allowed.any() else fit)[0])
    fall = spread - spread[:, [best]]
    shown = (np.quantile(fall, 1 - rule.confidence, axis=0) > -rule.delta) & allowed
    first, last = _unbroken(shown[None], np.array([best]))
    places = np.arange(len(means))
    chosen = {"latest": last[0], "best": best, "earliest": first[0]}[rule.prefer]
    return _Row(best, (places >= first) & (places <= last), int(chosen))


def _best(means: Floats, allowed: Bools) -> NDArray[np.intp]:
    """Return [B] places of the highest ``allowed`` [E] score in each row of ``means`` [B, E]."""
    candidates = np.where(allowed, means, -1.0)
    return np.argmax(np.where(np.isnan(candidates), -1.0, candidates), axis=1)


def _unbroken(shown: Bools, best: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return [B] first and last places that are joined to the best one by places that are all ``shown`` [B, E]."""
    count = shown.shape[1]
    places: NDArray[np.intp] = np.arange(count, dtype=np.intp)[None]
    before = np.where(~shown & (places < best[:, None]), places, -1).max(axis=1)
    after = np.where(~shown & (places > best[:, None]), places, count).min(axis=1)
    return before + 1, after - 1


def _confidence(table: Table, row: _Row, allowed: Bools) -> float:
    """Return the share of replicates that pick within one checkpoint of the pick."""
    rule = table.rule
    # A replicate has no replicates of its own: the margin that the rule's confidence asks for is carried over to it.
    fall = table.spread - table.spread[:, [row.best]]
    margin = fall.mean(axis=0) - np.quantile(fall, 1 - rule.confidence, axis=0)
    best = _best(table.spread, allowed)
    behind = table.spread - np.take_along_axis(table.spread, best[:, None], axis=1)
    first, last = _unbroken((behind > margin - rule.delta) & allowed, best)
    chosen = {"latest": last, "best": best, "earliest": first}[rule.prefer]
    return float(np.mean(np.abs(chosen - row.chosen) <= 1))


def _to_pick(table: Table, row: _Row, allowed: Bools) -> Pick:
    run_verdict = judge_run(table, bool(allowed.any()))
    picks = run_verdict not in (RunVerdict.NOT_MEASURABLE, RunVerdict.NOTHING_USABLE, RunVerdict.LOOK)
    steps = [part.step for part in table.judged]
    chosen = steps[row.chosen] if picks else None
    undecided, pictures = _unsettled(table, row, allowed) if picks else ([], 0)
    return Pick(
        trial=table.judged[0].trial,
        step=chosen,
        best_step=steps[row.best],
        runner_up=_runner_up(table, row, allowed) if picks else None,
        eligible=tuple(step for step, good in zip(steps, row.eligible, strict=True) if good) if picks else (),
        score=float("nan"),
        confidence=_confidence(table, row, allowed) if picks else 0.0,
        verdicts=judge_checkpoints(table),
        run_verdict=run_verdict,
        reason=text.reason(table, row.chosen, run_verdict)
        + text.unsettled([steps[place] for place in undecided], pictures),
        open_steps=tuple(steps[place] for place in undecided),
        settled_by=pictures,
    )


def _unsettled(table: Table, row: _Row, allowed: Bools) -> tuple[list[int], int]:
    """Return the places beyond the eligible row that lie within ``rule.delta`` of the best without being shown to, in
    order from it, and how many pictures a checkpoint would show it of all of them."""
    places = np.flatnonzero(row.eligible)
    beyond = {"latest": range(places[-1] + 1, len(table.means)), "earliest": range(places[0] - 1, -1, -1)}
    fall = table.spread[:, [row.best]] - table.spread
    # A margin shrinks with the root of the number of pictures, what is left to the bar does not.
    margin = np.quantile(fall, table.rule.confidence, axis=0) - fall.mean(axis=0)
    left = table.rule.delta - (table.means[row.best] - table.means)
    drawn = table.judged[0].by_prompt[..., 0].size
    found: list[int] = []
    needed = drawn + 1
    for place in beyond.get(table.rule.prefer, ()):
        if not allowed[place] or left[place] <= 0:
            break
        wanted = math.ceil(drawn * float(margin[place] / left[place]) ** 2)
        if wanted > MOST_PICTURES:
            break
        found.append(place)
        needed = max(needed, wanted)
    return found, needed if found else 0


def _runner_up(table: Table, row: _Row, allowed: Bools) -> int | None:
    """Return the best step if it was not picked, else the next best that may be."""
    if row.best != row.chosen:
        return table.judged[row.best].step
    others = np.where(allowed & (np.arange(len(allowed)) != row.chosen), table.means, -1.0)
    place = int(np.argmax(others))
    return table.judged[place].step if others[place] >= 0 else None
