"""What is known of a photo before anything is judged: the cheap facts of its file, and those of the face in it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorasweep.records import Floats


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """What one decode of a photo tells."""

    path: Path
    width: int
    """Upright."""
    height: int
    mode: str
    """Pillow's name for how the file stores colour."""
    bits: int
    """Of one channel, as stored."""
    turned: bool
    """Whether EXIF turns it."""
    alpha: bool
    """Whether some of it is transparent; an alpha channel that is opaque all over does not count."""
    frames: int
    detail: float
    """Where nine tenths of its fine structure end, as a share of the finest its pixels could hold. 0 to 1."""
    hashes: NDArray[np.bool_]
    """[T, 63] perceptual hashes of the image trimmed by the shares in ``picture_facts.TRIMS``."""
    mirror_hashes: NDArray[np.bool_]
    """[T, 63] of its mirror image."""
    thumbnails: NDArray[np.uint8]
    """[T, 16, 16, 3] in RGB, trimmed likewise."""


def _no_crop() -> NDArray[np.uint8]:
    return np.zeros((0, 0), np.uint8)


@dataclass(frozen=True, kw_only=True)
class FaceFacts:
    """What a photo shows of a person. Without a face all but ``path``, sizes and ``count`` are empty or NaN."""

    path: Path
    width: int
    height: int
    count: int
    """Faces found."""
    box: Floats
    """[4] left, top, right, bottom of the largest face in pixels."""
    turn: float
    """0 into the camera, below -1 turned to the left side of the image, above 1 to the right."""
    blur: float
    """Width of the sharpest edges of the face (one standard deviation) as a share of its side."""
    pixels: float
    """Side of the crop that ``blur`` was measured in."""
    identity: Floats
    """[V, D] unit vectors, one for each way of looking at the largest face; [0, 0] where identity cannot be told."""
    background: Floats
    """[K] colours beside and above the head."""
    outfit: Floats
    """[K] colours below it."""
    crop: NDArray[np.uint8] = field(default_factory=_no_crop)
    """[HEIGHT, WIDTH] luma of the largest face below its eyes, as ``orientation`` takes it; [0, 0] without one."""

    @property
    def side(self) -> float:
        """Side of the largest face in pixels: the root of its box's area, NaN without one."""
        return float(np.sqrt((self.box[2] - self.box[0]) * (self.box[3] - self.box[1])))
