"""Drawn people for ``benchmarks.check.orientation``: photos of 512 pixels, some mirrored, and the faces in them.

The finder looks at the mirrored photo itself, as it would in a folder: its landmarks are not mirrored ones. What it
found is kept in an ignored folder, since it takes most of the time; photos are drawn again.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.check.sets import Album, clean_album
from benchmarks.printing import write_json
from benchmarks.signatures import answers, model_hashes, pixels_hash, signature
from lorasweep.portraits.people import Identity, Scene, sample_identity
from lorasweep.portraits.render import render
from lorasweep.records import Floats

SIDE = 512
UPRIGHT, MIRRORED = 31, 15
"""Photos of a person, of which sets are made: enough for a set of 30 of which half is mirrored, or none."""
PEOPLE = 12
"""People in each half."""
SEEDS = {"A": 3000, "B": 4000}
"""Seed of the first person of a half."""
FOUND = 0.01
"""Share of the side within which the finder's landmarks count as the same: it chooses between windows, and noise may
change its choice."""
FACES = 1
"""Raise it when photos or faces change in a way that `made_by` does not see."""


@dataclass(frozen=True)
class Told:
    """What the finder tells of one photo."""

    count: int
    """Faces found."""
    points: Floats
    """[5, 2] landmarks of the largest face in pixels; [0] if no face was found."""


def people(half: str, count: int = PEOPLE) -> list[int]:
    """Return the seeds of a half's people, or of the first ones."""
    return [SEEDS[half] + number for number in range(count)]


def is_mirrored(number: int) -> bool:
    """Return whether the photo is one of a person's last, mirrored ones."""
    return number >= UPRIGHT


def draw(seed: int, number: int, identity: Identity | None = None) -> Image.Image:
    """Draw one photo of a person, or of ``identity`` in the same scene; a function of its arguments."""
    album = _album(seed)
    shot = album.shots[number]
    picture = render(identity or album.identity, shot.scene, SIDE, shot.jitter)
    return ImageOps.mirror(picture) if is_mirrored(number) else picture


@cache
def _album(seed: int) -> Album:
    return clean_album(seed, UPRIGHT + MIRRORED)


def look(seed: int, kept: Path) -> list[Told]:
    """Return what the finder tells of each photo of a person, from ``kept`` if it is there."""
    file = kept / f"faces-{made_by()}" / f"{seed}.json"
    if not file.exists():
        write_json(file, [_look(np.asarray(draw(seed, number))) for number in range(UPRIGHT + MIRRORED)])
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [Told(count, np.array(points)) for count, points in rows]


def _look(picture: Any) -> tuple[int, Any]:
    found = _finder().find(picture)
    return len(found.boxes), found.landmarks[0].tolist() if len(found.boxes) else []


@cache
def _finder() -> Any:
    """Return a finder that is opened once in a process."""
    import torch

    from lorasweep.vision.describe import shipped_weights
    from lorasweep.vision.drawn_faces import DrawnFaces

    torch.set_num_threads(1)
    return DrawnFaces(shipped_weights())


@cache
def made_by() -> str:
    """Return a short hash of what the photos, and the faces found in them, depend on."""
    drawn = pixels_hash(draw(0, number) for number in (0, 1, UPRIGHT))
    found = answers("finder", faces_found(_finder().find), FOUND)
    return signature({"version": FACES, "models": model_hashes(), "pixels": drawn, "found": found})


def faces_found(find: Any) -> dict[str, Any]:
    """Return how many faces a finder sees in three fixed drawings, and the landmarks in shares of the side."""
    side, told = 256, {}
    for place, framing in enumerate(("portrait", "wide", "close-up")):
        who = sample_identity(np.random.default_rng([20265, place]))
        found = find(np.asarray(render(who, Scene(framing=framing), side, place)))
        told[framing] = [len(found.boxes), *(found.landmarks[:1] / side).ravel().tolist()]
    return told
