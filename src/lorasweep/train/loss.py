"""From the denoiser's errors to one number a row."""

from collections.abc import Sequence

import torch
from torch import Tensor


def row_errors(squared: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
    """[N] mean squared error of each row, over the part of it that counts.

    A masked row is divided by the mask's own sum, so that a small face weighs as much as a large one. sd-scripts
    divides by the whole picture: there a mask that is a tenth of it trains at a tenth of the learning rate.
    A row without a mask is bit for bit what it is where no row has one.

    Args:
        squared: [N, c, h, w].
        masks: of each row, [h, w] from 0 to 1 and not 0 everywhere; None counts everywhere.
    """
    plain = squared.flatten(1).mean(1)
    if all(mask is None for mask in masks):
        return plain
    channels = squared.shape[1]
    return torch.stack(
        [
            plain[row] if mask is None else (squared[row] * mask).sum() / (mask.sum() * channels)
            for row, mask in enumerate(masks)
        ]
    )
