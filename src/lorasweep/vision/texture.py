"""What a picture's texture is like: eleven plain numbers in which clay, mosaic, burn and the like show.

None of them is a quality by itself: a white wall is flat and a sketch is sharp. ``evaluate.artifact`` compares them
with the subject's photos and with the base model's samples. Weight-free, from ``evaluate``'s own experiments with
planted faults.
"""

import numpy as np
from numpy.typing import NDArray

from lorasweep.data.pictures import Pixels
from lorasweep.data.records import TEXTURE, Floats

NAMES = TEXTURE
QUIET = 1e-4
"""Keeps logarithms finite; far below one step of 8 bits (1 / 255)."""
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


def texture(pixels: Pixels) -> Floats:
    """[K] in the order of ``NAMES`` for [H, W, 3] uint8 of at least 16 x 16 pixels.

    mid_energy, high_energy: log root mean square of what a blur of 1 to 2.5 pixels, and of 1 pixel, takes away.
    local_std: log of the median spread within 5 x 5 pixels.   flat_fraction: share of pixels like their neighbours.
    block_peak: log of how much stronger edges are on a regular grid, 0 upward.   histogram_entropy: bits, 0 to 8.
    tail_weight: log kurtosis of gradients.   overshoot: high_energy less mid_energy.
    saturation, contrast, clipped: mean max - min of RGB, spread of luma, share of values at the ends; 0 to 1.
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
            float(np.mean(steps < 2.1 / 255)),
            0.5 * (_grid_peak(np.abs(across).mean(axis=0)) + _grid_peak(np.abs(down).mean(axis=1))),
            _entropy(pixels),
            float(np.log(_kurtosis(np.concatenate([across.ravel(), down.ravel()])))),
            high_energy - mid_energy,
            float(np.mean(np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue))),
            float(luma.std()),
            float(np.mean((pixels <= 2) | (pixels >= 253))),
        ]
    )


def _log_rms(band: Floats) -> float:
    return float(np.log(np.sqrt(np.mean(band**2)) + QUIET))


def _blur(plane: Floats, sigma: float) -> Floats:
    """Gaussian blur of [H, W], edges repeated."""
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
    """[H - 4, W - 4] spread within 5 x 5 pixels, from sums of values and squares."""
    mean, square = _box_mean(plane), _box_mean(plane**2)
    return np.sqrt(np.clip(square - mean**2, 0, None))


def _box_mean(plane: Floats) -> Floats:
    sums = np.pad(plane, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return (sums[5:, 5:] - sums[:-5, 5:] - sums[5:, :-5] + sums[:-5, :-5]) / 25


def _grid_peak(profile: NDArray[np.float64]) -> float:
    """Log of how much stronger the usual edge on the best grid of square cells is than three quarters of those off it.

    ``profile`` [W - 1] is the mean step between neighbouring columns. Cells are what scaling n of them up to W pixels
    leaves; taking the median along the grid keeps single strong contours from looking like one.
    """
    side, steps = len(profile) + 1, np.log(profile + 0.5 / 255)
    best = 0.0
    for cells in range(max(6, side // 64), side * 3 // 4 + 1):
        on_grid = np.diff(np.floor((np.arange(side) + 0.5) * cells / side)) > 0
        best = max(best, float(np.median(steps[on_grid]) - np.quantile(steps[~on_grid], 0.75)))
    return best


def _entropy(pixels: Pixels) -> float:
    """Mean over R, G, B of the entropy of their values."""
    bits = []
    for channel in range(3):
        share = np.bincount(pixels[..., channel].ravel(), minlength=256) / pixels[..., channel].size
        bits.append(-float(np.sum(share[share > 0] * np.log2(share[share > 0]))))
    return float(np.mean(bits))


def _kurtosis(values: NDArray[np.float64]) -> float:
    square = (values - values.mean()) ** 2
    return float(np.mean(square * square) / (np.mean(square) ** 2 + QUIET**4) + 1)
