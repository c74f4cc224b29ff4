"""The oracle: how good an image of a known drawn person is, by analysis and synthesis. No scorer may use it.

Readers estimate who is in the image, in which scene and pose. That estimate is drawn again, its pose, shapes and
colours are moved a little until the drawing fits best, and the difference that is left is the residual.
The formula, version 1:

    likeness  = clip((stranger - distance) / (stranger - same), 0, 1)  distance = identity_distance(true, read)
    scene     = mean, over the attributes that the prompt names, of the readers' probability of the word asked for
    soundness = exp(-max(0, residual - clean) / tolerance)
    copy      = clip((fresh - nearest) / (fresh - pasted), 0, 1)       nearest = least difference to a training photo
    quality   = likeness^0.4 * scene^0.2 * soundness^0.4 * (1 - copy / 2)

`same` and `clean` are what renders themselves read as, `stranger` is the mean distance of two people, `tolerance` is
the residual added by faults of strength 3 on renders, `pasted` and `fresh` are the differences between an image and its
own softened copy, and between two photos of one person in one scene. All of them were measured on renders, never on
images that a LoRA drew, and are part of `oracle_signature`. A distance below `same` counts as full likeness, so the
smallest of six blends with another person is not ordered (Spearman 0.943 over 32 renders, the goal being 0.95).

The residual compares after a 3×3 blur and forgives shifts of one pixel, since an autoencoder is soft and a reading is
not exact: the mean over the image, the middle counting three times, of the differences in colour, in brightness steps,
and in the detail that a blur takes away.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.signatures import steady
from benchmarks.world.readers import (
    ATTRIBUTES,
    COLOURLESS,
    PALETTES,
    READERS,
    SHAPES,
    Readers,
    Reading,
    load_readers,
    pose_from,
)
from lorasweep.portraits.manifest import sha256
from lorasweep.portraits.people import (
    WORDS,
    Identity,
    Scene,
    caption,
    identity_distance,
    sample_identity,
    sample_scene,
)
from lorasweep.portraits.render import render, render_posed


@dataclass(frozen=True)
class OracleConstants:
    """The numbers of the formula. Changing one changes the signature, and scores before and after do not compare."""

    version: int = 1
    same: float = 0.075
    stranger: float = 0.44
    clean: float = 0.025
    tolerance: float = 0.033
    pasted: float = 0.012
    fresh: float = 0.024
    likeness_power: float = 0.4
    scene_power: float = 0.2
    soundness_power: float = 0.4


CONSTANTS = OracleConstants()
PROBE = "probe.json"
"""Beside the readers' weights: what `probe_readings` returned when the weights were committed."""
PROBED, MOVED = 64, 8
"""Fixed renders whose pixels and readings are part of the signature, and how many of them `refine` is tried on."""
PROBE_STREAM = 20264


@dataclass(frozen=True)
class OracleReading:
    """The oracle's judgement of one image."""

    quality: float
    """[0, 1], higher is better."""
    distance: float
    """To the true identity, [0, 1], 0 is the same person; strangers are about 0.44 apart."""
    scene_match: float
    """[0, 1], 1 if everything that was asked for is there."""
    residual: float
    """0 and up: what no drawing of a person explains."""
    copy: float
    """[0, 1], 1 is a copy of a training photo."""


def asked_of(scene: Scene) -> dict[str, str]:
    """Return what the full caption of a scene asks for, by attribute."""
    words = {name: word for name, word in asdict(scene).items() if (name, word) not in UNSAID}
    if scene.style == "sketch":
        return {name: word for name, word in words.items() if name not in (*COLOURLESS, "framing")}
    return words


UNSAID = (("light", "normal"), ("framing", "portrait"), ("accessory", "none"))
"""Words that captions leave out, so that a prompt without them asks for nothing."""


def asked_in(prompt: str) -> dict[str, str]:
    """Return what a prompt in the words of `people.caption` asks for, by attribute; other words ask for nothing."""
    asked = {}
    for name in ("background", "shirt"):
        found = re.search(rf"\b({'|'.join(ATTRIBUTES[name])}) {name}\b", prompt)
        if found:
            asked[name] = found[1]
    for name, options in ATTRIBUTES.items():
        for word in options:
            if any(phrase in prompt for phrase in WORDS.get(word, ())) and name not in ("background", "shirt"):
                asked[name] = word
    heads = (
        ("framing", "close-up", "close-up"),
        ("framing", "wide", r"wide (photo|portrait|shot)"),
        ("style", "sketch", "sketch"),
        ("style", "photo", "photo"),
    )
    return asked | {name: word for name, word, form in heads if re.search(rf"\b{form}\b", prompt)}


def soft(picture: np.ndarray) -> np.ndarray:
    """Return [h, w, 3] float32 in [0, 1] after a 3×3 binomial blur, edges repeated."""
    padded = np.pad(picture.astype(np.float32) / 255, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4


def _middle(side: int) -> np.ndarray:
    """Return [side, side] weights of mean 1: the middle, where the head is, counts three times the rim."""
    place = (np.arange(side) + 0.5) / side - 0.5
    weight = 1 + 2 * np.exp(-(place[None] ** 2 + place[:, None] ** 2) / (2 * 0.2**2))
    return (weight / weight.mean()).astype(np.float32)


def _features(picture: np.ndarray) -> np.ndarray:
    """Return [h, w, 6]: colours, brightness steps to the right and down, and the detail that a blur takes away."""
    smooth = soft(picture)
    gray = smooth.mean(2)
    across, down = np.gradient(gray, axis=1), np.gradient(gray, axis=0)
    lost = np.abs(picture.astype(np.float32) / 255 - smooth).mean(2)
    detail = soft(np.repeat(lost[..., None] * 255, 3, 2))[..., 0]
    return np.concatenate([smooth / 3, np.stack([across, down, detail], 2)], 2)


def residual_between(picture: np.ndarray, drawing: np.ndarray) -> float:
    """Return how much of `picture` the `drawing` leaves unexplained, both uint8 [s, s, 3]; 0 if they are equal."""
    seen, made = _features(picture), _features(drawing)
    side = seen.shape[0]
    padded = np.pad(made, ((1, 1), (1, 1), (0, 0)), mode="edge")
    shifted = [padded[y : y + side, x : x + side] for y in range(3) for x in range(3)]
    # Colour and steps forgive a shift together, detail has no place to be forgiven.
    gaps = np.stack([np.abs(seen[..., :5] - other[..., :5]).sum(2) for other in shifted])
    detail = np.abs(seen[..., 5] - made[..., 5])
    return float((_middle(side) * (gaps.min(0) + detail)).mean())


def _difference(picture: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of two softened images in colour, the middle counting more."""
    return float((_middle(picture.shape[0])[..., None] * np.abs(soft(picture) - soft(other))).mean())


def refine(reading: Reading, picture: np.ndarray) -> tuple[Reading, np.ndarray]:
    """Move pose, shapes and colours of a reading if that brings its drawing nearer; return the reading and its drawing.

    One pass of two tries for each of 22 numbers, then one finer pass over the pose: about 60 drawings. For a sketch the
    tones of background and shirt come first.
    """
    side = picture.shape[0]
    aim, weight = soft(picture), _middle(picture.shape[0])[..., None]

    def draw(state: Reading) -> tuple[float, np.ndarray]:
        image = render_posed(state.identity, state.scene, pose_from(state.scene, state.pose), side)
        drawing = np.asarray(image)
        return float((weight * np.abs(soft(drawing) - aim)).mean()), drawing

    best, least, drawing = reading, *draw(reading)
    for alternatives in _moves(reading.scene.style):
        for change in alternatives:
            trial = change(best)
            gap, candidate = draw(trial)
            if gap < least:
                best, least, drawing = trial, gap, candidate
                break
    return best, drawing


Change = Callable[[Reading], Reading]


def _moves(style: str) -> list[tuple[Change, ...]]:
    """Return what is tried in turn, each with its alternatives, of which the first that helps is kept.

    A sketch has no colours to read: drawing it in the colours guessed left a residual of 0.13 on flawless sketches,
    five times that of photos. So its tones of gray are tried first, word by word.
    """
    words = [(name, word) for name in ("background", "shirt") for word in ATTRIBUTES[name]] if style == "sketch" else []
    numbers = [*((place, 0.3) for place in range(7)), *((name, 0.03) for name in PALETTES)]
    numbers += [*((name, 0.1) for name in SHAPES), *((place, 0.12) for place in range(7))]
    tones = [(functools.partial(_toned, name=name, word=word),) for name, word in words]
    return [*tones, *(tuple(functools.partial(_moved, name=n, step=s) for s in (step, -step)) for n, step in numbers)]


def _toned(reading: Reading, name: str, word: str) -> Reading:
    """Return the reading with another background or shirt."""
    return replace(reading, scene=replace(reading.scene, **{name: word}))


def _moved(reading: Reading, name: int | str, step: float) -> Reading:
    """Return the reading with one number of its pose or identity moved by `step`."""
    if isinstance(name, int):
        pose = reading.pose.copy()
        pose[name] += step
        return replace(reading, pose=pose)
    value = min(max(getattr(reading.identity, name) + step, 0.0), 1.0)
    return replace(reading, identity=replace(reading.identity, **{name: value}))


def distance_to(identity: Identity, reading: Reading) -> float:
    """Return the distance of the person read to the true one; colours do not count in a sketch, which has none."""
    read = reading.identity
    if reading.scene.style == "sketch":
        read = replace(read, **{name: getattr(identity, name) for name in PALETTES})
    return identity_distance(identity, read)


def soundness_of(residual: np.ndarray | float, constants: OracleConstants = CONSTANTS) -> np.ndarray:
    """Return in [0, 1] how sound an image with this residual is, element by element; 1 up to `clean`."""
    return np.exp(-np.maximum(0.0, np.asarray(residual) - constants.clean) / constants.tolerance)


def combine(
    distance: float, scene_match: float, residual: float, nearest: float | None, constants: OracleConstants = CONSTANTS
) -> OracleReading:
    """Return the formula at the top of this module; `nearest` is the difference to the nearest training photo, if
    any."""
    k = constants
    likeness = min(max((k.stranger - distance) / (k.stranger - k.same), 0.0), 1.0)
    soundness = float(soundness_of(residual, k))
    copy = 0.0 if nearest is None else min(max((k.fresh - nearest) / (k.fresh - k.pasted), 0.0), 1.0)
    quality = likeness**k.likeness_power * scene_match**k.scene_power * soundness**k.soundness_power * (1 - copy / 2)
    return OracleReading(quality, distance, scene_match, residual, copy)


@dataclass(frozen=True)
class Oracle:
    """Readers and constants together."""

    readers: Readers
    constants: OracleConstants = CONSTANTS

    def judge(
        self,
        picture: np.ndarray,
        identity: Identity,
        scene_asked: Scene | Mapping[str, str],
        training_pictures: Sequence[np.ndarray] | None = None,
    ) -> OracleReading:
        """Judge one uint8 [64, 64, 3] image against the person and the scene it was meant to show.

        Args:
            scene_asked: only what the prompt names, word by attribute (see `asked_in`), or a scene whose full caption
                was the prompt.
            training_pictures: uint8 [64, 64, 3] each; an image that repeats one of them loses up to half its quality.

        Raises:
            ValueError: if the image has another shape, or an attribute or word is not one of `ATTRIBUTES`.
        """
        if picture.shape != (64, 64, 3) or picture.dtype != np.uint8:
            raise ValueError(f"picture is {picture.dtype} {picture.shape}, expected uint8 [64, 64, 3]")
        asked = asked_of(scene_asked) if isinstance(scene_asked, Scene) else dict(scene_asked)
        for name, word in asked.items():
            if word not in ATTRIBUTES.get(name, ()):
                accepted = ATTRIBUTES.get(name, tuple(ATTRIBUTES))
                raise ValueError(f"scene_asked has {name}={word!r}, expected one of {', '.join(accepted)}")
        first = self.readers.read(picture[None])[0]
        return _told(picture, identity, asked, first, refine(first, picture), training_pictures or (), self.constants)


def _told(
    picture: np.ndarray,
    identity: Identity,
    asked: Mapping[str, str],
    first: Reading,
    fitted: tuple[Reading, np.ndarray],
    training: Sequence[np.ndarray],
    constants: OracleConstants,
) -> OracleReading:
    """Return the formula's word on a picture, of what was read first and of the reading and drawing that fit it."""
    reading, drawing = fitted
    match = float(np.mean([first.chances[name][word] for name, word in asked.items()])) if asked else 1.0
    nearest = min((_difference(picture, other) for other in training), default=None)
    residual = residual_between(picture, drawing)
    return combine(distance_to(identity, reading), match, residual, nearest, constants)


@functools.cache
def load_oracle(folder: Path = READERS) -> Oracle:
    """Return the oracle over the committed readers."""
    return Oracle(load_readers(folder))


def oracle_quality(
    picture: np.ndarray,
    identity: Identity,
    scene_asked: Scene | Mapping[str, str],
    training_pictures: Sequence[np.ndarray] | None = None,
) -> OracleReading:
    """Return `Oracle.judge` of the committed oracle."""
    return load_oracle().judge(picture, identity, scene_asked, training_pictures)


def oracle_signature(folder: Path = READERS, constants: OracleConstants = CONSTANTS) -> str:
    """Return a sha256 of the oracle's ingredients and answers, not of its source: only scores of equal ones compare.

    It covers the constants, the readers' weights, the pixels of fixed renders and what is read on them.
    """
    pixels, readings = probe(folder)
    weights = sha256(folder / "readers" / "model.safetensors")
    facts = {"constants": asdict(constants), "readers": weights, "pixels": pixels, "readings": readings}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@functools.cache
def probe(folder: Path = READERS) -> tuple[str, Any]:
    """Return the sha256 of the fixed renders' pixels, and what is read on them, freed of noise; takes some seconds."""
    file = folder / "readers" / PROBE
    committed = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    pictures, subjects = probe_renders()
    readings = probe_readings(load_readers(folder), pictures, subjects)
    return hashlib.sha256(pictures.tobytes()).hexdigest(), steady(readings, committed)


def probe_renders() -> tuple[np.ndarray, list[tuple[Identity, Scene]]]:
    """Return PROBED fixed pictures, uint8 [n, 64, 64, 3], and who is in them in which scene."""
    rngs = [np.random.default_rng([PROBE_STREAM, place]) for place in range(PROBED)]
    subjects = [(sample_identity(rng), sample_scene(rng)) for rng in rngs]
    return np.stack([np.asarray(render(*each, 64, place)) for place, each in enumerate(subjects)]), subjects


def probe_readings(
    readers: Readers, pictures: np.ndarray, subjects: Sequence[tuple[Identity, Scene]]
) -> list[list[float]]:
    """Return rows of quality, distance, scene match, residual, copy and mean pose: of every image as it is read, and of
    the first MOVED after `refine`.

    Drawings are of readings that lie beside the truth. Drawings of what is read would jump: palettes have 256 places,
    and noise decides between two of them, or between two moves that are equally good.
    """
    rows = []
    for place, (picture, (who, scene), first) in enumerate(
        zip(pictures, subjects, readers.read(pictures), strict=True)
    ):
        near = _beside(who, scene)
        drawn = np.asarray(render_posed(near.identity, scene, pose_from(scene, near.pose), 64))
        fits = [(first, drawn)] + ([refine(near, picture)] if place < MOVED else [])
        asked, darker = asked_in(caption(scene, trigger="s1lv10")), (picture * 0.97).astype(np.uint8)
        for fit in fits:
            told = _told(picture, who, asked, first, fit, [darker], CONSTANTS)
            rows.append([*asdict(told).values(), float(fit[0].pose.mean())])
    return rows


def _beside(identity: Identity, scene: Scene) -> Reading:
    """Return a reading that is a little wrong in every number."""
    reading = Reading(identity, scene, np.zeros(7), {})
    for place, name in enumerate((*PALETTES, *SHAPES)):
        reading = _moved(reading, name, -0.06 if place % 2 else 0.06)
    return reading
