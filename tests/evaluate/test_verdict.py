import numpy as np
import pytest

from lorasweep.config.schema import PickConfig
from lorasweep.evaluate.bootstrap import component_means
from lorasweep.evaluate.pick import choose, finalists
from lorasweep.outcomes import NoteKind, RunVerdict
from lorasweep.records import COMPONENTS, Note, Scores

RULE = PickConfig(replicates=300)
ORDER = dict(zip(COMPONENTS, range(5), strict=True))


def scored(step: int, notes=(), **low: float) -> Scores:
    """A checkpoint that is 0.9 in everything but what ``low`` names."""
    shares = np.full((8, 2, 5), 0.9) + 0.02 * np.random.default_rng(0).normal(size=(8, 2, 1))
    for name, value in low.items():
        shares[..., ORDER[name]] += value - 0.9
    return Scores(
        trial="t",
        step=step,
        components=dict(zip(COMPONENTS, component_means(shares).tolist(), strict=True)),
        score=0.9,
        low=0,
        high=1,
        by_prompt=shares,
        notes=notes,
    )


def pick(*scores: Scores):
    return choose(scores, RULE, np.random.default_rng(0))


def words(chosen) -> dict[int, tuple[str, str]]:
    return {verdict.step: (verdict.word, verdict.cause) for verdict in chosen.verdicts}


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        ("identity", "stops resembling the subject"),
        ("prompt", "ignores the prompt"),
        ("artifact", "shows damage"),
        ("geometry", "deforms faces"),
        ("novelty", "copies training photos"),
    ],
)
def test_an_over_trained_checkpoint_is_told_by_what_fell(cause, says):
    chosen = pick(
        scored(10, identity=0.3), scored(20), scored(30), scored(40, **{cause: 0.3}), scored(50, **{cause: 0.1})
    )
    assert words(chosen)[10] == ("under", "identity")
    assert words(chosen)[20][0] == "good"
    assert words(chosen)[50] == ("over", cause)
    last = chosen.verdicts[-1].text
    assert says in last
    assert "at the best checkpoint 0." in last
    assert chosen.run_verdict is RunVerdict.FINE


def test_an_under_trained_checkpoint_says_how_generic_it_still_is():
    chosen = pick(scored(10, identity=0.2), scored(20, identity=0.5), scored(30), scored(40), scored(50))
    assert chosen.verdicts[0].text == "Still 71% a generic person."  # smoothed with its neighbour


def test_a_run_that_still_climbs_wants_more_training():
    chosen = pick(*(scored(10 * step, identity=0.1 + 0.1 * step) for step in range(1, 8)))
    assert (chosen.run_verdict, chosen.step) == (RunVerdict.TRAIN_LONGER, 70)


def test_level_ground_does_not_want_more_training():
    assert pick(*(scored(10 * step) for step in range(1, 8))).run_verdict is RunVerdict.FINE


def test_a_run_that_only_falls_was_too_hot():
    chosen = pick(*(scored(10 * step, artifact=0.9 / step**2, identity=0.9 / step) for step in range(1, 6)))
    assert (chosen.run_verdict, chosen.step) == (RunVerdict.TOO_FAST, 10)


def test_a_run_below_the_floor_has_nothing_to_offer():
    chosen = pick(*(scored(10 * step, **dict.fromkeys(COMPONENTS, 0.1)) for step in range(1, 4)))
    assert (chosen.run_verdict, chosen.step, chosen.eligible) == (RunVerdict.NOTHING_USABLE, None, ())
    assert "below 0.20" in chosen.reason


def test_a_person_who_cannot_be_measured_gets_no_pick():
    note = Note(NoteKind.FEW_FACES, {"count": 3, "needed": 5})
    chosen = pick(scored(10, (note,), identity=np.nan), scored(20, (note,), identity=np.nan))
    assert (chosen.run_verdict, chosen.step) == (RunVerdict.NOT_MEASURABLE, None)
    assert chosen.reason == "Identity is not measurable: 3 photos show a face, 5 are needed."


def test_a_sheet_without_faces_is_judged_by_the_rest():
    note = Note(NoteKind.FACE_NOT_ASKED, {"component": "identity"})
    assert pick(scored(10, (note,), identity=np.nan), scored(20, (note,), identity=np.nan)).step == 20


def test_what_is_neither_shown_good_nor_shown_worse_is_uncertain():
    shaky, noise = [scored(30), scored(40)], np.random.default_rng(1).normal(size=(8, 1, 1))
    for one in shaky:
        one.by_prompt[...] += 0.6 * (noise - noise.mean()) - 0.06
    chosen = pick(scored(10), scored(20), *shaky)
    assert words(chosen)[40] == ("uncertain", "")
    assert chosen.step < 40


def test_a_single_checkpoint_is_picked_when_it_is_good_enough():
    chosen = pick(scored(10))
    assert (chosen.step, chosen.run_verdict, chosen.runner_up, chosen.confidence) == (10, RunVerdict.FINE, None, 1.0)


def test_nothing_is_picked_where_nothing_measures_the_likeness_and_the_sheet_is_named():
    unknown = {"notes": (Note(NoteKind.STYLE),), "identity": np.nan}
    sound = [scored(step, **unknown) for step in (10, 20, 30)]
    chosen = pick(*sound, scored(40, **{**unknown, "artifact": 0.2}))
    assert (chosen.step, chosen.run_verdict, finalists(chosen)) == (None, RunVerdict.LOOK, ())
    assert chosen.reason == (
        "Nothing measures how well a style is met (evaluate.subject is none), so there is no automatic pick: look at "
        "the sheet; 'lorasweep pick t --step N' takes one by hand."
    )
    found = words(chosen)
    assert (found[10], found[20], found[40]) == (("uncertain", ""), ("uncertain", ""), ("over", "artifact"))
    assert chosen.verdicts[0].text == "No harm is shown; how well the style is met, your eyes say."
