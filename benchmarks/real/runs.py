"""The real runs as committed numbers, and as records that every score and every pick rule can read.

No vector of a person is committed. What a score reads of a face is its mean cosine to the reference photos, and that is
kept exactly by vectors of four numbers: the reference photos' mean lies at [c, 0, 0, 0], a picture that has the mean
cosine m to the photos lies at [m / c, 0, 0, sqrt(1 - (m / c)²)], and photo i lies at [a, b, d, 0] so that its mean
cosine to the others is its own and that all 16 sum up to the mean. What depends on a picture's nearness to one photo
(copying) is not in these vectors: a picture is as near to each photo as its likeness to the mean says.

No CLIP weights could be had where this was measured: images and texts have one number, 1, and prompt is not judged.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker.packing import pack, unpack
from benchmarks.real.grids import CHECKPOINTS, KINDS, Row, base_name
from lorasweep.records import TEXTURE, Evidence, Features, Floats, Prompt
from lorasweep.vision.strangers import turned_shapes

RESULTS = Path(__file__).parents[1] / "results" / "real.json"
LABELS = Path(__file__).with_name("labels.json")
STEPS = tuple(range(1, CHECKPOINTS + 1))
"""Checkpoints are evenly spaced; their numbers stand for steps."""
WIDE = ("texture", "skin", "extra", "cheeks", "landmarks", "box")
FLAT = ("count", "chance", "likeness")
"""Fields of ``Seen`` that are packed in 16 bits: [N, ...] and [N]."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The numbers of N pictures, as ``benchmarks.real.look`` explains them. NaN where there is no face."""

    texture: Floats
    skin: Floats
    extra: Floats
    cheeks: Floats
    landmarks: Floats
    box: Floats
    count: Floats
    chance: Floats
    likeness: Floats
    """[N] mean cosine to the reference photos; of a reference photo to the others."""
    colours: Floats
    """[N, 8, 8, 3] mean L*, a*, b* of each field."""

    @property
    def face_size(self) -> Floats:
        """[N] root of the box's area as a share of the picture's side, 0 without a face."""
        sides = np.nan_to_num(self.box[:, 2:] - self.box[:, :2])
        return np.sqrt(sides.prod(axis=1).clip(0))

    def take(self, rows: Any) -> "Seen":
        """Return the pictures in ``rows``."""
        return Seen(**{name: getattr(self, name)[rows] for name in (*WIDE, *FLAT, "colours")})


@dataclass(frozen=True, kw_only=True)
class Label:
    """What one person said of a run from contact sheets, before any score was computed."""

    name: str
    words: str
    """A letter a checkpoint: U under-trained, u on the way, G good, o over by a little, O over or broken."""
    why: str
    """A letter a checkpoint: . nothing, i identity, a artifact, p prompt ignored or props of the photos, g geometry."""
    pick: int
    """The latest checkpoint that a careful person would take, 0 for none."""


@dataclass(frozen=True, kw_only=True)
class RealRun:
    """One run of 10 checkpoints with four pictures each: two base models that draw, each on two prompts."""

    row: Row
    seen: Seen
    """[40] checkpoint by checkpoint, in the order of KINDS."""
    base: Seen
    """[4] of the base model, same prompts and seeds."""
    photos: Seen
    """[16] reference photos; all were trained on."""
    length: float
    """Length c of the mean of the reference photos' unit vectors: c² is the mean cosine of all pairs, each photo with
    itself among them."""
    label: Label | None

    @property
    def name(self) -> str:
        return self.label.name if self.label else self.row.key

    @property
    def evidence(self) -> Evidence:
        """Return the evidence that every checkpoint of this run is scored against."""
        return Evidence(
            prompts=PROMPTS,
            seeds=(0,),
            texts=np.ones((len(PROMPTS), 1)),
            train=_photo_features(self.photos, self.length),
            held_out=_photo_features(self.photos.take(slice(0)), self.length),
            base=_features(self.base, self.length, KEYS),
            shapes=turned_shapes(),
        )

    @property
    def sheets(self) -> tuple[Features, ...]:
        """Return what was seen in each checkpoint's sheet."""
        places = (slice(place, place + len(KINDS)) for place in range(0, CHECKPOINTS * len(KINDS), len(KINDS)))
        return tuple(_features(self.seen.take(rows), self.length, KEYS) for rows in places)


@dataclass(frozen=True, kw_only=True)
class RealRuns:
    """All that was measured."""

    runs: tuple[RealRun, ...]
    strengths: Seen
    """[16] pictures of one prompt and seed at a strength of 0, 0.1 ... 1.5; the first is the base model's."""
    photos: Seen
    length: float

    def at_strength(self, place: int) -> tuple[Features, Evidence]:
        """Return sheet and evidence of the picture at STRENGTHS[place], with the one at 0 for the base model's."""
        keys = (f"strength/{place}",)
        evidence = Evidence(
            prompts=(_prompt("strength"),),
            seeds=(place,),
            texts=np.ones((1, 1)),
            train=_photo_features(self.photos, self.length),
            held_out=_photo_features(self.photos.take(slice(0)), self.length),
            base=_features(self.strengths.take(slice(0, 1)), self.length, keys),
        )
        return _features(self.strengths.take(slice(place, place + 1)), self.length, keys), evidence


def read_runs(path: Path = RESULTS) -> RealRuns:
    """Return the committed runs, labelled ones first."""
    found = json.loads(path.read_text(encoding="utf-8"))
    columns = found["texture"]
    photos, strengths = (unpack_seen(found[name], columns) for name in ("photos", "strengths"))
    bases = {name: unpack_seen(packed, columns) for name, packed in found["bases"].items()}
    known = labels()
    runs = []
    for key, packed in found["runs"].items():
        category, *group, number = key.split("/")
        row = Row(category, group[0] if group else "", int(number))
        base = bases[base_name(row)]
        parts = {"seen": unpack_seen(packed, columns), "base": base, "photos": photos, "length": found["length"]}
        runs.append(RealRun(row=row, label=known.get(row), **parts))
    runs.sort(key=lambda run: run.label is None)
    return RealRuns(runs=tuple(runs), strengths=strengths, photos=photos, length=found["length"])


def labels(path: Path = LABELS) -> dict[Row, Label]:
    """Return the labels by where their run is shown."""
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {
        Row(each["category"], each["group"], each["row"]): Label(
            name=name, words=each["label"], why=each["why"], pick=each["pick"]
        )
        for name, each in found.items()
    }


def pack_seen(seen: Seen) -> dict[str, Any]:
    """Return JSON: 16 bits a number, colours in 8."""
    packed: dict[str, Any] = {name: pack(getattr(seen, name)) for name in (*WIDE, *FLAT)}
    steps = np.round(seen.colours * (2.55, 1, 1) + (0, 128, 128)).clip(0, 255).astype(np.uint8)
    return packed | {"colours": base64.b64encode(steps.tobytes()).decode("ascii")}


def unpack_seen(packed: Mapping[str, Any], columns: list[str]) -> Seen:
    """Return the record again; a number of texture that was not measured is NaN."""
    parts = {name: unpack(packed[name]) for name in (*WIDE, *FLAT)}
    for name in ("texture", "skin"):
        parts[name] = _by_name(parts[name], columns)
    steps = np.frombuffer(base64.b64decode(packed["colours"]), dtype=np.uint8).reshape(-1, 8, 8, 3)
    return Seen(**parts, colours=(steps.astype(np.float64) - (0, 128, 128)) / (2.55, 1, 1))


def _by_name(values: Floats, columns: list[str]) -> Floats:
    unknown = np.full(len(values), np.nan)
    return np.stack([values[:, columns.index(n)] if n in columns else unknown for n in TEXTURE], axis=1)


def _prompt(key: str) -> Prompt:
    return Prompt(key=key, text=key, negative="", score_text=key, face=True, subject=True, photo=True)


PROMPTS = tuple(_prompt(kind) for kind in KINDS)
KEYS = tuple(f"{kind}/0" for kind in KINDS)


def _features(seen: Seen, length: float, keys: tuple[str, ...]) -> Features:
    shown = seen.count > 0
    along = np.where(shown, np.clip(np.nan_to_num(seen.likeness) / length, -1, 1), 0)
    face = np.zeros((len(shown), 4))
    face[:, 0], face[:, 3] = along, np.where(shown, np.sqrt(1 - along**2), 0)
    return _record(seen, face, keys)


def _photo_features(seen: Seen, length: float) -> Features:
    return _record(seen, photo_vectors(seen.likeness, length), tuple(f"photo {n}" for n in range(len(seen.count))))


def _record(seen: Seen, face: Floats, keys: tuple[str, ...]) -> Features:
    ones = np.ones((len(keys), 1))
    return Features(
        keys=keys,
        face=face,
        other_face=np.zeros_like(face),
        face_count=np.nan_to_num(seen.count).astype(np.int64),
        face_size=seen.face_size,
        landmarks=seen.landmarks,
        image=ones,
        scene=ones,
        texture=seen.texture,
        skin=seen.skin,
    )


def photo_vectors(among: Floats, length: float) -> Floats:
    """Return [N, 4] unit vectors with the mean [length, 0, 0, 0]; ``among`` [N] are their mean cosines to the others.

    Beside the first axis they close a polygon: three strings of them, as long as each other, make a triangle.
    """
    count = len(among)
    if not count:
        return np.zeros((0, 4))
    along = np.clip((1 + (count - 1) * among) / (count * length), -1, 1)
    across = np.sqrt(1 - along**2)
    strings, sides = np.zeros(count, dtype=int), np.zeros(3)
    for place in np.argsort(-across):  # the longest first, each to the string that is shortest so far
        strings[place] = np.argmin(sides)
        sides[strings[place]] += across[place]
    first, second, third = sides
    turn = [0.0, np.pi - _corner(first, second, third), np.pi + _corner(first, third, second)]
    angle = np.array(turn)[strings]
    return np.stack([along, across * np.cos(angle), across * np.sin(angle), np.zeros(count)], axis=1)


def _corner(one: float, other: float, opposite: float) -> float:
    """Return the angle between two sides of a triangle."""
    return float(np.arccos(np.clip((one**2 + other**2 - opposite**2) / (2 * one * other), -1, 1)))
