"""DVAR: the step at which the loss of a fixed batch comes to rest and training would stop. Evidence; it picks nothing.

Deterministic VARiance evaluation, Voronov et al. 2023 (arXiv 2302.04841): the loss of one batch whose photos, noise and
timesteps stay the same is measured during training, which stops as soon as the variance of the last ``window`` values
falls below ``eps`` of the variance of all of them. It looks at no image.
"""

from collections.abc import Sequence

import numpy as np

WINDOW = 440
"""Steps of the window that the authors use for DreamBooth with LoRA (README of their repository)."""
EPS = 0.4
"""Share of the variance that they use with it."""


def dvar_ratio(losses: Sequence[float], window: int) -> float:
    """Return the variance of the last ``window`` losses over that of all.

    Return NaN if there are fewer losses, if one is not finite, or if they do not vary. Both variances are the
    population's, as in the authors' code.
    """
    every = np.asarray(losses, dtype=np.float64)
    if len(every) < window or not np.isfinite(every).all():
        return float("nan")
    whole = float(np.var(every))
    return float(np.var(every[-window:])) / whole if whole > 0 else float("nan")


def dvar_stop(losses: Sequence[float], window: int, eps: float) -> int | None:
    """Return the index of the first loss whose ratio is below ``eps``, or None."""
    places = range(window, len(losses) + 1)
    return next((n - 1 for n in places if dvar_ratio(losses[:n], window) < eps), None)


def dvar_window(steps: Sequence[int]) -> int:
    """Return how many losses measured at ``steps`` (equally spaced, at least two) span ``WINDOW`` steps."""
    return max(2, round(WINDOW / (steps[1] - steps[0])))


def dvar_step(steps: Sequence[int], losses: Sequence[float]) -> int | None:
    """Return the optimiser step at which DVAR stops with the published numbers, or None.

    Args:
        steps: of the measured losses, equally spaced and from 0 on. The authors measure at every step; measured less
            often, fewer values span the same stretch of training.
    """
    if len(steps) < 2 or steps[0] != 0:  # the variance of the whole curve needs its beginning
        return None
    place = dvar_stop(losses, dvar_window(steps), EPS)
    return None if place is None else steps[place]
