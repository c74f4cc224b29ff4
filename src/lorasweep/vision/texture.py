"""An image's texture as fourteen plain numbers, in which clay, mosaic, burn and the like show.

None is a quality by itself: a white wall is flat and a sketch is sharp. ``evaluate.artifact`` compares them with those
of the subject's photos and of the base model's samples. They need no weights, and were chosen by experiments with
planted faults (``benchmarks.evaluator``).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorasweep.data.pictures import Pixels
from lorasweep.records import TEXTURE, Floats

NAMES = TEXTURE
QUIET = 1e-4
"""Keeps logarithms finite; far below one step of 8 bits (1 / 255)."""
SKIN_SIDE = 160
"""Pixels to which a larger face is shrunk, so that faces of a sheet are seen at one scale; FaceNet's own size."""
LEAST_SKIN = 16
"""Pixels of a face's shorter side below which its texture says nothing."""
AROUND = 0.125
"""Share of the face's box that is added on each side."""
PERIODS = (2.0, 16.0)
"""Pixels between two lines of a lattice that is looked for: finer ones do not exist, coarser ones are objects."""
BLOCK = 8
"""Pixels of a JPEG block, and of one latent of Stable Diffusion."""
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


def texture(pixels: Pixels) -> Floats:
    """Return [K] numbers in the order of ``NAMES`` for an image, [H, W, 3] uint8 of at least 16 x 16 pixels.

    mid_energy, high_energy: log root mean square of what a blur of 1 to 2.5 pixels, and of 1 pixel, removes.
    local_std: log of the median standard deviation within 5 x 5 pixels.
    flat_fraction: share of pixels that are like their neighbours, 0 to 1.
    block_peak: log of how much stronger edges are on a regular grid than off it, 0 upward.
    histogram_entropy: bits, 0 to 8.
    tail_weight: log kurtosis of gradients.
    overshoot: high_energy - mid_energy.
    saturation, contrast, clipped: mean of max - min of RGB, standard deviation of luma, share of values at either end;
    0 to 1.
    grain: log of the median response to Immerkær's mask, which contours hardly move (Immerkær 1996, CVIU 64(2)).
    blocking: log of how much stronger the usual step between columns or rows is every 8 pixels, at the seams of JPEG
    files and autoencoders, than elsewhere (after Wang, Sheikh & Bovik, ICIP 2002); about 0 without seams.
    lattice: log of the strongest periodic wave over what is usual at its frequency: stripes, a weave, a screen.
    """
    colour = pixels.astype(np.float64) / 255
    red, green, blue = colour[..., 0], colour[..., 1], colour[..., 2]
    luma = colour @ LUMA
    smooth = _blur(luma, 1.0)
    high, mid = luma - smooth, smooth - _blur(smooth, 2.3)
    across, down = np.diff(luma, axis=1), np.diff(luma, axis=0)
    steps = np.abs(across[:-1]) + np.abs(down[:, :-1])
    mid_energy, high_energy = _log_rms(mid), _log_rms(high)
    return np.array(
        [
            mid_energy,
            high_energy,
            float(np.log(np.median(_local_std(luma)) + QUIET)),
            float(np.mean(steps < 2.1 / 255)),  # up to two grey levels, whatever rounding does
            0.5 * (_grid_peak(np.abs(across).mean(axis=0)) + _grid_peak(np.abs(down).mean(axis=1))),
            _entropy(pixels),
            float(np.log(_kurtosis(np.concatenate([across.ravel(), down.ravel()])))),
            high_energy - mid_energy,
            float(np.mean(np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue))),
            float(luma.std()),
            float(np.mean((pixels <= 2) | (pixels >= 253))),
            _grain(luma),
            0.5 * (_seams(luma) + _seams(luma.T)),
            _lattice(luma),
        ]
    )


def skin(pixels: Pixels, box: Floats) -> Floats:
    """Return [K] the texture of the face in ``box``, [4] left, top, right, bottom in shares of the image's sides.

    All NaN if ``box`` is NaN or the face is smaller than LEAST_SKIN pixels.
    """
    height, width = pixels.shape[:2]
    grow = AROUND * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    corners = (box + grow).clip(0, 1) * np.tile((width, height), 2)
    if np.isnan(corners).any() or min(corners[2:] - corners[:2]) < LEAST_SKIN:
        return np.full(len(NAMES), np.nan)
    left, top, right, bottom = np.round(corners).astype(int).tolist()
    face = Image.fromarray(pixels).crop((left, top, right, bottom))
    shrink = SKIN_SIDE / max(face.size)
    if shrink < 1:
        size = (max(LEAST_SKIN, round(face.width * shrink)), max(LEAST_SKIN, round(face.height * shrink)))
        face = face.resize(size, Image.Resampling.BOX)
    return texture(np.asarray(face))


def _log_rms(band: Floats) -> float:
    return float(np.log(np.sqrt(np.mean(band**2)) + QUIET))


def _blur(plane: Floats, sigma: float) -> Floats:
    """Return [H, W] after a Gaussian blur, edges repeated."""
    reach = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for _ in range(2):
        padded, plane = np.pad(plane, ((reach, reach), (0, 0)), mode="edge"), np.zeros_like(plane)
        for shift, weight in enumerate(kernel):
            plane += weight * padded[shift : shift + len(plane)]
        plane = plane.T
    return plane


def _local_std(plane: Floats) -> Floats:
    """Return [H - 4, W - 4] standard deviations within 5 x 5 pixels, from sums of values and of squares."""
    mean, square = _box_mean(plane), _box_mean(plane**2)
    return np.sqrt(np.clip(square - mean**2, 0, None))  # rounding leaves a little below 0 in flat places


def _grain(plane: Floats) -> float:
    """Return the log of the median of second differences, across and then down: 0 on ramps and straight contours."""
    response = np.diff(np.diff(plane, 2, axis=0), 2, axis=1) / 6
    return float(np.log(np.median(np.abs(response)) + 0.25 / 255))


def _seams(plane: Floats) -> float:
    """Return the log ratio, at every eighth column and at the rest, of how far a step exceeds those beside it."""
    steps = np.diff(plane, axis=1)
    jumps = np.abs(steps[:, 1:-1] - 0.5 * (steps[:, :-2] + steps[:, 2:])).mean(axis=0)
    seam = np.arange(1, len(jumps) + 1) % BLOCK == BLOCK - 1
    return float(np.log((jumps[seam].mean() + 0.5 / 255) / (jumps[~seam].mean() + 0.5 / 255)))


def _lattice(plane: Floats) -> float:
    """Return the log ratio of the largest power in the spectrum to the median of that at the same frequency."""
    height, width = plane.shape
    # A window of sines: without it an image's rim looks like lines along both axes.
    window = np.sin(np.pi * (np.arange(height) + 0.5) / height)[:, None] * np.sin(
        np.pi * (np.arange(width) + 0.5) / width
    )
    power = np.abs(np.fft.rfft2((plane - plane.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring = np.round(frequency * min(height, width)).astype(int)
    looked = (frequency >= 1 / PERIODS[1]) & (frequency <= 1 / PERIODS[0])
    order = np.argsort(ring[looked], kind="stable")
    rings, values = ring[looked][order], power[looked][order]
    starts = np.flatnonzero(np.diff(rings, prepend=-1))
    # Compared ring by ring, since the power of any picture falls with frequency.
    return max(float(np.log((part.max() + QUIET) / (np.median(part) + QUIET))) for part in np.split(values, starts[1:]))


def _box_mean(plane: Floats) -> Floats:
    sums = np.pad(plane, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return (sums[5:, 5:] - sums[:-5, 5:] - sums[5:, :-5] + sums[:-5, :-5]) / 25


def _grid_peak(profile: NDArray[np.float64]) -> float:
    """Return the log of how much stronger edges are on the best regular grid than three quarters of those off it.

    ``profile`` [W - 1] is the mean step between neighbouring columns. A grid is what n square cells that are scaled up
    to W pixels leave.
    """
    steps = np.log(profile + 0.5 / 255)
    # The median along a grid, so that one strong contour is no grid. Short rows are sorted here since numpy's median
    # and quantile took ten times as long, most of it for checks.
    return max(
        0.0,
        *(_middle(np.sort(steps[on]), 0.5) - _middle(np.sort(steps[off]), 0.75) for on, off in _grids(len(steps) + 1)),
    )


@cache
def _grids(side: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return, for every number of cells, the places of a profile that lie on the edges of cells, and the others."""
    place = np.arange(side) + 0.5
    edges = [np.diff(np.floor(place * cells / side)) > 0 for cells in range(max(6, side // 64), side * 3 // 4 + 1)]
    return [(np.flatnonzero(edge), np.flatnonzero(~edge)) for edge in edges]


def _middle(ascending: Floats, share: float) -> float:
    """Return the quantile at ``share``, 0 to 1, interpolated between the two nearest values."""
    place = share * (len(ascending) - 1)
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return float(ascending[low] + (place - low) * (ascending[high] - ascending[low]))


def _entropy(pixels: Pixels) -> float:
    """Return the mean over R, G and B of the entropy of their values, in bits."""
    bits = []
    for channel in range(3):
        share = np.bincount(pixels[..., channel].ravel(), minlength=256) / pixels[..., channel].size
        bits.append(-float(np.sum(share[share > 0] * np.log2(share[share > 0]))))
    return float(np.mean(bits))


def _kurtosis(values: NDArray[np.float64]) -> float:
    square = (values - values.mean()) ** 2
    return float(np.mean(square * square) / (np.mean(square) ** 2 + QUIET**4) + 1)
