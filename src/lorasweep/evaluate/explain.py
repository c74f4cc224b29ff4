"""Why one checkpoint scores more or less than another: which component, by how much, and on which images.

The score is a geometric mean, so its logarithm is a sum and every component has an exact part in a difference. Shares
count as they were judged, without the smoothing over neighbours that the pick uses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lorasweep.errors import UserError
from lorasweep.evaluate.bootstrap import FLOOR, exponents
from lorasweep.evaluate.explain_text import Change, sentence, summary
from lorasweep.evaluate.verdict import LEAST_EFFECT
from lorasweep.records import Floats, Prompt, Scores

MOST_PICTURES = 4
"""Images named for one component, as many as fit beside a sentence."""
VISIBLE = 0.1
"""Share of the way from bad to good that an image must move to be shown; two seeds of one prompt differ by as much."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The image of one prompt and seed at both checkpoints, in one component."""

    prompt: str
    """Key of its Prompt."""
    seed: int
    share: float
    """At the checkpoint asked about, about 0 (bad) to 1 (good)."""
    before: float
    """At the checkpoint that it is compared with."""
    effect: float
    """Its part of the component's change of log(score)."""


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one component did to the difference between two scores."""

    component: str
    weight: float
    """Exponent in the geometric mean; 0 if neither checkpoint was judged on it."""
    value: float
    """At the checkpoint asked about, 0 to 1; NaN if not judged."""
    before: float
    """At the checkpoint that it is compared with."""
    change: float
    """Part of log(score / score before); the parts of all components add up to it exactly."""
    text: str
    """In plain words, without a full stop; '' if it was judged at neither."""
    pictures: tuple[Moved, ...] = ()
    """Those that moved it most, the largest effect first."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why one checkpoint scores what it does, compared with another on the same prompts and seeds."""

    step: int
    against: int
    score: float
    before: float
    """Score of ``against``."""
    change: float
    """log(score / before)."""
    contributions: tuple[Contribution, ...]
    """In the order of COMPONENTS."""
    text: str
    """A sentence, what mattered most first."""


def step_name(step: int) -> str:
    """Return what to call a step of the user's own run."""
    return "the base model" if step == 0 else f"step {step}"


def explain(
    asked: Scores,
    against: Scores,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    *,
    subject: str = "the subject",
    name: Callable[[int], str] = step_name,
) -> Explanation:
    """Return what separates the scores of ``asked`` from those of ``against``; step 0 of either is the base model.

    Args:
        prompts: of the sheet, in its order.
        seeds: of the sheet, in its order.
        subject: what to call who was trained, such as the trigger word.
        name: what to call a step.

    Raises:
        UserError: if the two were not judged on the same sheet with the same weights.
    """
    _check(asked, against, len(prompts), len(seeds))
    weights = exponents(tuple(asked.components), asked.weights)
    parts = _terms(asked, weights), _terms(against, weights)
    changes = [
        Change(
            component=component,
            value=asked.components[component],
            before=against.components[component],
            change=float(here - before),
            shares=asked.by_prompt[..., place],
            shares_before=against.by_prompt[..., place],
            notes=asked.notes,
            notes_before=against.notes,
            prompts=tuple(prompts),
            subject=subject,
            against=f"at {name(against.step)}" if against.step else "before training",
            later=asked.step > against.step,
        )
        for place, (component, here, before) in enumerate(zip(asked.components, *parts, strict=True))
    ]
    contributions = tuple(_contribution(told, float(w), seeds) for told, w in zip(changes, weights, strict=True))
    return Explanation(
        step=asked.step,
        against=against.step,
        score=asked.score,
        before=against.score,
        change=float(parts[0].sum() - parts[1].sum()),
        contributions=contributions,
        text=summary([(part.change, part.text) for part in contributions], asked, against, name),
    )


def _check(asked: Scores, against: Scores, prompts: int, seeds: int) -> None:
    if asked.by_prompt.shape != against.by_prompt.shape or asked.fresh != against.fresh:
        raise UserError(f"steps {asked.step} and {against.step} were judged on different sheets; score the run again")
    if asked.by_prompt.shape[:2] != (prompts, seeds):
        raise ValueError(f"{prompts} prompts and {seeds} seeds were given for a sheet of {asked.by_prompt.shape[:2]}")
    if dict(asked.weights) != dict(against.weights) or tuple(asked.components) != tuple(against.components):
        raise UserError(f"steps {asked.step} and {against.step} were scored with different weights; score them again")


def _terms(scores: Scores, weights: Floats) -> Floats:
    """Return [C] terms of log(score): each component's weight, among those that were judged, times its logarithm."""
    values = np.array(list(scores.components.values()))
    used = np.where(np.isnan(values), 0.0, weights)
    logs = np.log(np.maximum(np.nan_to_num(values, nan=1.0), FLOOR))
    # Divided by the judged weight, as in the score, so that the terms add up to its logarithm.
    return used / used.sum() * logs if used.sum() > 0 else np.zeros(len(weights))


def _contribution(told: Change, weight: float, seeds: Sequence[int]) -> Contribution:
    known = not (np.isnan(told.value) and np.isnan(told.before))
    return Contribution(
        component=told.component,
        weight=weight if known else 0.0,
        value=told.value,
        before=told.before,
        change=told.change,
        text=sentence(told) if known else "",
        pictures=_moved(told, seeds),
    )


def _moved(told: Change, seeds: Sequence[int]) -> tuple[Moved, ...]:
    """Return the images that moved the component, the largest effect first; none if it hardly moved."""
    moves = np.nan_to_num(told.shares - told.shares_before)
    total = float(moves.sum())
    # Cutting to [0, 1] may give the component another sign than the sum of moves; then no image explains it.
    if total * told.change <= 0 or abs(told.change) < LEAST_EFFECT:
        return ()
    order: list[int] = np.argsort(-moves.ravel() * np.sign(told.change), kind="stable")[:MOST_PICTURES].tolist()
    found: list[Moved] = []
    for place in order:
        p, s = divmod(place, len(seeds))
        move = float(moves[p, s])
        if move * told.change > 0 and abs(move) >= VISIBLE:
            share, before = float(told.shares[p, s]), float(told.shares_before[p, s])
            # If every image was judged in both sheets, the effects of all of them add up to the component's change.
            effect = told.change * move / total
            found.append(Moved(prompt=told.prompts[p].key, seed=seeds[s], share=share, before=before, effect=effect))
    return tuple(found)
