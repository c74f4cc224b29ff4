"""What an image shows of a person, as numbers: how large, how sharp, which way, in front of what, in what clothes.

The crop of a face, laid on a fixed template by eyes and mouth, is made here too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lorasweep.data.facts import FaceFacts
from lorasweep.data.orientation import HEIGHT, TOP, UNIT, WIDTH
from lorasweep.data.pictures import Pixels
from lorasweep.records import Floats
from lorasweep.vision.embedder import Embedder
from lorasweep.vision.face_finder import FaceFinder

SHARPNESS_SIDE = 128
"""Pixels: larger faces are shrunk to this, so that noise and JPEG blocks of large images average out."""
NARROW, WIDE = 1.0, 2.0
"""Standard deviations, in pixels, of the two blurs whose gradients are compared."""
STRONGEST = 0.03
"""Share of the pixels, those with the strongest edges, that sharpness is measured on."""
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""
TEMPLATE = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 1.05]])
"""Left eye, right eye and the middle of the mouth in an average face, in distances between its eyes, from the middle
between them. It is symmetric, so that the crop of a mirrored image is the mirrored crop."""


def face_facts(path: Path, picture: Image.Image, finder: FaceFinder) -> FaceFacts:
    """Return the facts of an upright RGB image."""
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
    """Return the width of the sharpest edges as a share of the face's side, and the side in pixels that was measured.

    An edge of width s that is blurred by a and by b has gradients in the ratio sqrt((s^2 + b^2) / (s^2 + a^2)) (Zhuo
    and Sim 2011). Unlike the variance of the Laplacian, that depends neither on contrast nor much on noise.
    """
    left, top, right, bottom = _inside(box, picture.size)
    across, down = max(right - left, 1.0), max(bottom - top, 1.0)
    scale = min(1.0, SHARPNESS_SIDE / np.sqrt(across * down))
    size = max(8, round(across * scale)), max(8, round(down * scale))
    crop = picture.resize(size, Image.Resampling.BOX, box=(left, top, right, bottom))
    gray = np.asarray(crop, dtype=np.float64) @ LUMA
    fine, coarse = _gradient(_blurred(gray, NARROW)), _gradient(_blurred(gray, WIDE))
    edges = coarse >= np.quantile(coarse, 1 - STRONGEST)
    # the median over many edges, since one glint is sharper than the face; the ratio is above 1 for any real edge
    ratio = max(float(np.median(fine[edges] / np.maximum(coarse[edges], 1e-6))) ** 2, 1 + 1e-6)
    side = float(np.sqrt(size[0] * size[1]))
    return float(np.sqrt(max((WIDE**2 - NARROW**2 * ratio) / (ratio - 1), 0.0))) / side, side


def background_colours(pixels: Pixels, box: Floats) -> Floats:
    """Return [9] median colours in CIELAB left of the head, right of it and above it; NaN if a region is cut off."""
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
    """Return [6] median colours in CIELAB of both shoulders, left and right below the face; NaN if one is cut off."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    regions = (
        (left - 0.35 * width, bottom + 0.3 * height, left + 0.3 * width, bottom + 1.0 * height),
        (right - 0.3 * width, bottom + 0.3 * height, right + 0.35 * width, bottom + 1.0 * height),
    )
    return np.concatenate([_colour(pixels, region) for region in regions])


def _colour(pixels: Pixels, region: tuple[float, ...]) -> Floats:
    """Return [3] the median of a region in CIELAB; NaN if too few of its rows or columns are within the image."""
    left, top, right, bottom = (round(edge) for edge in _inside(np.array(region), pixels.shape[1::-1]))
    least = 0.02 * min(pixels.shape[:2])
    if right - left < least or bottom - top < least:
        return np.full(3, np.nan)
    # a grid of about 24 x 24 pixels is as good a median as all of them, and cielab is slow
    step = max(1, (right - left) // 24), max(1, (bottom - top) // 24)
    part = pixels[top : bottom : step[1], left : right : step[0]].reshape(-1, 3)
    return np.median(cielab(part), axis=0)


def cielab(colours: Pixels) -> Floats:
    """Return [N, 3] L (0 to 100), a and b of [N, 3] uint8 in sRGB, for a D65 white."""
    linear = np.asarray(colours, dtype=np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    xyz = linear @ SRGB_TO_XYZ.T / (0.95047, 1.0, 1.08883)
    bent = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * bent[:, 1] - 16, 500 * (bent[:, 0] - bent[:, 1]), 200 * (bent[:, 1] - bent[:, 2])], axis=1)


SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""IEC 61966-2-1."""


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


def aligned_face(picture: Pixels, points: Floats) -> Pixels:
    """Return [HEIGHT, WIDTH] uint8 luma of a face, upright and scaled but not stretched.

    Args:
        picture: [H, W, 3] uint8; what the crop has outside of it repeats the nearest pixels.
        points: [5, 2] the face's landmarks in pixels.
    """
    # the mouth counts by its middle, since its corners move with the expression
    told = np.stack([points[0], points[1], points[3:].mean(axis=0)])
    matrix, origin = _similarity(TEMPLATE, told)
    across, down = np.meshgrid(np.arange(WIDTH) - (WIDTH - 1) / 2, np.arange(HEIGHT) - TOP)
    places = origin + np.stack([across, down], axis=-1) / UNIT @ matrix.T
    pixels = float(np.linalg.norm(matrix[:, 0])) / UNIT
    return _sampled(picture, places, pixels)


def aligned_faces(pictures: Sequence[Pixels], faces: Embedder) -> Pixels:
    """Return [M, HEIGHT, WIDTH] the crops of those M images that show exactly one face."""
    seen = faces.look(pictures)
    shown = zip(pictures, seen.landmarks, seen.count, strict=True)
    crops = [aligned_face(picture, points * picture.shape[1::-1]) for picture, points, count in shown if count == 1]
    return np.stack(crops) if crops else np.zeros((0, HEIGHT, WIDTH), dtype=np.uint8)


def _sampled(picture: Pixels, places: Floats, pixels: float) -> Pixels:
    """Return [H, W] luma at [H, W, 2] ``places``, each averaged over about ``pixels`` x ``pixels`` pixels."""
    size = np.array(picture.shape[1::-1])
    low = np.floor(places.min(axis=(0, 1)) - 2 * pixels).clip(0, size - 1).astype(int)
    high = np.maximum(np.ceil(places.max(axis=(0, 1)) + 2 * pixels).clip(1, size).astype(int), low + 1)
    part = Image.fromarray(picture[low[1] : high[1], low[0] : high[0]]).convert("L")
    small = [max(1, round(side / max(pixels, 1.0))) for side in part.size]
    luma = np.asarray(part.resize((small[0], small[1]), Image.Resampling.BOX), dtype=np.float64)
    spot = (places - low) * np.array(small) / (high - low) - 0.5  # a pixel's middle is half a pixel from its edge
    spot = spot.clip(0, np.array(small) - 1)
    first = np.floor(spot).astype(int)
    second = np.minimum(first + 1, np.array(small) - 1)
    right, lower = np.moveaxis(spot - first, -1, 0)
    (x, y), (x_next, y_next) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    above = luma[y, x] * (1 - right) + luma[y, x_next] * right
    below = luma[y_next, x] * (1 - right) + luma[y_next, x_next] * right
    return np.round(above * (1 - lower) + below * lower).astype(np.uint8)


def _similarity(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Return the rotation with scale, [2, 2], and the shift, [2], that fit ``source`` [N, 2] to ``target`` best, by
    least squares."""
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - middle).T
    u, v = (target - aim).T
    total = max(float((x * x + y * y).sum()), 1e-9)
    along, across = float((x * u + y * v).sum()) / total, float((x * v - y * u).sum()) / total
    turn = np.array([[along, -across], [across, along]])
    return turn, aim - turn @ middle
