"""The seam behind which every network that looks at images stands: its protocols, and how its weights are checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lorasweep.data.hashes import file_sha256
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats

GRAY = 128
"""What masked faces are painted with, 0 to 255."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one embedder saw in N images."""

    vectors: Floats
    """[N, D] unit vectors; zero without a face."""
    count: NDArray[np.int64]
    """[N] faces found."""
    boxes: Floats
    """[N, 4] left, top, right, bottom of the largest face as shares of width and height; NaN without one."""
    landmarks: Floats
    """[N, 5, 2] left eye, right eye, nose, mouth left, mouth right as shares of the sides; NaN without a face."""
    others: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """[N, D] unit vectors of the second largest face, zero without one; [0, 0] where the embedder sees one at most."""


class Embedder(Protocol):
    """Finds the largest face in each image and turns it into a vector; those of one person have a larger cosine."""

    sha256: str
    """Of the weights: two embedders with different hashes measure in different units."""

    def look(self, pictures: Sequence[Pixels]) -> Seen:
        """Return what is seen in N images, [H, W, 3] uint8 of any sizes."""
        ...


class WholePictures(Protocol):
    """Turns each whole image, background included, into a vector; those of one thing have a larger cosine."""

    sha256: str
    """Of the weights, and of how images are cropped for them."""

    def pictures(self, pictures: Sequence[Pixels]) -> Floats:
        """Return [N, D] unit vectors of N images, [H, W, 3] uint8."""
        ...


def nobody(count: int) -> Seen:
    """Return what is seen in ``count`` images if no face is looked for."""
    return Seen(
        vectors=np.zeros((count, 0)),
        count=np.zeros(count, dtype=np.int64),
        boxes=np.full((count, 4), np.nan),
        landmarks=np.full((count, 5, 2), np.nan),
    )


def face_size(seen: Seen, pictures: Sequence[Pixels]) -> Floats:
    """Return [N] side of the face's box (root of its area) as a share of the image's shorter side; 0 without a face."""
    sides = np.array([picture.shape[1::-1] for picture in pictures], dtype=np.float64).reshape(-1, 2)
    pixels = np.nan_to_num(seen.boxes[:, 2:] - seen.boxes[:, :2]).clip(0) * sides
    return np.sqrt(pixels.prod(axis=1)) / sides.min(axis=1)


def mask_faces(pictures: Sequence[Pixels], boxes: Floats) -> list[Pixels]:
    """Return the images with each face's box, grown by a fifth, painted gray: what is left is the scene."""
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
    """Return [N, D] vectors divided by their lengths; zero rows stay zero."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def checked_sha256(path: Path, expected: str | None, key: str) -> str:
    """Return the sha256 of a weights file.

    Args:
        expected: in hex; None accepts any.
        key: what names ``path`` in the configuration, for errors; ``{key}_sha256`` names ``expected``.

    Raises:
        UserError: the file is missing, or its hash is not ``expected``.
    """
    if not path.is_file():
        raise UserError(f"{key} is {str(path)!r}, which does not exist; it must be a local weights file.")
    found = file_sha256(path)
    if expected and found != expected.lower():
        raise UserError(f"{key} is {str(path)!r}, whose sha256 is {found}; {key}_sha256 says {expected}.")
    return found


def require_whole(model: Any, found: Mapping[str, Any]) -> None:
    """Raise ValueError if not all weights of a torch module were in its file, by transformers' ``loading_info``."""
    # transformers fills missing weights with random numbers and says so only in its log, which we silence
    needed = {name for name, _ in model.named_parameters()}
    for key in (*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])):
        if key in needed:
            raise ValueError(f"{key} is missing or has another shape")


def first_sentence(error: Exception) -> str:
    """Return what an error says first, 200 characters at most, without a full stop."""
    # libraries go on with links and advice that do not fit into our one sentence
    return re.split(r"\.\s|\n", str(error).strip())[0][:200].removesuffix(".")
