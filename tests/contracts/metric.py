"""What every component of a score must hold to; a component's own tests inherit nothing, they call these."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
from contracts import subject

from lorasweep.evaluate.shares import Judged
from lorasweep.records import Evidence, Features

Judge = Callable[[Features, Evidence], Judged]


def value(judge: Judge, drawn: Features, known: Evidence) -> float:
    """The component: the mean of the shares, cut to [0, 1]."""
    return float(np.clip(np.nanmean(judge(drawn, known).shares), 0, 1))


def keeps_its_range(judge: Judge) -> None:
    """One share a picture, never infinite, near enough to [0, 1] that one picture cannot outweigh two."""
    for seed in range(5):
        known = subject.evidence(seed)
        for drawn in (
            subject.sheet(known, seed),
            subject.sheet(known, seed, likeness=0, follow=0, copied=1, deformed=0.3),
        ):
            shares = judge(drawn, known).shares
            assert shares.shape == (len(subject.KEYS),)
            judged = shares[~np.isnan(shares)]
            assert len(judged) >= 12
            assert np.isfinite(judged).all()
            assert judged.min() >= -2
            assert judged.max() <= 2


def prefers(judge: Judge, better: Callable[[Evidence], Features], worse: Callable[[Evidence], Features]) -> None:
    """In the right direction on a pair that was made for it, for five subjects, by a margin that anyone would see."""
    for seed in range(5):
        known = subject.evidence(seed)
        good, bad = value(judge, better(known), known), value(judge, worse(known), known)
        assert good >= 0.85, (seed, good)
        assert bad <= good - 0.25, (seed, good, bad)


def does_not_depend_on_order(judge: Judge) -> None:
    """Prompts in another order, photos in another order: the same value, and the same share for each picture."""
    known = subject.evidence(3)
    drawn = subject.sheet(known, 3, likeness=0.6, follow=0.7)
    order = np.random.default_rng(0).permutation(len(subject.PROMPTS))
    rows = (order[:, None] * len(subject.SEEDS) + np.arange(len(subject.SEEDS))).ravel()
    moved = replace(
        known,
        prompts=tuple(known.prompts[place] for place in order),
        texts=known.texts[order],
        base=take(known.base, rows),
        train=take(known.train, np.random.default_rng(1).permutation(len(known.train.keys))),
        held_out=take(known.held_out, np.arange(len(known.held_out.keys))[::-1]),
    )
    np.testing.assert_allclose(judge(take(drawn, rows), moved).shares, judge(drawn, known).shares[rows], atol=1e-9)


def is_a_pure_function(judge: Judge) -> None:
    """Called twice it says the same, and leaves what it was given as it was."""
    known = subject.evidence(4)
    drawn = subject.sheet(known, 4, likeness=0.5)
    seen = {column.name: getattr(drawn, column.name) for column in fields(drawn) if column.name != "keys"}
    before = {name: np.copy(values) for name, values in seen.items() if values is not None}
    first = judge(drawn, known)
    np.testing.assert_array_equal(first.shares, judge(drawn, known).shares)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(drawn, name), values)


def take(part: Features, rows: np.ndarray) -> Features:
    """Some rows of features, in that order."""
    seen = {column.name: getattr(part, column.name) for column in fields(part) if column.name != "keys"}
    columns = {name: values[rows] for name, values in seen.items() if values is not None}
    return Features(keys=tuple(part.keys[row] for row in rows), **columns)
