"""Drawn people taken for characters: told by whole pictures, from pixels to a score, with no face looked for."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.world.faults import blend
from lorasweep.evaluate.identity import identity, likeness
from lorasweep.evaluate.text import note_text
from lorasweep.outcomes import NoteKind
from lorasweep.portraits.networks import load_face_network
from lorasweep.portraits.people import Scene, caption, sample_identity, sample_scene
from lorasweep.portraits.render import render
from lorasweep.records import Evidence, Note, Prompt
from lorasweep.vision.describe import Scorers, describe, describe_texts, open_scorers, shipped_weights
from lorasweep.vision.embedder import unit

pytestmark = pytest.mark.slow

SCENES = (
    Scene("blue", "white"),
    Scene("gray", "black", gaze="left"),
    Scene("green", "orange", framing="close-up"),
    Scene("red", "yellow", "surprised"),
    Scene("white", "green", "smiling", "right", accessory="microphone"),
    Scene("purple", "red", "sad", framing="wide", accessory="headphones", light="dim"),
)
PROMPTS = tuple(
    Prompt(key=str(row), text="", negative="", score_text=caption(scene), face=False, subject=True, photo=True)
    for row, scene in enumerate(SCENES)
)
KEYS = tuple(f"{row}/{seed}" for row in range(len(SCENES)) for seed in (0, 1))


class KnowsPeople:
    """A network that was taught to tell drawn people by whole pictures, in place of DINOv2, which was not."""

    sha256 = "knows people"

    def __init__(self) -> None:
        self._network = load_face_network(shipped_weights(), "face")

    def pictures(self, pictures):
        return unit(self._network.describe(np.stack(pictures)).embedding)


@dataclass
class World:
    scorers: Scorers
    evidence: Evidence
    sheets: dict[float, list[np.ndarray]]
    """Of somebody who is the character by this share."""
    fresh: list[np.ndarray]

    def share(self, pictures: list[np.ndarray]) -> float:
        return float(np.clip(np.nanmean(identity(describe(pictures, self.scorers, KEYS), self.evidence).shares), 0, 1))


@pytest.fixture(scope="module")
def clip():
    settings = {"face": "portraits", "clip": "portraits", "clip_weights": None, "clip_weights_sha256": None}
    return open_scorers(SimpleNamespace(**settings, image="clip"), told_by="image").clip


def world(seed: int, scorers: Scorers) -> World:
    rng = np.random.default_rng(seed)
    character, other = sample_identity(rng), sample_identity(rng)

    def drawn(who, scene):
        return np.asarray(render(who, scene, 64, int(rng.integers(2**31))))

    def sheet(who):
        return [drawn(who, SCENES[row // 2]) for row in range(len(KEYS))]

    def pictures(count):
        return [drawn(character, sample_scene(rng, sketches=0)) for _ in range(count)]

    names = [str(number) for number in range(15)]
    evidence = Evidence(
        prompts=PROMPTS,
        seeds=(0, 1),
        texts=describe_texts([prompt.score_text for prompt in PROMPTS], scorers),
        train=describe(pictures(15), scorers, names),
        held_out=describe(pictures(6), scorers, names[:6]),
        base=describe([drawn(sample_identity(rng), SCENES[row // 2]) for row in range(len(KEYS))], scorers, KEYS),
        told_by="image",
    )
    sheets = {share: sheet(blend(other, character, share)) for share in (0.0, 0.5, 0.75, 1.0)}
    return World(scorers, evidence, sheets, pictures(len(KEYS)))


@pytest.mark.parametrize("seed", range(4))
def test_with_a_network_that_knows_people_the_scale_runs_from_strangers_to_the_character(clip, seed):
    known = world(seed, Scorers(None, clip, KnowsPeople()))
    assert known.share(known.fresh) > 0.9
    assert float(np.mean(identity(known.evidence.base, known.evidence).shares)) < 0.05
    shares = [known.share(pictures) for pictures in known.sheets.values()]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_a_network_that_was_taught_scenes_measures_nobody_and_says_so(clip, seed):
    blind = world(seed, Scorers(None, clip, clip))
    told = likeness(blind.evidence)
    assert isinstance(told, Note)
    assert told.kind == NoteKind.IMAGES_ALIKE
    assert "(3 standard errors) is needed" in note_text(told)
    assert np.isnan(identity(replace(blind.evidence.base), blind.evidence).shares).all()
