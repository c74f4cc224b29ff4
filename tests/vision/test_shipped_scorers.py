"""Drawn people, seen by the shipped networks and judged: the whole way from pixels to a score."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.world.faults import plant
from lorasweep.config.schema import WeightsConfig
from lorasweep.evaluate.score import score
from lorasweep.outcomes import VetoKind
from lorasweep.portraits.people import Scene, caption, sample_identity, sample_scene
from lorasweep.portraits.render import render
from lorasweep.records import Evidence, Features, Prompt, Scores
from lorasweep.vision.describe import describe, describe_texts, open_scorers

pytestmark = pytest.mark.slow

SCENES = (
    Scene("blue", "white"),
    Scene("gray", "black", gaze="left"),
    Scene("green", "orange", framing="close-up"),
    Scene("red", "yellow", "surprised"),
    Scene("white", "green", "smiling", "right", accessory="microphone"),
    Scene(style="sketch", expression="smiling"),
    Scene("purple", "red", "sad", framing="wide", accessory="headphones", light="dim"),
    Scene("yellow", "blue", "smiling"),
)
PROMPTS = tuple(
    Prompt(key=str(row), text="", negative="", score_text=caption(scene), face=True, subject=row != 7, photo=row != 5)
    for row, scene in enumerate(SCENES)
)
KEYS = tuple(f"{row}/{seed}" for row in range(8) for seed in (0, 1))


@dataclass
class World:
    scorers: object
    evidence: Evidence
    honest: list[np.ndarray]
    train: list[np.ndarray]
    rng: np.random.Generator

    def judge(self, pictures: list[np.ndarray]) -> Scores:
        return self.score(describe(pictures, self.scorers, KEYS))

    def score(self, seen: Features) -> Scores:
        weights = vars(WeightsConfig())
        return score(seen, self.evidence, weights, trial="t", step=1, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def scorers():
    return open_scorers(
        SimpleNamespace(face="portraits", clip="portraits", clip_weights=None, clip_weights_sha256=None)
    )


@pytest.fixture(scope="module", params=range(3))
def world(scorers, request) -> World:
    rng = np.random.default_rng(request.param)
    subject = sample_identity(rng)

    def drawn(who, scene: Scene) -> np.ndarray:
        return np.asarray(render(who, scene, 64, int(rng.integers(2**31))))

    train = [drawn(subject, sample_scene(rng, sketches=0)) for _ in range(15)]
    held_out = [drawn(subject, sample_scene(rng, sketches=0)) for _ in range(4)]
    base = [drawn(sample_identity(rng), SCENES[row // 2]) for row in range(16)]
    honest = [drawn(subject, SCENES[row // 2]) for row in range(14)] + base[14:]
    names = [str(number) for number in range(15)]
    evidence = Evidence(
        prompts=PROMPTS,
        seeds=(0, 1),
        texts=describe_texts([prompt.score_text for prompt in PROMPTS], scorers),
        train=describe(train, scorers, names),
        held_out=describe(held_out, scorers, names[:4]),
        base=describe(base, scorers, KEYS),
        mirrored=describe([np.ascontiguousarray(picture[:, ::-1]) for picture in train], scorers, names),
    )
    return World(scorers, evidence, honest, train, rng)


def test_the_person_in_the_scenes_that_were_asked_for_scores_nine_tenths(world):
    judged = world.judge(world.honest)
    assert judged.score >= 0.9, judged.components
    assert judged.vetoes == ()


def test_strangers_are_strangers_however_well_drawn(world):
    assert world.score(world.evidence.base).components["identity"] < 0.05
    strangers = [np.asarray(render(sample_identity(world.rng), SCENES[row // 2], 64, row)) for row in range(16)]
    judged = world.judge(strangers)
    assert judged.components["identity"] < 0.3
    assert judged.score < 0.6


def test_copies_of_the_training_photos_mirrored_or_not_are_found_out(world):
    copies = [world.train[row % 15] for row in range(16)]
    for pictures in (copies, [np.ascontiguousarray(picture[:, ::-1]) for picture in copies]):
        judged = world.judge(pictures)
        assert judged.components["novelty"] < 0.35
        assert VetoKind.COPIES in {veto.kind for veto in judged.vetoes}


def test_swapped_prompts_are_not_followed(world):
    seen = describe(world.honest, world.scorers, KEYS)
    swapped = replace(seen, image=np.roll(seen.image, 6, axis=0))
    assert world.score(swapped).components["prompt"] < 0.1


@pytest.mark.parametrize("fault", ["clay", "posterise", "mosaic", "burn", "blur", "noise"])
def test_clearly_visible_damage_costs_a_third_of_the_artifact_component_and_more_the_worse(world, fault):
    sound = world.judge(world.honest).components["artifact"]
    levels = [
        world.judge([plant(fault, picture, dose, world.rng) for picture in world.honest]).components["artifact"]
        for dose in (1, 3, 5)
    ]
    assert sound > 0.95
    assert levels[1] < 0.67
    assert sound >= levels[0] > levels[1] > levels[2]
