import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lorasweep.outcomes import NoteKind, VerdictWord
from lorasweep.records import AtStrength, Note, RunView
from lorasweep.report.view import (
    Band,
    bands,
    cautions,
    cell_score,
    good_range,
    prompts_of,
    rows_of,
    smoothed,
    strengths_of,
)


def test_the_base_model_is_the_first_row_and_the_picked_row_is_marked(view: RunView) -> None:
    rows = rows_of(view)
    assert [row.label for row in rows] == ["base model", "step 100", "step 200", "step 300"]
    assert [row.picked for row in rows] == [False, False, True, False]
    assert [row.runner_up for row in rows] == [False, False, False, True]


def test_a_score_on_fresh_seeds_stands_beside_the_other_and_does_not_replace_it(view: RunView) -> None:
    row = rows_of(view)[2]
    assert row.scores is not None
    assert row.fresh is not None
    assert (row.scores.score, row.fresh.score) == (0.7, 0.71)


def at(view: RunView, step: int, strength: float, score: float) -> AtStrength:
    own = next(scores for scores in view.scores if scores.fresh)
    sheet = next(sheet for sheet in view.samples if sheet.step == step)
    return AtStrength(
        strength=strength, samples=sheet, scores=replace(own, step=step, score=score, trial="t", fresh=True)
    )


def test_strengths_stand_beside_the_runs_own_in_order(view: RunView) -> None:
    drawn = replace(view, strengths=(at(view, 200, 0.85, 0.8), at(view, 200, 0.7, 0.6)))
    found = strengths_of(drawn)
    assert {strength: scores.score for strength, scores in found[200].items()} == {0.7: 0.6, 0.85: 0.8, 1.0: 0.71}
    assert list(found) == [200]
    assert list(found[200]) == [0.7, 0.85, 1.0]
    assert strengths_of(view) == {}


def test_a_range_is_named_by_its_ends_and_by_what_their_scores_say(view: RunView) -> None:
    assert view.pick is not None
    assert good_range(view) == ""  # the pick alone is good
    wide = replace(view, pick=replace(view.pick, eligible=(100, 200)))
    assert good_range(wide) == "Good from step 100 to step 200."
    first, second = view.scores[0], view.scores[1]
    flexible = replace(first, components={"identity": 0.2, "prompt": 0.9})
    told = replace(wide, scores=(flexible, second, *view.scores[2:]))
    assert good_range(told) == "Good from step 100 (most flexible) to step 200 (most alike)."
    by_hand = replace(view, pick=replace(view.pick, step=300, eligible=(100, 200)))
    assert good_range(by_hand) == ""


def test_what_weakens_the_picked_score_is_said(view: RunView) -> None:
    note = Note(NoteKind.NO_WITNESS, {"prompts": "hat", "part": 0.2})
    noted = tuple(replace(scores, notes=(note,)) if scores.step == 200 else scores for scores in view.scores)
    assert cautions(replace(view, scores=noted)) == (
        "Likeness is not judged at hat: 20% of the score has no witness there.",
    )
    assert cautions(view) == ()


def test_prompts_at_which_likeness_is_low_at_every_checkpoint_are_named(view: RunView) -> None:
    keys = [f"p{place}" for place in range(8)]
    shares = np.full((8, 1, 2), 0.9)
    shares[3, :, 0] = 0.1
    drawn = tuple(replace(view.prompts[0], key=key) for key in keys)
    scores = tuple(replace(scores, by_prompt=shares) for scores in view.scores)
    assert cautions(replace(view, prompts=drawn, scores=scores)) == (
        "Likeness is low at every checkpoint at p3: it orders checkpoints there, and does not decide whether they show "
        "the subject.",
    )


def test_rows_of_another_trainers_files_are_called_by_their_names(view: RunView, tmp_path: Path) -> None:
    rows = rows_of(replace(view, source=tmp_path))
    assert [row.label for row in rows] == ["base model", *(f"step-{step}.safetensors" for step in (100, 200, 300))]


def test_a_cell_is_the_weighted_geometric_mean_of_what_was_judged(view: RunView) -> None:
    plain, hat = rows_of(view)[1].cells
    assert plain.score == pytest.approx(0.25**0.6 * 1.0**0.4)
    assert hat.score == pytest.approx(0.6)
    assert hat.parts == (("prompt", pytest.approx(0.6)),)


def test_a_cell_without_a_judged_component_has_no_score() -> None:
    assert math.isnan(cell_score(np.array([np.nan]), ("identity",), {}))


def test_bands_meet_half_way_and_equal_neighbours_are_one(view: RunView) -> None:
    assert bands(rows_of(view)) == (Band(100, 150, "under"), Band(150, 250, "good"), Band(250, 300, "over"))
    assert view.pick is not None
    same = tuple(replace(verdict, word=VerdictWord.GOOD) for verdict in view.pick.verdicts)
    assert bands(rows_of(replace(view, pick=replace(view.pick, verdicts=same)))) == (Band(100, 300, "good"),)


def test_a_checkpoint_that_was_not_drawn_still_has_a_row(view: RunView) -> None:
    rows = rows_of(replace(view, samples=view.samples[:2]))
    assert [row.step for row in rows] == [0, 100, 200, 300]
    assert rows[3].cells[0].pictures == ()


def test_a_prompt_without_pictures_has_no_column(view: RunView) -> None:
    undrawn = replace(view.prompts[0], key="later")
    assert [p.key for p in prompts_of(replace(view, prompts=(*view.prompts, undrawn)))] == ["plain", "hat"]


def test_the_moving_average_of_a_constant_is_that_constant_from_its_first_value_on() -> None:
    assert smoothed([2.0, math.nan, 2.0], span=9) == pytest.approx([2.0, 2.0, 2.0])
