"""What is planted: nine faults in five doses, ways to copy a photo, and images that try to cheat a score.

Doses are those of `world.faults`: 1 just visible when looked for, 3 clearly visible, 5 ruins the image. JPEG and
over-sharpening are added here and not there, since the oracle's constants rest on the seven faults of `world.faults`.
Written down before anything was measured.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.world import faults
from benchmarks.world.faults import STRENGTHS
from lorasweep.data.pictures import Pixels

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


FAULTS: dict[str, faults.Fault] = {
    **{name: faults.FAULTS[name] for name in ("blur", "clay", "posterise", "mosaic")},
    "jpeg": jpeg,
    "sharpen": sharpen,
    **{name: faults.FAULTS[name] for name in ("burn", "noise", "warp")},
}
RESPONSIBLE = dict.fromkeys(FAULTS, "artifact") | {"warp": "geometry"}


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
