"""Statistics that several benchmarks report."""

from typing import Any

import numpy as np


def rank_correlation(values: np.ndarray) -> float:
    """Return Spearman's rho in [-1, 1] of a curve with its places; ties share their mean rank, a flat curve has 0."""
    if np.ptp(values) == 0:
        return 0.0  # the correlation is not defined
    ranks = np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def auroc(above: Any, below: Any) -> float:
    """Return the share in [0, 1] of pairs in which the first value is higher; a tie counts half."""
    one, two = np.array(above)[:, None], np.array(below)[None]
    return float(((one > two) + 0.5 * (one == two)).mean())
