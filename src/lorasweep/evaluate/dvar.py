"""DVAR: where the loss on a fixed batch has come to rest, and training would have been stopped. Evidence, no pick.

Deterministic VARiance evaluation, Voronov et al. 2023 (arXiv 2302.04841): the ordinary loss of one batch whose photos,
noise and timesteps stay the same is measured as training goes on, and training stops as soon as the variance of the
last ``window`` values is less than ``eps`` of the variance of all of them. It looks at no picture.
"""

from collections.abc import Sequence

import numpy as np

WINDOW = 440
"""Steps of the window that the authors use for DreamBooth with LoRA (their repository's README)."""
EPS = 0.4
"""The share of the variance that they use with it."""


def dvar_ratio(losses: Sequence[float], window: int) -> float:
    """Variance of the last ``window`` losses over that of all; NaN before there are so many, or where none varies.

    Both variances are the population's, as in the authors' code. The first ratio is 1 by definition.
    """
    every = np.asarray(losses, dtype=np.float64)
    if len(every) < window or not np.isfinite(every).all():
        return float("nan")
    whole = float(np.var(every))
    return float(np.var(every[-window:])) / whole if whole > 0 else float("nan")


def dvar_stop(losses: Sequence[float], window: int, eps: float) -> int | None:
    """Index of the loss at which DVAR stops: the first whose ratio is below ``eps``; None where none is."""
    places = range(window, len(losses) + 1)
    return next((n - 1 for n in places if dvar_ratio(losses[:n], window) < eps), None)


def dvar_window(steps: Sequence[int]) -> int:
    """How many of the losses measured at ``steps`` (equally spaced, two at least) make a window of ``WINDOW`` steps."""
    return max(2, round(WINDOW / (steps[1] - steps[0])))


def dvar_step(steps: Sequence[int], losses: Sequence[float]) -> int | None:
    """The optimiser step at which DVAR stops with the published numbers; None where it does not.

    Args:
        steps: at which the losses were measured, equally spaced and from 0 on. The authors measure at every step;
            measured more seldom, fewer values fill the same stretch of training.
    """
    if len(steps) < 2 or steps[0] != 0:  # without its beginning the variance of the whole curve is not known
        return None
    place = dvar_stop(losses, dvar_window(steps), EPS)
    return None if place is None else steps[place]
