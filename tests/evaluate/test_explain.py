from dataclasses import replace

import numpy as np
import pytest
from contracts import subject
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasweep.errors import UserError
from lorasweep.evaluate.bootstrap import combine, component_means, exponents
from lorasweep.evaluate.explain import explain
from lorasweep.evaluate.explain_text import own_words
from lorasweep.evaluate.score import score
from lorasweep.outcomes import NoteKind, VetoKind
from lorasweep.records import COMPONENTS, Note, Prompt, Scores, Veto

SEEDS = (0, 1)
WEIGHTS = {"identity": 0.4, "prompt": 0.2, "artifact": 0.15, "geometry": 0.1, "novelty": 0.15}


def prompt(key: str, text: str, **options) -> Prompt:
    return Prompt(key=key, text=text, negative="", score_text=text, face=True, **{"photo": True, **options})


PROMPTS = (
    prompt("p1_plain", "a photo of a person, smiling, blue background", subject=True),
    prompt("p2_red", "a photo of a person, surprised, red background", subject=True),
    prompt("p3_class", "a photo of a person, sitting", subject=False),
)


def scored(step: int, changes=(), *, notes=(), weights=WEIGHTS, vetoes=(), fresh=False) -> Scores:
    """All shares 0.9 but the ``changes``: (component, prompt, seed, share)."""
    shares = np.full((3, 2, 5), 0.9)
    for component, p, s, share in changes:
        shares[p, s, COMPONENTS.index(component)] = share
    means = component_means(shares)
    exact = exponents(COMPONENTS, weights)
    return Scores(
        trial="t", step=step, components=dict(zip(COMPONENTS, means.tolist(), strict=True)),
        score=float(combine(means, exact)), low=0, high=1, by_prompt=shares,
        weights=dict(zip(COMPONENTS, exact.tolist(), strict=True)), notes=notes, vetoes=vetoes, fresh=fresh,
    )  # fmt: skip


def why(asked: Scores, against: Scores):
    return explain(asked, against, PROMPTS, SEEDS, subject="ohwx")


def part(found, component: str):
    return found.contributions[COMPONENTS.index(component)]


shares = st.floats(-0.5, 1.25) | st.just(float("nan"))
sheets = st.lists(shares, min_size=30, max_size=30)


@settings(max_examples=60, deadline=None)
@given(here=sheets, there=sheets)
def test_the_parts_add_up_to_the_difference_of_log_scores(here, there):
    both = []
    for step, values in ((20, here), (10, there)):
        table = np.array(values).reshape(3, 2, 5)
        means = component_means(table)
        total = float(combine(means, exponents(COMPONENTS, WEIGHTS)))
        components = dict(zip(COMPONENTS, means.tolist(), strict=True))
        both.append(replace(scored(step), by_prompt=table, components=components, score=total))
    found = why(*both)
    assert sum(each.change for each in found.contributions) == pytest.approx(found.change, abs=1e-12)
    if np.isfinite([found.score, found.before]).all():
        assert found.change == pytest.approx(np.log(found.score / found.before), abs=1e-9)


def test_a_part_is_its_weight_times_the_ratio_of_the_components():
    found = why(scored(20, [("prompt", 1, 0, 0.3)]), scored(10))
    assert part(found, "prompt").change == pytest.approx(0.2 * np.log(0.8 / 0.9))
    assert [each.change for each in found.contributions if each.component != "prompt"] == [0, 0, 0, 0]


def test_faces_that_deform_and_faces_that_are_gone_are_counted_apart():
    faults = [("geometry", 0, 0, 0.2), ("geometry", 1, 1, 0.4), ("geometry", 2, 0, np.nan), ("geometry", 2, 1, 0.0)]
    found = why(scored(900, faults), scored(600, [("geometry", 0, 0, 0.1)]))
    assert part(found, "geometry").text == (
        "faces deform in 2 of 5 pictures (1 at step 600) and no face is found in 1 of 5 pictures (none at step 600)"
    )


def test_a_prompt_that_is_ignored_is_named_by_what_only_it_asks_for():
    found = why(scored(900, [("prompt", 1, 0, 0.1), ("prompt", 1, 1, -0.2)]), scored(600))
    words = "prompt p2_red ('surprised, red background') is ignored in 2 of 2 pictures (none at step 600)"
    assert part(found, "prompt").text == words
    assert found.text == f"Step 900 scores 0.83, step 600 0.90: {words}."
    assert [(p.prompt, p.seed, p.share, p.before) for p in part(found, "prompt").pictures] == [
        ("p2_red", 1, -0.2, 0.9),
        ("p2_red", 0, 0.1, 0.9),
    ]


def test_a_prompt_without_the_subject_may_have_drawn_it_all_the_same():
    found = why(scored(900, [("prompt", 2, 0, 0.1)]), scored(600))
    assert "p3_class ('sitting') draws ohwx, whom it does not name, or is ignored in 1 of 2" in found.text


def test_strangers_are_not_yet_the_subject_before_and_no_longer_after():
    odd = [("identity", 0, 0, 0.2), ("identity", 0, 1, 0.1)]
    late, early = why(scored(900, odd), scored(600)), why(scored(300, odd), scored(600))
    assert part(late, "identity").text == "2 of 6 pictures are no longer recognised as ohwx"
    assert part(early, "identity").text == "2 of 6 pictures are not yet recognised as ohwx"
    back = why(scored(600), scored(300, odd))
    assert part(back, "identity").text == "every picture is recognised as ohwx (2 were not at step 300)"
    both = why(scored(900, odd), scored(600, odd[:1]))
    assert part(both, "identity").text == "2 of 6 pictures are not recognised as ohwx (1 at step 600)"


def test_copies_are_counted_and_pictures_that_are_all_alike_are_none():
    same = [("novelty", 0, 0, 0.1)]
    assert part(why(scored(9, same), scored(6)), "novelty").text == (
        "1 of 6 pictures repeats a training photo (none at step 6)"
    )
    alike = why(scored(9, same, notes=(Note(NoteKind.SEEDS_ALIKE), Note(NoteKind.NO_HELD_OUT))), scored(6))
    assert part(alike, "novelty").text == "pictures of one prompt hardly differ from each other"


def test_a_sheet_says_what_it_looks_like_and_whether_that_is_new():
    worn = [("artifact", p, s, 0.4) for p in range(3) for s in SEEDS]
    looks = (Note(NoteKind.DAMAGED, {"fault": "posterised"}),)
    new = why(scored(9, worn, notes=looks), scored(6))
    assert part(new, "artifact").text == "the sheet looks posterised"
    old = why(scored(9, worn, notes=looks), scored(6, worn[1:], notes=looks))
    assert part(old, "artifact").text == "the sheet looks posterised, more than at step 6"


def test_where_nothing_moved_it_says_so():
    found = why(scored(20), scored(10))
    assert found.change == 0
    assert found.text == "Step 20 scores 0.90, step 10 0.90: no component moves the score by 2% or more."
    assert part(found, "identity").text == "identity hardly moves (0.90, 0.90 at step 10)"
    assert all(each.pictures == () for each in found.contributions)


def test_a_fall_without_a_failed_picture_is_told_as_numbers():
    lower = [("identity", p, s, 0.7) for p in range(3) for s in SEEDS]
    found = why(scored(20, lower), scored(10))
    assert part(found, "identity").text == "identity falls from 0.90 to 0.70, though no picture fails outright"


def test_a_component_that_only_one_was_judged_on_counts_and_says_so():
    unjudged = [("geometry", p, s, np.nan) for p in range(3) for s in SEEDS]
    found = why(scored(20, unjudged), scored(10))
    assert part(found, "geometry").text == "geometry could not be judged here, but was at step 10"
    assert part(found, "geometry").change == pytest.approx(-0.1 * np.log(0.9))
    neither = part(why(scored(20, unjudged), scored(10, unjudged)), "geometry")
    assert (neither.weight, neither.change, neither.text) == (0.0, 0.0, "")


def test_the_worst_pictures_come_first_and_their_effects_make_up_the_change():
    worse = [("identity", 0, 0, 0.6), ("identity", 1, 1, 0.1), ("identity", 2, 0, 1.1)]
    found = part(why(scored(20, worse), scored(10)), "identity")
    assert [(p.prompt, p.seed) for p in found.pictures] == [("p2_red", 1), ("p1_plain", 0)]
    effects = [p.effect for p in found.pictures]
    assert effects[0] == pytest.approx(found.change * -0.8 / -0.9)
    assert sum(effects) + found.change * 0.2 / -0.9 == pytest.approx(found.change)


def test_the_base_model_is_called_by_its_name():
    found = why(scored(20), scored(0, [("identity", p, s, 0.0) for p in range(3) for s in SEEDS]))
    assert found.text.startswith("Step 20 scores 0.90, the base model 0.")
    assert "every picture is recognised as ohwx (6 were not before training)" in found.text


def test_a_veto_is_told_too():
    assert why(scored(20, vetoes=(Veto(VetoKind.NO_FACE, 0.4),)), scored(10)).text.endswith(
        "; ruled out: 40% of its pictures show no face."
    )


def test_scores_that_cannot_be_compared_are_refused():
    with pytest.raises(UserError, match="steps 20 and 10 were judged on different sheets"):
        why(scored(20, fresh=True), scored(10))
    with pytest.raises(UserError, match="with different weights"):
        why(scored(20, weights={**WEIGHTS, "identity": 1.0}), scored(10))
    with pytest.raises(ValueError, match="2 prompts and 2 seeds were given"):
        explain(scored(20), scored(10), PROMPTS[:2], SEEDS)


def test_a_long_prompt_is_cut_between_words():
    long = prompt("p", "walking through " + "tall grass " * 12, subject=True)
    assert len(own_words(long, PROMPTS)) < 75
    assert own_words(long, PROMPTS).endswith("grass tall …")


@pytest.mark.parametrize(
    ("dose", "component", "words"),
    [
        ({"likeness": 0.2}, "identity", "are no longer recognised as ohwx"),
        ({"follow": 0.0}, "prompt", "is ignored in 2 of 2 pictures (none at step 10)"),
        ({"deformed": 0.1}, "geometry", "faces deform in"),
        ({"copied": 1.0}, "novelty", "repeat a training photo (none at step 10)"),
    ],
)
def test_a_planted_fault_is_blamed_on_its_component_in_its_words(dose, component, words):
    known = subject.evidence(0)
    sheets = {10: subject.sheet(known), 20: subject.sheet(known, **dose)}
    good, bad = (
        score(sheet, known, WEIGHTS, trial="t", step=step, rng=np.random.default_rng(0))
        for step, sheet in sheets.items()
    )
    found = explain(bad, good, known.prompts, known.seeds, subject="ohwx")
    worst = min(found.contributions, key=lambda each: each.change)
    assert worst.component == component
    assert words in worst.text
    assert worst.pictures
