"""What the scorers, a second face network and the oracle see in the samples of a trajectory.

All of it is Python on the CPU, a portion of samples per process. `benchmarks.picker.shards` makes their latents.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker.packing import pack, pack_features
from benchmarks.picker.shards import Plan, identity_of, sheet_of

ORACLE = ("quality", "distance", "scene_match", "residual", "copy")
"""The fields of an oracle's reading that are kept."""


@dataclass(frozen=True)
class Portion:
    """Some samples of one run, or of the base model, that are looked at in one go."""

    person: int
    run: str
    start: int
    stop: int


def portions(plan: Plan, person: int, size: int = 96) -> list[Portion]:
    """Return all that `sample` left of a person."""
    with np.load(plan.latents(person)) as stored:
        counts = {name: len(stored[name]) for name in ("base", *plan.runs)}
    return [
        Portion(person, name, start, min(start + size, count))
        for name, count in counts.items()
        for start in range(0, count, size)
    ]


@dataclass(frozen=True)
class Looked:
    """What was seen in a portion by scorers, second face network and oracle; NaN if the oracle was not asked."""

    features: Any
    confirm: np.ndarray
    oracle: Mapping[str, np.ndarray]


def decoded(plan: Plan, person: int, run: str, places: slice) -> list[np.ndarray]:
    """Return [h, w, 3] uint8 samples from what `sample` left, checkpoint by checkpoint, in the order of the sheet."""
    import torch

    from lorasweep.models.autoencoder import decode

    with np.load(plan.latents(person)) as stored, torch.no_grad():
        latents = stored[run][places] * stored[f"{run} unit"][places].astype(np.float32)
        return list(decode(_decoder(), torch.tensor(latents)).numpy())


def look(plan: Plan, portion: Portion) -> Looked:
    """Decode some samples and describe them; the oracle reads those that should show the subject."""
    from benchmarks.world.oracle import asked_in, load_oracle
    from lorasweep.run.entries import dataset_of
    from lorasweep.vision.describe import describe

    pictures = decoded(plan, portion.person, portion.run, slice(portion.start, portion.stop))
    cells = sheet_of(plan.config(plan.first)).cells
    own = [cells[place % len(cells)] for place in range(portion.start, portion.stop)]
    identity = identity_of(portion.person)
    photos = dataset_of(plan.config(plan.first, plan.photos(portion.person))).train
    training = [_pixels(photo.path) for photo in photos]
    oracle = {name: np.full(len(pictures), np.nan) for name in ORACLE}
    for row, (picture, (prompt, seed)) in enumerate(zip(pictures, own, strict=True)):
        if prompt.subject and seed in plan.read_seeds:
            found = load_oracle().judge(picture, identity, asked_in(prompt.text), training)
            for name in ORACLE:
                oracle[name][row] = getattr(found, name)
    features = describe(pictures, scorers(), [f"{prompt.key}/{seed}" for prompt, seed in own])
    return Looked(features, _confirm().look(pictures).vectors, oracle)


def shard_of(plan: Plan, person: int, looked: Mapping[Portion, Looked]) -> dict[str, Any]:
    """Return all that is kept of a person."""
    from lorasweep.evaluate.dvar import dvar_step
    from lorasweep.vision.describe import describe_texts

    run = plan.config(plan.first, plan.photos(person))
    with np.load(plan.latents(person)) as stored:
        facts = json.loads(str(stored["facts"]))
    seen = {
        name: _joined([found for part, found in looked.items() if part.run == name]) for name in ("base", *plan.runs)
    }
    prompts = sheet_of(run).prompts
    runs = {
        name: {**losses, "dvar_step": dvar_step(*zip(*losses["fixed_batch"], strict=True)), **seen[name]}
        for name, losses in facts["losses"].items()
    }
    return {
        "person": person,
        "made_with": plan.ingredients(),
        "machine": facts["machine"],
        "prompts": [asdict(prompt) for prompt in prompts],
        "seeds": list(run.sample.seeds),
        "texts": pack(describe_texts([prompt.score_text for prompt in prompts], scorers()), unit=True),
        **_photos(run),
        "base": seen["base"]["features"],
        "base_seen": seen["base"]["seen"],
        "runs": runs,
    }


def _joined(parts: Sequence[Looked]) -> dict[str, Any]:
    from lorasweep.records import Features

    columns = {
        part.name: np.concatenate([getattr(each.features, part.name) for each in parts])
        for part in fields(Features)
        if part.name != "keys" and getattr(parts[0].features, part.name) is not None
    }
    keys = tuple(key for each in parts for key in each.features.keys)
    oracle = {name: pack(np.concatenate([each.oracle[name] for each in parts])) for name in ORACLE}
    confirm = pack(np.concatenate([each.confirm for each in parts]), unit=True)
    return {"features": pack_features(Features(keys=keys, **columns)), "seen": {**oracle, "confirm": confirm}}


def _photos(run: Any) -> dict[str, Any]:
    """Return what scorers and second face network see in the subject's photos."""
    from lorasweep.run.entries import dataset_of
    from lorasweep.vision.describe import describe

    dataset = dataset_of(run)
    train, held_out = ([_pixels(each.path) for each in photos] for photos in (dataset.train, dataset.held_out))
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in train]
    parts = {"train": train, "mirrored": mirrored, "held_out": held_out}
    names = {"held_out": [each.path.name for each in dataset.held_out]}
    own = [each.path.name for each in dataset.train]
    features = {
        part: pack_features(describe(pictures, scorers(), names.get(part, own))) for part, pictures in parts.items()
    }
    confirm = {part: pack(_confirm().look(pictures).vectors, unit=True) for part, pictures in parts.items()}
    return {**features, "confirm": confirm}


# A process looks at many portions: what they share is opened once.


@functools.cache
def _run() -> Any:
    from lorasweep.config.compose import load_run

    return load_run(["preset=person_portraits", "data.path=photos"])


@functools.cache
def scorers() -> Any:
    """Return who scores drawn people."""
    from lorasweep.vision.describe import open_scorers

    return open_scorers(_run().evaluate)


@functools.cache
def _decoder() -> Any:
    from lorasweep.models import load_family

    return load_family(_run().model, _run().hardware).vae  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def _confirm() -> Any:
    from lorasweep.vision.describe import shipped_weights
    from lorasweep.vision.faces import PortraitFaces

    return PortraitFaces(shipped_weights(), "face_confirm")


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))
