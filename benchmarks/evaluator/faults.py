"""What is planted: sixteen faults in five doses, ways to copy a photo, and images that try to cheat a score.

Doses are those of `world.faults`: 1 just visible when looked for, 3 clearly visible, 5 ruins the image. The others
are added here and not there, since the oracle's constants rest on the seven faults of `world.faults`.
"""

import functools
import io

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.world import faults
from benchmarks.world.faults import STRENGTHS, to_bytes
from lorasweep.data.pictures import Pixels
from lorasweep.vision.describe import shipped_weights
from lorasweep.vision.drawn_faces import DrawnFaces

DOSES = (0, *STRENGTHS)
MIDDLE = 3
QUALITY = (60, 40, 25, 14, 6)
"""Of the JPEG file, colours at half the resolution, as phones and web pages write them."""
SHARPEN = (60, 120, 220, 400, 800)
"""Percentage of the unsharp mask, whose radius is one pixel of 64."""


def jpeg(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Write a JPEG file of low quality and read it again: blocks of 8 pixels, smeared colours."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY[strength - 1], subsampling="4:2:0")
    return np.asarray(Image.open(file))


def sharpen(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Apply an unsharp mask: bright and dark rims along contours."""
    mask = ImageFilter.UnsharpMask(radius=picture.shape[0] / 64, percent=SHARPEN[strength - 1], threshold=0)
    return np.asarray(Image.fromarray(picture).filter(mask))


STRIPES = (3.0, 6.0, 11.0, 20.0, 36.0)
"""Grey levels of the wave's amplitude; its period is a sixteenth of 64 pixels."""
TONES = (28, 16, 9, 5, 3)
"""Levels a channel of a dithered image."""
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 0.47
"""Ordered thresholds."""
MORE = (0.12, 0.25, 0.45, 0.8, 1.4)
"""How much contrast, or saturation, is raised; those of a burn."""
SMOOTHED = (0.4, 0.6, 0.9, 1.4, 2.2)
"""Radius of the blur within a face, of 64 pixels."""
OPACITY = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Of a second pair of eyes."""
ASIDE = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Pixels of 64 by which a face's second image lies beside the first."""


def stripes(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Lay a wave over all of it, as a broken sampler or VAE does."""
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    turn, start = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    along = (columns * np.cos(turn) + rows * np.sin(turn)) * 16 * 2 * np.pi / picture.shape[0]
    return to_bytes(picture + STRIPES[strength - 1] * np.sin(along + start)[..., None])


def dither(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Leave few levels a channel, mixed in a screen of 4 by 4."""
    levels = TONES[strength - 1] - 1
    tiles = [-(-side // 4) for side in picture.shape[:2]]
    screen = np.tile(BAYER, tiles)[: picture.shape[0], : picture.shape[1], None]
    return to_bytes(np.round(picture / 255 * levels + screen) / levels * 255)


def contrast(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Raise contrast alone."""
    gray = picture.mean(2, keepdims=True)
    return to_bytes(picture + (gray - 127.5) * MORE[strength - 1])


def saturate(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Raise saturation alone."""
    return to_bytes(picture + (picture - picture.mean(2, keepdims=True)) * MORE[strength - 1])


def smooth_face(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Smooth the face alone, as wax is smooth."""
    radius = SMOOTHED[strength - 1] * picture.shape[0] / 64
    return _within_face(picture, np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))))


def four_eyes(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Draw a second pair of eyes below the first."""
    face = _face(picture)
    if face is None:
        return picture
    down = round(float(face[3:].mean(axis=0)[1] - face[:2].mean(axis=0)[1]) * 0.45)
    moved = np.roll(picture, down, axis=0)
    reach = float(np.linalg.norm(face[1] - face[0]))
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    share = np.zeros(picture.shape[:2])
    for x, y in face[:2]:
        far = ((columns - x) / (0.42 * reach)) ** 2 + ((rows - y - down) / (0.22 * reach)) ** 2
        share = np.maximum(share, np.clip(1.5 - far, 0, 1))
    share = share[..., None] * OPACITY[strength - 1]
    return to_bytes(picture * (1 - share) + moved * share)


def doubled(picture: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Draw the features of the face twice, side by side, each half as strong."""
    aside = max(1, round(ASIDE[strength - 1] * picture.shape[0] / 64))
    return _within_face(picture, to_bytes((picture.astype(float) + np.roll(picture, aside, axis=1)) / 2))


def _within_face(picture: Pixels, changed: Pixels) -> Pixels:
    """Return the image with the middle of its face from another one; the image itself without a face."""
    face = _face(picture)
    if face is None:
        return picture
    reach = float(np.linalg.norm(face[1] - face[0]))
    middle = face.mean(axis=0)
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    far = ((columns - middle[0]) / (1.15 * reach)) ** 2 + ((rows - middle[1]) / (1.35 * reach)) ** 2
    share = np.clip(3 * (1 - far), 0, 1)[..., None]
    return to_bytes(picture * (1 - share) + changed * share)


def _face(picture: Pixels) -> np.ndarray | None:
    """Return [5, 2] the landmarks of the largest face in pixels."""
    found = _finder().find(picture)
    return found.landmarks[0] if len(found.landmarks) else None


@functools.cache
def _finder() -> DrawnFaces:
    return DrawnFaces(shipped_weights())


FAULTS: dict[str, faults.Fault] = {
    **{name: faults.FAULTS[name] for name in ("blur", "clay", "posterise", "mosaic")},
    "jpeg": jpeg,
    "sharpen": sharpen,
    **{name: faults.FAULTS[name] for name in ("burn", "noise", "warp")},
    "stripes": stripes,
    "dither": dither,
    "contrast": contrast,
    "saturation": saturate,
    "smooth face": smooth_face,
    "four eyes": four_eyes,
    "doubled": doubled,
}
RESPONSIBLE = dict.fromkeys(FAULTS, "artifact") | dict.fromkeys(("warp", "four eyes", "doubled"), "geometry")
IN_FACES = ("warp", "smooth face", "four eyes", "doubled")
"""Those that need a face to be planted in."""


def plant(name: str, pictures: list[Pixels], dose: int, seed: int) -> list[Pixels]:
    """Return all images with the fault; every image has a random stream of its own."""
    if dose == 0:
        return pictures
    rngs = [np.random.default_rng([seed, place, dose, list(FAULTS).index(name)]) for place in range(len(pictures))]
    return [FAULTS[name](picture, dose, rng) for picture, rng in zip(pictures, rngs, strict=True)]


def mirrored(picture: Pixels) -> Pixels:
    """Swap left and right."""
    return np.ascontiguousarray(picture[:, ::-1])


def cropped(picture: Pixels, share: float = 0.88) -> Pixels:
    """Return the middle, resized to the old size."""
    height, width = picture.shape[:2]
    left, top = (1 - share) / 2 * width, (1 - share) / 2 * height
    box = (left, top, width - left, height - top)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC, box=box))


def recoloured(picture: Pixels) -> Pixels:
    """Return a warmer and slightly brighter image, as a phone's filter makes it."""
    return np.clip(picture * np.array([1.10, 1.03, 0.92]) + 4, 0, 255).astype(np.uint8)


def pasted(picture: Pixels, box: np.ndarray, colour: tuple[int, int, int]) -> Pixels:
    """Cut the face out along an ellipse in ``box`` (left, top, right, bottom in pixels) and put it on a plain
    colour."""
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    middle, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * 1.25
    inside = ((columns - middle[0]) / reach[0]) ** 2 + ((rows - middle[1]) / reach[1]) ** 2 <= 1
    return np.where(inside[..., None], picture, np.array(colour, dtype=np.uint8))


def beside(one: Pixels, other: Pixels) -> Pixels:
    """Put two people into one image, each at two thirds of the size."""
    side = one.shape[0]
    small = round(side * 2 / 3)
    parts = [np.asarray(Image.fromarray(part).resize((small, small), Image.Resampling.BOX)) for part in (one, other)]
    whole = np.full_like(one, 128)
    top, cut = (side - small) // 2, small - side // 2
    whole[top : top + small, : side // 2] = parts[0][:, cut // 2 : cut // 2 + side // 2]
    whole[top : top + small, side // 2 :] = parts[1][:, cut // 2 : cut // 2 + side - side // 2]
    return whole
