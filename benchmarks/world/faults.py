"""Planted faults: what over-training does to images, in five known strengths, and people who are partly somebody else.

Every fault is a pure function of (image, strength, rng) for uint8 [h, w, 3] images. Strength 0 changes nothing, 1 is
just visible when looked for, 3 clearly visible, 5 ruins the image. Lengths scale with the image's side.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from lorasweep.portraits.people import Identity

STRENGTHS = (1, 2, 3, 4, 5)

Fault = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _of(table: tuple[float, ...], strength: int) -> float:
    return table[strength - 1]


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Return the values rounded and cut to what eight bits hold."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def clay(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Run surfaces together like modelling clay: median filters, wider and more often."""
    image = Image.fromarray(picture)
    reach, passes = ((1, 1), (1, 3), (2, 2), (3, 2), (4, 3))[strength - 1]
    side = 2 * round(reach * picture.shape[0] / 64) + 1
    for _ in range(passes):
        image = image.filter(ImageFilter.MedianFilter(side))
    return np.asarray(image)


def posterise(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Leave few levels a channel."""
    levels = _of((16, 10, 7, 5, 3), strength) - 1
    return to_bytes(np.round(picture / 255 * levels) / levels * 255)


def mosaic(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Replace square cells by one colour."""
    height, width = picture.shape[:2]
    cells = int(_of((44, 36, 28, 20, 13), strength))
    small = Image.fromarray(picture).resize((cells, cells), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def burn(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Raise contrast and saturation too far."""
    more = 1 + _of((0.12, 0.25, 0.45, 0.8, 1.4), strength)
    gray = picture.mean(2, keepdims=True)
    return to_bytes(127.5 + (gray - 127.5) * more + (picture - gray) * more * more**0.5)


def warp(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Push features about smoothly."""
    amount = _of((0.6, 1.2, 2.0, 3.2, 5.0), strength) * picture.shape[0] / 64
    return displaced(picture, rng.normal(0, amount, (2, 6, 6)))


def blur(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Apply a Gaussian blur."""
    radius = _of((0.5, 0.8, 1.2, 1.8, 2.7), strength) * picture.shape[0] / 64
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def noise(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Add grain to every channel."""
    return to_bytes(picture + rng.normal(0, 255 * _of((0.02, 0.04, 0.07, 0.12, 0.2), strength), picture.shape))


FAULTS: dict[str, Fault] = {
    "clay": clay,
    "posterise": posterise,
    "mosaic": mosaic,
    "burn": burn,
    "warp": warp,
    "blur": blur,
    "noise": noise,
}


def plant(name: str, picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Return the image with the fault `name` of `FAULTS` at strength 0 to 5."""
    return FAULTS[name](picture, strength, rng) if strength else picture


def blend(one: Identity, other: Identity, share: float) -> Identity:
    """Return a person between two: 0 is `one`, 1 is `other`; what cannot be mixed changes over at a half."""
    return Identity.from_vector((1 - share) * one.vector() + share * other.vector())


def displaced(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return the image with every pixel fetched from where the smoothed `field` [2, k, k] of (x, y) pixels points."""
    height, width = picture.shape[:2]
    size = (width, height)
    dx, dy = (
        np.asarray(Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)) for part in field
    )
    rows, columns = np.mgrid[0:height, 0:width]
    y, x = np.clip(rows + dy, 0, height - 1.001), np.clip(columns + dx, 0, width - 1.001)
    top, left = y.astype(int), x.astype(int)
    down, right = (y - top)[..., None], (x - left)[..., None]
    values = picture.astype(np.float32)
    upper = values[top, left] * (1 - right) + values[top, left + 1] * right
    lower = values[top + 1, left] * (1 - right) + values[top + 1, left + 1] * right
    return to_bytes(upper * (1 - down) + lower * down)
