"""What a picture shows of a person, as plain numbers: how large, how sharp, turned where, before what, dressed how."""

from pathlib import Path

import numpy as np
from PIL import Image

from lorasweep.data.facts import FaceFacts
from lorasweep.data.pictures import Pixels
from lorasweep.records import Floats
from lorasweep.vision.face_crop import aligned_face
from lorasweep.vision.face_finder import FaceFinder

SHARPNESS_SIDE = 128
"""Pixels: larger faces are brought down to this, so that noise and JPEG blocks of large pictures average out."""
NARROW, WIDE = 1.0, 2.0
"""Standard deviations, in pixels, of the two blurs whose gradients are compared."""
STRONGEST = 0.03
"""Share of the pixels with the strongest edges."""
LUMA = np.array([0.299, 0.587, 0.114])


def face_facts(path: Path, picture: Image.Image, finder: FaceFinder) -> FaceFacts:
    """``picture`` is RGB and upright, as ``pictures.to_srgb`` leaves it."""
    pixels = np.asarray(picture)
    found = finder.find(pixels)
    nothing = np.zeros(0)
    if not len(found.boxes):
        return FaceFacts(
            path=path,
            width=picture.width,
            height=picture.height,
            count=0,
            box=np.full(4, np.nan),
            turn=np.nan,
            blur=np.nan,
            pixels=np.nan,
            identity=np.zeros((0, 0)),
            background=nothing,
            outfit=nothing,
        )
    box = found.boxes[0]
    blur, side = face_blur(picture, box)
    return FaceFacts(
        path=path,
        width=picture.width,
        height=picture.height,
        count=len(found.boxes),
        box=box,
        turn=found.turn,
        blur=blur,
        pixels=side,
        identity=found.identity,
        background=background_colours(pixels, box),
        outfit=outfit_colours(pixels, box),
        crop=aligned_face(pixels, found.landmarks[0]),
    )


def face_blur(picture: Image.Image, box: Floats) -> tuple[float, float]:
    """Width of the sharpest edges as a share of the face's side, and the side in pixels of what was measured.

    An edge of width s that is blurred by a and by b keeps gradients in the ratio sqrt((s^2 + b^2) / (s^2 + a^2)) (Zhuo
    and Sim 2011): unlike the variance of the Laplacian that knows neither contrast nor, after a blur, much of noise.
    """
    left, top, right, bottom = _inside(box, picture.size)
    across, down = max(right - left, 1.0), max(bottom - top, 1.0)
    scale = min(1.0, SHARPNESS_SIDE / np.sqrt(across * down))
    size = max(8, round(across * scale)), max(8, round(down * scale))
    crop = picture.resize(size, Image.Resampling.BOX, box=(left, top, right, bottom))
    gray = np.asarray(crop, dtype=np.float64) @ LUMA
    fine, coarse = _gradient(_blurred(gray, NARROW)), _gradient(_blurred(gray, WIDE))
    edges = coarse >= np.quantile(coarse, 1 - STRONGEST)
    ratio = max(float(np.median(fine[edges] / np.maximum(coarse[edges], 1e-6))) ** 2, 1 + 1e-6)
    side = float(np.sqrt(size[0] * size[1]))
    return float(np.sqrt(max((WIDE**2 - NARROW**2 * ratio) / (ratio - 1), 0.0))) / side, side


def background_colours(pixels: Pixels, box: Floats) -> Floats:
    """[9] mean colours in CIELAB left of the head, right of it and above; NaN where the head fills the picture."""
    left, top, right, bottom = box
    aside, height = 0.35 * (right - left), bottom - top
    middle = 0.5 * (top + bottom)
    regions = (
        (0, top - 0.2 * height, left - aside, middle),
        (right + aside, top - 0.2 * height, pixels.shape[1], middle),
        (0, 0, pixels.shape[1], top - 0.45 * height),
    )
    return np.concatenate([_colour(pixels, region) for region in regions])


def outfit_colours(pixels: Pixels, box: Floats) -> Floats:
    """[6] mean colours in CIELAB of the shoulders, left and right below the face; NaN where they are cut off."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    regions = (
        (left - 0.35 * width, bottom + 0.3 * height, left + 0.3 * width, bottom + 1.0 * height),
        (right - 0.3 * width, bottom + 0.3 * height, right + 0.35 * width, bottom + 1.0 * height),
    )
    return np.concatenate([_colour(pixels, region) for region in regions])


def _colour(pixels: Pixels, region: tuple[float, ...]) -> Floats:
    """[3] the median in CIELAB; NaN where less than a few rows and columns of the region are in the picture."""
    left, top, right, bottom = (round(edge) for edge in _inside(np.array(region), pixels.shape[1::-1]))
    least = 0.02 * min(pixels.shape[:2])
    if right - left < least or bottom - top < least:
        return np.full(3, np.nan)
    step = max(1, (right - left) // 24), max(1, (bottom - top) // 24)
    part = pixels[top : bottom : step[1], left : right : step[0]].reshape(-1, 3)
    return np.median(cielab(part), axis=0)


def cielab(colours: Pixels) -> Floats:
    """[N, 3] L (0 to 100), a and b of sRGB [N, 3] uint8, for a D65 white."""
    linear = np.asarray(colours, dtype=np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    xyz = linear @ SRGB_TO_XYZ.T / (0.95047, 1.0, 1.08883)
    bent = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * bent[:, 1] - 16, 500 * (bent[:, 0] - bent[:, 1]), 200 * (bent[:, 1] - bent[:, 2])], axis=1)


SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _inside(box: Floats, size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = np.clip(box, 0, np.tile(size, 2)).tolist()
    return left, top, right, bottom


def _gradient(gray: Floats) -> Floats:
    down, across = np.gradient(gray)
    return np.hypot(down, across)


def _blurred(plane: Floats, sigma: float) -> Floats:
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for _ in range(2):
        padded = np.pad(plane, ((reach, reach), (0, 0)), mode="edge")
        shifted = np.stack([padded[shift : shift + len(plane)] for shift in range(len(kernel))])
        plane = np.tensordot(kernel, shifted, axes=1).T
    return plane
