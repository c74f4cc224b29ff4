"""A face laid on a fixed template by its eyes and mouth, so that a mark is in the same place in every picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lorasweep.data.orientation import HEIGHT, TOP, UNIT, WIDTH
from lorasweep.data.pictures import Pixels
from lorasweep.records import Floats
from lorasweep.vision.embedder import Embedder

TEMPLATE = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 1.05]])
"""Left eye, right eye and the middle of the mouth in an average face, in distances between its eyes, from the middle
between them. It is symmetric: the crop of a mirrored picture is the mirrored crop."""


def aligned_face(picture: Pixels, points: Floats) -> Pixels:
    """[HEIGHT, WIDTH] uint8 luma of the face in [H, W, 3] ``picture`` that five landmarks [5, 2], in pixels, belong to.

    Upright and scaled, not stretched. The mouth counts by its middle, since its corners move with the expression. What
    lies outside of the picture is filled up with its nearest pixels.
    """
    told = np.stack([points[0], points[1], points[3:].mean(axis=0)])
    matrix, origin = _similarity(TEMPLATE, told)
    across, down = np.meshgrid(np.arange(WIDTH) - (WIDTH - 1) / 2, np.arange(HEIGHT) - TOP)
    places = origin + np.stack([across, down], axis=-1) / UNIT @ matrix.T
    pixels = float(np.linalg.norm(matrix[:, 0])) / UNIT
    return _sampled(picture, places, pixels)


def aligned_faces(pictures: Sequence[Pixels], faces: Embedder) -> Pixels:
    """[M, HEIGHT, WIDTH] the crops of those M pictures that show exactly one face."""
    seen = faces.look(pictures)
    shown = zip(pictures, seen.landmarks, seen.count, strict=True)
    crops = [aligned_face(picture, points * picture.shape[1::-1]) for picture, points, count in shown if count == 1]
    return np.stack(crops) if crops else np.zeros((0, HEIGHT, WIDTH), dtype=np.uint8)


def _sampled(picture: Pixels, places: Floats, pixels: float) -> Pixels:
    """[H, W] luma at [H, W, 2] ``places``; each stands for about ``pixels`` pixels, which are averaged."""
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
    """The rotation with scale [2, 2] and the shift [2] that lay ``source`` [N, 2] on ``target`` by least squares."""
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - middle).T
    u, v = (target - aim).T
    total = max(float((x * x + y * y).sum()), 1e-9)
    along, across = float((x * u + y * v).sum()) / total, float((x * v - y * u).sum()) / total
    turn = np.array([[along, -across], [across, along]])
    return turn, aim - turn @ middle
