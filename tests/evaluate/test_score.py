from dataclasses import replace

import numpy as np
import pytest
from contracts import metric, subject

from lorasweep.config.schema import WeightsConfig
from lorasweep.errors import UserError
from lorasweep.evaluate.score import score
from lorasweep.evaluate.text import note_text
from lorasweep.outcomes import NoteKind
from lorasweep.records import COMPONENTS

WEIGHTS = vars(WeightsConfig())


def judge(drawn, known, weights=WEIGHTS, seed=0, **more):
    return score(drawn, known, weights, trial="t", step=10, rng=np.random.default_rng(seed), **more)


def test_the_score_is_the_weighted_geometric_mean_of_the_components():
    known = subject.evidence(0)
    judged = judge(subject.sheet(known, likeness=0.5, follow=0.5), known)
    logs = [WEIGHTS[name] * np.log(max(value, 0.01)) for name, value in judged.components.items()]
    assert judged.score == pytest.approx(np.exp(sum(logs)))
    assert tuple(judged.components) == COMPONENTS
    assert judged.low <= judged.score <= judged.high


def test_components_are_the_means_of_the_shares_they_are_explained_by():
    known = subject.evidence(0)
    drawn = subject.damaged(subject.sheet(known, likeness=0.5, follow=0.5, copied=0.3), saturation=0.2)
    judged = judge(drawn, known)
    assert judged.by_prompt.shape == (8, 2, 5)
    means = np.clip(np.nanmean(judged.by_prompt, axis=(0, 1)), 0, 1)
    np.testing.assert_allclose(list(judged.components.values()), means)


def test_good_pictures_score_above_nine_tenths_and_strangers_below_the_floor_of_a_pick():
    for seed in range(5):
        known = subject.evidence(seed)
        assert judge(subject.sheet(known, seed), known).score > 0.9
        assert judge(known.base, known).score < 0.2


def test_a_likeness_cannot_buy_back_a_broken_rest():
    known = subject.evidence(0)
    honest = judge(subject.sheet(known, likeness=0.9), known).score
    for broken in (
        subject.sheet(known, copied=1.0),
        subject.sheet(known, follow=0.0),
        subject.sheet(known, deformed=0.2),
        subject.damaged(subject.sheet(known), histogram_entropy=-7.0),
    ):
        assert judge(broken, known).score < honest - 0.15


def test_the_gaming_set_never_beats_an_honest_checkpoint():
    known = subject.evidence(0)
    honest = judge(subject.sheet(known, likeness=0.8), known).score
    wrong = subject.sheet(known)
    wrong.face[:] = subject.direction(77, subject.FACE)
    blank = metric.take(subject.sheet(known), np.zeros(16, dtype=int))
    blank.face_count[:], blank.face[:], blank.landmarks[:] = 0, 0, np.nan
    training = metric.take(known.train, np.arange(16) % 12)
    for drawn in (wrong, replace(blank, keys=subject.KEYS), replace(training, keys=subject.KEYS)):
        assert judge(drawn, known).score < honest - 0.3


def test_a_component_that_cannot_be_judged_is_left_out_and_the_rest_weighs_more():
    known = subject.evidence(0, train=4, held_out=0)
    judged = judge(subject.sheet(known), known)
    assert np.isnan(judged.components["identity"])
    assert 0.9 < judged.score <= 1
    assert NoteKind.FEW_FACES in {note.kind for note in judged.notes}


def test_weights_decide_what_counts():
    known = subject.evidence(0)
    drawn = subject.sheet(known, likeness=0.3)
    only_prompt = judge(drawn, known, {"prompt": 2.0})
    assert only_prompt.score == pytest.approx(only_prompt.components["prompt"])
    assert only_prompt.weights["prompt"] == 1.0
    with pytest.raises(UserError, match=r"evaluate.weights are all zero"):
        judge(drawn, known, dict.fromkeys(COMPONENTS, 0.0))


def test_the_same_generator_gives_the_same_interval():
    known = subject.evidence(0)
    drawn = subject.sheet(known, likeness=0.6)
    first, second, other = judge(drawn, known, seed=1), judge(drawn, known, seed=1), judge(drawn, known, seed=2)
    assert (first.low, first.high) == (second.low, second.high)
    assert first.score == other.score
    assert (first.low, first.high) != (other.low, other.high)


def test_the_interval_narrows_with_agreement_between_prompts():
    known = subject.evidence(0)
    even, uneven = subject.sheet(known, likeness=0.55), subject.sheet(known)
    uneven.face[:6] = known.base.face[:6]
    judged, doubtful = judge(even, known), judge(uneven, known)
    assert doubtful.high - doubtful.low > 2 * (judged.high - judged.low)


def test_pictures_of_another_sheet_are_refused():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    with pytest.raises(ValueError, match="not those of the base model's sheet"):
        judge(replace(drawn, keys=drawn.keys[::-1]), known)
    with pytest.raises(ValueError, match="a sheet of 15 images was given; prompts x seeds makes 16"):
        judge(metric.take(drawn, np.arange(15)), known)


def test_a_prompt_whose_face_is_meant_to_be_small_says_how_much_of_the_score_has_no_witness():
    known = subject.evidence(0)
    (first, *others) = known.prompts
    known = replace(known, prompts=(replace(first, face=False), *others))
    judged = judge(subject.sheet(known), known)
    asked = [prompt for prompt in known.prompts if prompt.subject and prompt.photo]
    untold = [prompt.key for prompt in asked if not prompt.face]
    (note,) = (note for note in judged.notes if note.kind is NoteKind.NO_WITNESS)
    assert first.key in untold
    assert note.values["prompts"] == ", ".join(untold)
    assert note.values["part"] == pytest.approx(WEIGHTS["identity"] * len(untold) / len(asked))
    assert note_text(note).startswith(f"likeness is not judged at {first.key}")


def test_pictures_whose_faces_came_out_too_small_say_so_too():
    known = subject.evidence(0)
    drawn = subject.sheet(known)
    drawn.face_size[1] = 0.01
    (note,) = (note for note in judge(drawn, known).notes if note.kind is NoteKind.NO_WITNESS)
    asked = sum(prompt.subject and prompt.photo for prompt in known.prompts)
    assert (note.values["prompts"], note.values["part"]) == (
        known.prompts[0].key,
        pytest.approx(WEIGHTS["identity"] * 0.5 / asked),
    )


def test_a_sheet_whose_faces_can_all_be_told_needs_no_such_note():
    known = subject.evidence(0)
    judged = judge(subject.sheet(known), known)
    assert NoteKind.NO_WITNESS not in {note.kind for note in judged.notes}
