"""The oracle against faults whose strength is known. Pictures are few here; `measure` counts 32 for each point."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.statistics import rank_correlation
from benchmarks.world import faults, oracle
from benchmarks.world.oracle import (
    CONSTANTS,
    asked_in,
    asked_of,
    combine,
    load_oracle,
    oracle_signature,
    residual_between,
)
from benchmarks.world.readers import READERS
from benchmarks.world.stages import fresh_renders
from lorasweep.portraits.people import Scene, caption, sample_identity, sample_scene
from lorasweep.portraits.render import render


def quality_of(pictures, subjects):
    oracle = load_oracle()
    return np.mean(
        [oracle.judge(part, who, scene).quality for part, (who, scene, _) in zip(pictures, subjects, strict=True)]
    )


@pytest.mark.parametrize("name", list(faults.FAULTS))
def test_the_oracle_ranks_planted_faults_by_dose(name):
    pictures, subjects = fresh_renders(6, 601)
    doses = (0, 1, 3, 5)
    rngs = [np.random.default_rng(place) for place in range(6)]
    means = [
        quality_of([faults.plant(name, part, dose, rng) for part, rng in zip(pictures, rngs, strict=True)], subjects)
        for dose in doses
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] - means[2] > 0.08


def test_somebody_else_has_less_quality_the_more_of_them_there_is():
    _, subjects = fresh_renders(6, 602)
    other = sample_identity(np.random.default_rng(603))
    means = []
    for share in (0.0, 0.3, 1.0):
        drawn = [
            np.asarray(render(faults.blend(who, other, share), scene, 64, jitter)) for who, scene, jitter in subjects
        ]
        means.append(quality_of(drawn, subjects))
    assert means[0] > means[1] + 0.02
    assert means[1] > means[2] + 0.3


def test_a_render_of_the_person_asked_for_is_nearly_perfect():
    pictures, subjects = fresh_renders(8, 604)
    assert quality_of(pictures, subjects) > 0.85


def test_only_what_the_prompt_names_is_held_against_a_picture():
    pictures, subjects = fresh_renders(1, 605)
    who, scene, _ = subjects[0]
    wrong = "red" if scene.background != "red" else "green"
    judge = load_oracle().judge
    assert judge(pictures[0], who, {}).scene_match == 1.0
    assert judge(pictures[0], who, {"background": scene.background}).scene_match > 0.9
    assert judge(pictures[0], who, {"background": wrong}).scene_match < 0.1


def test_a_repeated_training_picture_is_a_copy_and_another_photo_is_none():
    who, scene = sample_identity(np.random.default_rng(606)), Scene()
    photos = [np.asarray(render(who, scene, 64, jitter)) for jitter in range(9)]
    judge = load_oracle().judge
    again = judge(photos[0], who, scene, photos)
    fresh = judge(photos[0], who, scene, photos[1:])
    assert again.copy == 1.0
    assert again.quality == pytest.approx(fresh.quality / (1 - fresh.copy / 2) / 2)
    assert fresh.copy < 0.5


def test_the_formula_is_the_one_written_down():
    k = CONSTANTS
    best = combine(k.same, 1.0, k.clean, None)
    assert (best.quality, best.copy) == (1.0, 0.0)
    assert combine(k.stranger, 1.0, k.clean, None).quality == 0.0
    assert combine(k.same, 0.5, k.clean, None).quality == pytest.approx(0.5**k.scene_power)
    faded = combine(k.same, 1.0, k.clean + k.tolerance, None)
    assert faded.quality == pytest.approx(np.exp(-k.soundness_power))
    assert combine(k.same, 1.0, k.clean, k.pasted).quality == 0.5


def test_the_signature_changes_with_every_constant():
    assert oracle_signature() == oracle_signature()
    assert oracle_signature(constants=replace(CONSTANTS, clean=0.5)) != oracle_signature()


@pytest.fixture
def unremembered(monkeypatch):
    """The fixed pictures are drawn and read again each time."""
    monkeypatch.setattr(oracle, "probe", oracle.probe.__wrapped__)


@pytest.mark.parametrize(("change", "same"), [(0.0, True), (1e-6, True), (0.01, False)])
def test_the_signature_changes_with_what_is_read_and_not_with_noise(unremembered, monkeypatch, change, same):
    before = oracle_signature()
    monkeypatch.setattr(oracle, "residual_between", lambda *pair: residual_between(*pair) + change)
    assert (oracle_signature() == before) is same


def test_the_signature_changes_with_a_single_pixel(unremembered, monkeypatch):
    before = oracle_signature()

    def drawn(who, scene, side, jitter):
        picture = render(who, scene, side, jitter)
        if jitter == 63:
            picture.putpixel((0, 0), (1, 2, 3))
        return picture

    monkeypatch.setattr(oracle, "render", drawn)
    assert oracle_signature() != before


def test_the_committed_readings_are_those_of_this_code():
    """Otherwise `python -m benchmarks.probes` writes them down, and what the oracle has judged is stale."""
    committed = json.loads((READERS / "readers" / oracle.PROBE).read_text(encoding="utf-8"))
    assert oracle.probe()[1] == committed


def test_a_full_caption_asks_for_what_its_scene_says():
    rng = np.random.default_rng(607)
    for _ in range(200):
        scene = sample_scene(rng)
        assert asked_in(caption(scene, trigger="s1lv10")) == asked_of(scene)


def test_random_captions_never_ask_for_what_is_not_there():
    rng = np.random.default_rng(608)
    for _ in range(500):
        scene = sample_scene(rng)
        for name, word in asked_in(caption(scene, rng=rng)).items():
            assert getattr(scene, name) == word


def test_a_word_that_no_scene_has_is_refused():
    with pytest.raises(ValueError, match=r"background='pink', expected one of red, orange"):
        load_oracle().judge(
            np.zeros((64, 64, 3), np.uint8), sample_identity(np.random.default_rng(0)), {"background": "pink"}
        )


def test_a_picture_leaves_no_residual_to_itself_and_more_to_another():
    pictures, _ = fresh_renders(2, 609)
    assert residual_between(pictures[0], pictures[0]) == 0.0
    assert residual_between(pictures[0], pictures[1]) > 0.1


def test_strength_zero_plants_nothing_and_every_fault_grows():
    pictures, _ = fresh_renders(6, 610)
    for name in faults.FAULTS:
        assert np.array_equal(faults.plant(name, pictures[0], 0, np.random.default_rng(0)), pictures[0])
        changes = []
        for strength in faults.STRENGTHS:
            planted = [faults.plant(name, part, strength, np.random.default_rng(0)) for part in pictures]
            changes.append(np.abs(np.stack(planted).astype(float) - pictures).mean())
        assert changes == sorted(changes), name


def test_rank_correlation_is_one_for_any_rising_curve():
    assert rank_correlation(np.array([1, 2, 9])) == pytest.approx(1.0)
    assert rank_correlation(np.array([3, 2, 1])) == pytest.approx(-1.0)
