from dataclasses import replace

import numpy as np
from contracts import subject

from lorasweep.evaluate.companion import subject_first
from lorasweep.evaluate.identity import identity, likeness
from lorasweep.evaluate.prompt import prompt
from lorasweep.records import Evidence, Features

PLACE = subject.KINDS.index("scene")
ROWS = [PLACE * 2, PLACE * 2 + 1]
"""The pictures of the prompt that asks for two people."""


def strangers(seed: int) -> np.ndarray:
    return subject.unit(np.random.default_rng([seed, 7]).normal(size=(len(subject.KEYS), subject.FACE)))


def together(seed: int = 0) -> Evidence:
    """The made-up subject's sheet with two people in one prompt; the base model draws two strangers there."""
    known = subject.evidence(seed)
    prompts = tuple(replace(p, people=2 if p.key == "scene" else 1) for p in known.prompts)
    return replace(known, prompts=prompts, base=replace(known.base, other_face=strangers(seed)))


def drawn(known: Evidence, seed: int = 0, *, other: np.ndarray | None = None, larger: bool = True) -> Features:
    """A good sheet with ``other`` beside everybody, strangers by default; ``larger``: the subject is the larger one."""
    sheet = subject.sheet(known, seed)
    beside = strangers(seed + 50) if other is None else other
    one, two = (sheet.face, beside) if larger else (beside, sheet.face)
    return replace(sheet, face=np.where(is_together(), one, sheet.face), other_face=two)


def is_together() -> np.ndarray:
    return np.isin(np.arange(len(subject.KEYS)), ROWS)[:, None]


def test_the_subject_is_the_face_nearer_to_it_whichever_is_larger() -> None:
    known = together()
    first, second = drawn(known), drawn(known, larger=False)
    np.testing.assert_array_equal(identity(first, known).shares, identity(second, known).shares)
    np.testing.assert_array_equal(prompt(first, known).shares, prompt(second, known).shares)
    assert identity(second, known).shares[ROWS].min() > 0.7


def test_a_companion_who_stays_a_stranger_costs_next_to_nothing() -> None:
    for seed in range(5):
        known = together(seed)
        alone = prompt(subject.sheet(known, seed), known).shares
        assert (alone - prompt(drawn(known, seed), known).shares)[ROWS].max() < 0.3


def test_a_companion_who_turns_into_the_subject_costs_that_prompt_and_no_other() -> None:
    known = together()
    twin = subject.near(subject.direction(1, subject.FACE), 0.78, np.random.default_rng(3), len(subject.KEYS))
    before, after = prompt(drawn(known), known).shares, prompt(drawn(known, other=twin), known).shares
    assert (before - after)[ROWS].min() > 0.6
    others = np.delete(np.arange(len(before)), ROWS)
    np.testing.assert_array_equal(before[others], after[others])


def test_a_base_model_that_draws_two_of_that_kind_excuses_it() -> None:
    known = together()
    twin = subject.near(subject.direction(1, subject.FACE), 0.78, np.random.default_rng(3), len(subject.KEYS))
    excused = replace(known, base=replace(known.base, other_face=twin))
    cost = [(prompt(drawn(k), k).shares - prompt(drawn(k, other=twin), k).shares)[ROWS].max() for k in (known, excused)]
    assert cost[0] > 0.6
    assert cost[1] < 0.4


def test_where_only_one_of_the_two_is_drawn_nothing_leaks() -> None:
    known = together()
    missing = np.zeros((len(subject.KEYS), subject.FACE))
    np.testing.assert_array_equal(
        prompt(drawn(known, other=missing), known).shares, prompt(subject.sheet(known), known).shares
    )


def test_a_second_face_where_one_person_is_asked_for_changes_no_number() -> None:
    known = subject.evidence(0)
    sheet = subject.sheet(known)
    crowd = replace(sheet, other_face=known.train.face[np.arange(len(sheet.keys)) % len(known.train.keys)])
    for judge in (identity, prompt):
        np.testing.assert_array_equal(judge(sheet, known).shares, judge(crowd, known).shares)
    scale = likeness(known)
    assert not isinstance(scale, str)
    assert subject_first(crowd, known, scale.center) is crowd


def test_the_leak_grows_with_the_likeness_of_the_companion() -> None:
    known = together()
    person = subject.near(subject.direction(1, subject.FACE), 0.78, np.random.default_rng(3), len(subject.KEYS))
    alone = prompt(subject.sheet(known), known).shares
    cost = []
    for share in (0.0, 0.3, 0.45, 1.0):
        mixed = subject.unit(share * person + (1 - share) * strangers(50))
        cost.append(float((alone - prompt(drawn(known, other=mixed), known).shares)[ROWS].mean()))
    assert cost == sorted(cost)
    assert cost[0] < 0.1
    assert 0.1 < cost[1] < cost[3] - 0.2
