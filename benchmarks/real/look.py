"""What is measured in one picture: every number that the scores or a search for better ones may need, and no pixel."""

from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image
from skimage.color import rgb2lab

from lorasweep.data.pictures import Pixels
from lorasweep.records import Floats
from lorasweep.vision.dlib_faces import DlibFaces
from lorasweep.vision.faces import find_sure_faces
from lorasweep.vision.texture import skin, texture

SIDE = 448
"""Pixels at which a whole picture's texture is measured: published sheets are JPEGs, whose finest detail is lost."""
COLOURS = 8
"""Fields a side whose mean colour is kept."""
EXTRA = ("jpeg_bits", "chroma_noise", "chroma_local")
"""Of a whole picture: bits a pixel of a JPEG of quality 90; log of the median second difference of its chroma, and log
of the root mean square of what a blur of 2 pixels removes from its chroma."""
CHEEKS = ("fine", "middle", "broad", "range", "shine", "lightness", "green_red", "blue_yellow", "patches")
"""Of two patches between eyes and mouth, scaled so that the eyes are 128 pixels apart: log root mean square of
lightness between blurs of 0, 1, 2.5 and 6 pixels; its middle 90 %; how far the brightest 5 % lie above the median; mean
L*, a* and b*; standard deviation of a* and b*. Waxy skin should have little that is fine and much that is broad."""
PATCH, EYES = 64, 128
"""Pixels of a patch's side, and between the eyes, after scaling."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One picture. Of a face that is not there all is NaN and its vector zero."""

    texture: Floats
    """[K] at SIDE pixels."""
    skin: Floats
    """[K] within the largest face, at 160 pixels."""
    extra: Floats
    """[3] named by EXTRA."""
    cheeks: Floats
    """[9] named by CHEEKS."""
    colours: np.ndarray
    """[8, 8, 3] uint8: mean L* x 2.55, a* + 128, b* + 128 of each field, top to bottom."""
    vector: Floats
    """[128] of the largest face; never written anywhere."""
    count: int
    box: Floats
    """[4] left, top, right, bottom of the largest face in shares of the sides."""
    landmarks: Floats
    """[5, 2] in shares of the sides."""
    chance: float
    """MTCNN's probability of the largest face."""


def look(pixels: Pixels, faces: DlibFaces) -> Looked:
    """Return all numbers of a picture [H, W, 3] uint8."""
    image = Image.fromarray(pixels)
    small = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BOX)
    found = find_sure_faces(faces.detector, pixels)
    size = np.array(image.size, dtype=np.float64)
    box, points = np.full(4, np.nan), np.full((5, 2), np.nan)
    if found is not None:
        box, points = found[0][0] / np.tile(size, 2), found[1][0] / size
    whole = np.asarray(small)
    lab = rgb2lab(whole)
    return Looked(
        texture=texture(whole),
        skin=skin(pixels, box),
        extra=np.array([_jpeg_bits(small), *_chroma(lab)]),
        cheeks=cheeks(pixels, points * size),
        colours=coarse_colours(lab),
        vector=np.zeros(faces.width) if found is None else faces.vector(pixels, found[0][0]),
        count=0 if found is None else len(found[0]),
        box=box,
        landmarks=points,
        chance=np.nan if found is None else float(found[2][0]),
    )


def coarse_colours(lab: Floats) -> np.ndarray:
    """Return [8, 8, 3] uint8 mean colours of an image in CIE Lab, [H, W, 3], whose sides are multiples of 8."""
    height, width = lab.shape[0] // COLOURS, lab.shape[1] // COLOURS
    means = lab.reshape(COLOURS, height, COLOURS, width, 3).mean(axis=(1, 3))
    return np.round(means * (2.55, 1, 1) + (0, 128, 128)).clip(0, 255).astype(np.uint8)


def cheeks(pixels: Pixels, points: Floats) -> Floats:
    """Return [9] the numbers named by CHEEKS, means over both patches; NaN without a face. ``points`` are in pixels."""
    apart = float(np.linalg.norm(points[1] - points[0]))
    if not apart >= 1:
        return np.full(len(CHEEKS), np.nan)
    half = apart * PATCH / EYES / 2
    rows = []
    for eye, mouth in ((0, 3), (1, 4)):
        middle = points[[eye, mouth]].mean(axis=0)
        corners = np.concatenate([middle - half, middle + half])
        patch = Image.fromarray(pixels).resize((PATCH, PATCH), Image.Resampling.BICUBIC, box=_inside(corners, pixels))
        rows.append(_patch(rgb2lab(np.asarray(patch))))
    return np.mean(rows, axis=0)


def _inside(corners: Floats, pixels: Pixels) -> tuple[float, float, float, float]:
    """Return the box moved into the image, and cut where it is larger than that."""
    size = np.array(pixels.shape[1::-1], dtype=np.float64)
    low = np.clip(corners[:2], 0, np.maximum(size - (corners[2:] - corners[:2]), 0))
    high = np.minimum(low + corners[2:] - corners[:2], size)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _patch(lab: Floats) -> Floats:
    light = lab[..., 0] / 100
    levels = [light, *(_blurred(light, sigma) for sigma in (1.0, 2.5, 6.0))]
    bands = [_log_rms(first - second) for first, second in pairwise(levels)]
    low, middle, high = np.quantile(light, [0.05, 0.5, 0.95])
    return np.array([*bands, high - low, high - middle, *lab.mean(axis=(0, 1)), lab[..., 1:].std(axis=(0, 1)).mean()])


def _jpeg_bits(image: Image.Image) -> float:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=90, subsampling=0)
    return 8 * stream.tell() / (image.width * image.height)


def _chroma(lab: Floats) -> tuple[float, float]:
    planes = lab[..., 1] / 100, lab[..., 2] / 100
    second = [np.median(np.abs(np.diff(np.diff(plane, 2, axis=0), 2, axis=1))) / 6 for plane in planes]
    return float(np.log(np.mean(second) + 1e-4)), float(np.mean([_log_rms(p - _blurred(p, 2.0)) for p in planes]))


def _log_rms(band: Floats) -> float:
    return float(np.log(np.sqrt(np.mean(band**2)) + 1e-4))


def _blurred(plane: Floats, sigma: float) -> Floats:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(plane, sigma, mode="nearest")
