"""The people that the evaluator is tried on: drawn, with their photos and the base model's samples."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.signatures import answers, model_hashes, signature
from benchmarks.world.oracle import asked_in
from lorasweep.data.pictures import Pixels
from lorasweep.portraits.people import Identity, Scene, caption, sample_identity, sample_scene
from lorasweep.portraits.render import face_box, render
from lorasweep.records import Evidence, Features, Prompt
from lorasweep.vision.texture import texture

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig

STREAM = 20263
"""First number of every random seed here."""
SCRATCH = Path(".cache/evaluator")
TRAIN = 12
SCENES = 8
"""Scenes of everybody's held-out photos; also prompts of a sheet of their own."""
SIDE = 64
ROOT = Path(__file__).parents[2]
LOOKING = 1
"""Raise it when the networks are shown, or tell, something that `probe` does not ask for."""


@cache
def the_run() -> "RunConfig":
    """Return the drawn world's preset, scorers and weights as a user gets them."""
    from lorasweep.config.compose import load_run

    return load_run(["preset=person_portraits", "data.path=photos", "hardware.threads=1"])


@cache
def scorers() -> Any:
    from lorasweep.vision.describe import open_scorers

    return open_scorers(the_run().evaluate)


@cache
def sheet_prompts() -> tuple[Prompt, ...]:
    """Return the preset's prompts."""
    from lorasweep.data.prompts import fill_prompts

    return fill_prompts(the_run().sample, the_run().data)


@cache
def held_out_scenes() -> tuple[Scene, ...]:
    rng = np.random.default_rng([STREAM, 8])
    return tuple(sample_scene(rng, sketches=0.0) for _ in range(SCENES))


@cache
def scene_prompts() -> tuple[Prompt, ...]:
    """Return the held-out photos' scenes in words."""
    trigger = the_run().data.trigger
    return tuple(
        Prompt(
            key=f"scene{place}",
            text=caption(scene, trigger=trigger),
            negative="",
            score_text=caption(scene),
            face=True,
            subject=True,
            photo=True,
        )
        for place, scene in enumerate(held_out_scenes())
    )


def seen(pictures: Sequence[Pixels], keys: Sequence[str]) -> Features:
    """Return what the scorers see. The networks look at a set once; texture is cheap and is measured each time."""
    from lorasweep.vision.describe import COLUMNS, describe

    digest = hashlib.sha256(looking().encode())
    for picture in pictures:
        digest.update(picture.tobytes())
    file = SCRATCH / "seen" / f"{digest.hexdigest()[:32]}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in COLUMNS if name != "texture"}
        return Features(keys=tuple(keys), **columns, texture=np.stack([texture(picture) for picture in pictures]))
    found = describe(pictures, scorers(), keys)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(part, **{name: getattr(found, name) for name in COLUMNS})
    part.replace(file)
    return found


@cache
def looking() -> str:
    """Return a short hash of the networks that look and of what they tell."""
    return signature({"version": LOOKING, "models": model_hashes(), "probe": answers("looking", probe())})


def probe() -> dict[str, Any]:
    """Return what the networks tell of four fixed pictures and of two texts: cosines and shares."""
    from lorasweep.vision.describe import describe

    pictures = [*Person(0).train[:3], np.full((SIDE, SIDE, 3), 128, np.uint8)]
    told = describe(pictures, scorers(), [f"probe{place}" for place in range(len(pictures))])
    texts = texts_of(scene_prompts()[:2])
    return {
        "faces": np.stack([told.face_count, told.face_size]).tolist(),
        "landmarks": np.nan_to_num(told.landmarks[:3]).tolist(),
        **{name: (vectors @ vectors.T).tolist() for name, vectors in _vectors(told).items()},
        "texts": (told.image @ texts.T).tolist(),
    }


def _vectors(told: Features) -> dict[str, np.ndarray]:
    return {"face": told.face, "image": told.image, "scene": told.scene}


@dataclass(frozen=True)
class Person:
    """A drawn person; everything of theirs is a function of ``seed``."""

    seed: int

    @cached_property
    def identity(self) -> Identity:
        return sample_identity(np.random.default_rng([STREAM, self.seed]))

    @cached_property
    def other(self) -> Identity:
        """Return another person, always the same."""
        return sample_identity(np.random.default_rng([STREAM, self.seed, 1]))

    @cached_property
    def train_scenes(self) -> list[tuple[Scene, int]]:
        rng = np.random.default_rng([STREAM, self.seed, 2])
        return [(sample_scene(rng, sketches=0.0), int(rng.integers(2**31))) for _ in range(TRAIN)]

    @cached_property
    def train(self) -> list[Pixels]:
        return [taken(self.identity, scene, jitter) for scene, jitter in self.train_scenes]

    @cached_property
    def train_boxes(self) -> list[np.ndarray]:
        """Return [4] of each training photo's face, in pixels."""
        return [face_box(self.identity, scene, SIDE, jitter) for scene, jitter in self.train_scenes]

    def held_out(self, who: Identity | None = None) -> list[Pixels]:
        """Return photos in the held-out scenes, of ``who`` instead if given."""
        scenes = enumerate(held_out_scenes())
        return [taken(who or self.identity, scene, 1000 * self.seed + place) for place, scene in scenes]

    def pictures(self, who: Identity | None = None, *, take: int = 0, shift: int = 0) -> list[Pixels]:
        """Return what a perfect checkpoint draws: the person (or ``who``) as the sheet asks, strangers without the
        trigger.

        Args:
            take: another number is another shot of the same scene.
            shift: draws the scene of the prompt that many places further instead.
        """
        drawn, prompts = [], sheet_prompts()
        for place, prompt in enumerate(prompts):
            scene = scene_of(prompts[(place + shift) % len(prompts)])
            for seed in range(2):
                jitter = 100 * self.seed + 2 * place + seed + 50 * take + 7_000_000
                stranger = sample_identity(np.random.default_rng([STREAM, self.seed, 3, seed]))
                drawn.append(taken((who or self.identity) if prompt.subject else stranger, scene, jitter))
        return drawn

    @property
    def sheet_seeds(self) -> tuple[int, int]:
        return 10 * self.seed, 10 * self.seed + 1

    def base(self, take: int = 0) -> list[Pixels]:
        """Return the base model's samples on the sheet, two seeds; another ``take`` has other seeds."""
        return base_samples(sheet_prompts(), tuple(seed + 2 * take for seed in self.sheet_seeds))

    @cached_property
    def evidence(self) -> Evidence:
        """Return what a run would compare its sheets with."""
        prompts, keys = sheet_prompts(), [f"train{n}" for n in range(TRAIN)]
        return Evidence(
            prompts=prompts,
            seeds=self.sheet_seeds,
            texts=texts_of(prompts),
            train=seen(self.train, keys),
            held_out=seen(self.held_out(), [f"held{n}" for n in range(SCENES)]),
            base=seen(self.base(), self.keys),
            mirrored=seen([np.ascontiguousarray(picture[:, ::-1]) for picture in self.train], keys),
        )

    @cached_property
    def evidence_of_scenes(self) -> Evidence:
        """Return the same for a sheet whose prompts are the held-out photos' scenes, one seed."""
        prompts, seed = scene_prompts(), 10 * self.seed + 9
        keys = [f"{prompt.key}/{seed}" for prompt in prompts]
        base = seen(base_samples(prompts, (seed,)), keys)
        return replace(self.evidence, prompts=prompts, seeds=(seed,), texts=texts_of(prompts), base=base)

    @property
    def keys(self) -> list[str]:
        """Return the keys of the sheet's samples, prompt-major."""
        return [f"{prompt.key}/{seed}" for prompt in sheet_prompts() for seed in self.sheet_seeds]


def taken(who: Identity, scene: Scene, jitter: int) -> Pixels:
    return np.asarray(render(who, scene, SIDE, jitter))


def scene_of(prompt: Prompt) -> Scene:
    """Return the scene that the words ask for; what they leave open is ordinary."""
    return Scene(**asked_in(prompt.score_text))


@cache
def texts_of(prompts: tuple[Prompt, ...]) -> np.ndarray:
    from lorasweep.vision.describe import describe_texts

    return describe_texts([prompt.score_text for prompt in prompts], scorers())


@cache
def base_family() -> Any:
    from lorasweep.models import load_family

    return load_family(the_run().model, the_run().hardware)


def base_samples(prompts: tuple[Prompt, ...], seeds: tuple[int, ...]) -> list[Pixels]:
    """Draw as a run draws its base model, once."""
    from lorasweep.records import Checkpoint
    from lorasweep.train.sample import Sheet, draw_checkpoint, picture_name

    sheet = Sheet(prompts=prompts, seeds=seeds, look=the_run().sample, resolution=SIDE)
    words = [prompt.text for prompt in prompts]
    folder = SCRATCH / "base" / signature({"words": words, "models": model_hashes()})
    drawn = folder / "step-000000"
    if not all((drawn / picture_name(*cell)).exists() for cell in sheet.cells):
        draw_checkpoint(
            base_family(), Checkpoint(trial="base", step=0, epoch=0.0, path=None, sha256=None), sheet, folder
        )
    return [np.asarray(Image.open(drawn / picture_name(*cell)).convert("RGB")) for cell in sheet.cells]
