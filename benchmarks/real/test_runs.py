"""The real runs as records: packing, vectors that stand in for a person's, and the replay of committed numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.real import tables
from benchmarks.real.grids import KINDS, Row
from benchmarks.real.look import cheeks, coarse_colours
from benchmarks.real.runs import (
    RESULTS,
    Label,
    RealRun,
    Seen,
    labels,
    pack_seen,
    photo_vectors,
    read_runs,
    unpack_seen,
)
from lorasweep.evaluate.identity import Likeness, likeness
from lorasweep.records import TEXTURE

CENTER = 0.8
"""Length of the mean of the photos' vectors."""


def seen(count: int, likenesses: np.ndarray, seed: int = 0) -> Seen:
    rng = np.random.default_rng(seed)
    face = np.array([[0.4, 0.45], [0.6, 0.45], [0.5, 0.55], [0.43, 0.65], [0.57, 0.65]])
    return Seen(
        texture=rng.normal(size=(count, len(TEXTURE))),
        skin=rng.normal(size=(count, len(TEXTURE))),
        extra=rng.normal(size=(count, 3)),
        cheeks=rng.normal(size=(count, 9)),
        landmarks=face + rng.normal(0, 0.01, (count, 5, 2)),
        box=np.tile([0.3, 0.25, 0.7, 0.8], (count, 1)),
        count=np.ones(count),
        chance=np.full(count, 0.999),
        likeness=likenesses,
        colours=rng.uniform(-40, 40, (count, 8, 8, 3)) + np.array([60, 0, 0]),
    )


@pytest.fixture(scope="module")
def among() -> np.ndarray:
    """Mean cosines of 16 made-up photos to the others, such that their mean has the length CENTER."""
    raw = np.random.default_rng(3).uniform(0.5, 0.7, 16)
    return raw + (16 * CENTER**2 - 1) / 15 - raw.mean()


@pytest.fixture(scope="module")
def run(among: np.ndarray) -> RealRun:
    grows = np.repeat(np.linspace(0.1, 0.7, 10), 4) + np.tile([0, 0.01, -0.01, 0.02], 10)
    return RealRun(
        row=Row("Made Up", "", 0),
        seen=seen(40, grows),
        base=seen(4, np.array([0.1, 0.12, 0.08, 0.1]), 1),
        photos=seen(16, among, 2),
        length=CENTER,
        label=Label(name="made up", words="UUuuGGGGGo", why="iiii.....a", pick=9),
    )


def test_packed_numbers_are_the_same_within_their_bits():
    some = seen(6, np.linspace(-0.2, 0.8, 6))
    some = replace(some, likeness=np.where(np.arange(6) == 2, np.nan, some.likeness))
    again = unpack_seen(json.loads(json.dumps(pack_seen(some))), list(TEXTURE))
    for name in ("texture", "skin", "extra", "cheeks", "landmarks", "box", "count", "chance", "likeness"):
        np.testing.assert_allclose(getattr(again, name), getattr(some, name), rtol=1e-3, atol=1e-3)
    assert np.abs(again.colours - some.colours).max() <= 0.5
    assert np.abs(again.colours[..., 0] - some.colours[..., 0]).max() <= 0.2


def test_a_number_of_texture_that_was_not_measured_is_open():
    some = seen(3, np.zeros(3))
    again = unpack_seen(pack_seen(some), ["other", *TEXTURE[1:]])
    assert np.isnan(again.texture[:, 0]).all()
    np.testing.assert_allclose(again.texture[:, 1:], some.texture[:, 1:], rtol=1e-3)


def test_vectors_keep_every_cosine_that_the_scale_is_made_of(among):
    vectors = photo_vectors(among, CENTER)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(vectors.mean(axis=0), [CENTER, 0, 0, 0], atol=1e-12)
    cosines = vectors @ vectors.T
    np.testing.assert_allclose((cosines.sum(axis=1) - 1) / 15, among, atol=1e-12)
    assert photo_vectors(among[:0], CENTER).shape == (0, 4)


def test_identity_is_exact(run, among):
    scale = likeness(run.evidence)
    assert isinstance(scale, Likeness)
    assert scale.ceiling == pytest.approx(np.median(among))
    assert scale.floor == pytest.approx(run.base.likeness.mean())
    sheets = np.concatenate([sheet.face @ scale.center for sheet in run.sheets])
    np.testing.assert_allclose(sheets, run.seen.likeness, atol=1e-12)


def test_a_picture_without_a_face_has_no_vector(run):
    blank = replace(run, seen=replace(run.seen, count=np.zeros(40), likeness=np.full(40, np.nan)))
    assert not blank.sheets[3].face.any()
    assert blank.sheets[3].face_count.tolist() == [0] * 4
    assert len(run.sheets[0].keys) == len(KINDS)


def test_what_a_labeller_said_of_a_pick(run):
    label = run.label
    assert [tables.outcome(label, step) for step in (9, 5, 10, 4, 1, None)] == [
        *("good", "good", "over", "under", "under", "none")
    ]
    assert tables.outcome(replace(label, words="UUUUUUUUUu", pick=10), 10) == "good"


def test_totals_count_runs_with_a_checkpoint_worth_taking_apart(run):
    judged = tables.judge(run)
    none = replace(judged, run=replace(run, label=replace(run.label, pick=0)))
    lost = replace(judged, run=replace(run, label=replace(run.label, why="iiii.....p")))
    found = tables.totals([judged, none, lost], lambda each: None if each is none else 8)
    assert found == {
        **{"of": 2, "good": 2, "over": 0, "under": 0, "none": 0, "within_one": 2, "none_of": 1, "none_right": 1},
        **{"without_p_of": 1, "without_p_good": 1, "without_p_within_one": 1},
    }
    assert tables.totals([judged], tables.last)["over"] == 1


def test_a_rising_run_is_judged_by_all_components_but_prompt(run):
    judged = tables.judge(run)
    identity = judged.component("identity")
    assert (np.diff(identity) >= 0).all()
    assert identity[-1] > 0.8
    assert np.isnan(judged.component("prompt")).all()
    assert judged.shares("geometry").shape == (10, 4)
    assert tables.most_alike(judged) == 10


def test_cheeks_tell_smooth_skin_from_grain_and_need_a_face():
    points = np.array([[150.0, 150], [250, 150], [200, 200], [165, 250], [235, 250]])
    smooth = np.full((400, 400, 3), 150, np.uint8)
    grain = np.random.default_rng(0).integers(120, 180, (400, 400, 3)).astype(np.uint8)
    assert cheeks(grain, points)[0] > cheeks(smooth, points)[0] + 1
    assert np.isnan(cheeks(smooth, np.full((5, 2), np.nan))).all()


def test_coarse_colours_keep_their_places():
    lab = np.zeros((16, 16, 3))
    lab[:2, 14:] = (60, 20, -30)
    found = coarse_colours(lab)
    assert found.shape == (8, 8, 3)
    assert found[0, 7].tolist() == [153, 148, 98]
    assert found[7, 0].tolist() == [0, 128, 128]


def test_labels_name_no_person_and_fit_their_runs():
    known = labels()
    assert len(known) == 27
    for label in known.values():
        assert len(label.words) == len(label.why) == 10
        assert label.pick in range(11)
    assert sum(label.pick == 0 for label in known.values()) == 3
    assert sum(label.pick > 0 and "p" not in label.why for label in known.values()) == 18


@pytest.fixture(scope="module")
def committed():
    return read_runs()


def test_the_committed_numbers_hold_all_labelled_runs_and_are_small(committed):
    assert RESULTS.stat().st_size <= 3_000_000
    assert sum(each.label is not None for each in committed.runs) == 27
    assert {each.seen.count.shape for each in committed.runs} == {(40,)}
    assert committed.photos.count.shape == (16,)
    assert committed.strengths.count.shape == (16,)
    among = (committed.photos.likeness.sum() * 15 + 16) / 256
    assert np.sqrt(among) == pytest.approx(committed.length, abs=2e-3)


def test_the_replay_prints_what_has_a_goal(committed, capsys):
    few = [each for each in committed.runs if each.name in ("NOinf-15", "TS102-6600", "PR-fullfp16")]
    found = tables.show(replace(committed, runs=tuple(few)))
    said = capsys.readouterr().out
    assert "NOinf-15: labelled none, picked" in said
    assert "always the last" in said
    assert (found["real_of"], found["real_none_of"]) == (1, 2)
    assert found["real_diverged_picked"] in (0.0, 1.0)
    assert found["real_clean_faces"] > 60
