"""The seam behind which every network that looks at pictures stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lorasweep.data.pictures import Pixels
from lorasweep.records import Floats

GRAY = 128


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one embedder saw in N pictures."""

    vectors: Floats
    """[N, D] unit vectors; zero where there was nothing to look at."""
    count: NDArray[np.int64]
    """[N] faces found."""
    boxes: Floats
    """[N, 4] left, top, right, bottom of the largest face as shares of width and height; NaN without one."""
    landmarks: Floats
    """[N, 5, 2] left eye, right eye, nose, mouth left, mouth right as shares of the sides; NaN without a face."""
    others: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """[N, D] unit vectors of the second largest face, zero without one; [0, 0] where the embedder sees one at most."""


class Embedder(Protocol):
    """Finds the largest face in each picture and turns it into a vector that is closer for the same person."""

    sha256: str
    """Of the weights: two embedders with different hashes measure in different units."""

    def look(self, pictures: Sequence[Pixels]) -> Seen:
        """``pictures`` are [H, W, 3] uint8, of any sizes."""
        ...


class WholePictures(Protocol):
    """Turns each picture, background and all, into a vector that is closer for the same thing."""

    sha256: str
    """Of the weights, and of how pictures are cut for them."""

    def pictures(self, pictures: Sequence[Pixels]) -> Floats:
        """[N, D] unit vectors of [H, W, 3] uint8 pictures."""
        ...


def nobody(count: int) -> Seen:
    """What is seen of ``count`` pictures where no face is looked for."""
    return Seen(
        vectors=np.zeros((count, 0)),
        count=np.zeros(count, dtype=np.int64),
        boxes=np.full((count, 4), np.nan),
        landmarks=np.full((count, 5, 2), np.nan),
    )


def face_size(seen: Seen, pictures: Sequence[Pixels]) -> Floats:
    """[N] side of the face's box (root of its area) as a share of the picture's shorter side; 0 without a face."""
    sides = np.array([picture.shape[1::-1] for picture in pictures], dtype=np.float64).reshape(-1, 2)
    pixels = np.nan_to_num(seen.boxes[:, 2:] - seen.boxes[:, :2]).clip(0) * sides
    return np.sqrt(pixels.prod(axis=1)) / sides.min(axis=1)


def mask_faces(pictures: Sequence[Pixels], boxes: Floats) -> list[Pixels]:
    """The pictures with each face's box, grown by a fifth, painted gray: what is left is the scene."""
    masked = []
    for picture, box in zip(pictures, boxes, strict=True):
        scene = picture.copy()
        if not np.isnan(box).any():
            grow = 0.1 * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
            scale = np.tile(picture.shape[1::-1], 2)
            left, top, right, bottom = np.round((box + grow).clip(0, 1) * scale).astype(int)
            scene[top:bottom, left:right] = GRAY
        masked.append(scene)
    return masked


def unit(vectors: Floats) -> Floats:
    """[N, D] divided by their lengths; zero rows stay zero."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
