"""The training step: rows in, one loss a row out.

Training, the loss on fixed rows and the plan's count of memory all go through ``slot_losses``, so that none of them
measures a step that nobody takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lorasweep.models.family import Family, Text

if TYPE_CHECKING:
    from lorasweep.config.schema import OptimConfig


@dataclass(frozen=True)
class Rows:
    """The inputs of one slot's rows, before the model: lists of one entry a row."""

    latents: list[Tensor]
    """[c, h, w] each, on the family's device."""
    noise: list[Tensor]
    """[c, h, w] each, on the CPU."""
    uniforms: list[float]
    """In [0, 1): the quantile of the timestep's distribution."""
    texts: list[str]
    sizes: list[tuple[int, ...]]
    guidance: list[float]
    masks: list[Tensor | None]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """The rows of all slots as one batch, slot-major: N = C slots x B rows."""

    latents: Tensor
    """[N, c, h, w]."""
    noise: Tensor
    """[N, c, h, w]."""
    uniforms: Tensor
    """[N] in [0, 1), on the CPU in fp64."""
    texts: list[str]
    sizes: list[tuple[int, ...]]
    """Photo (height, width), corner of the crop (top, left), image (height, width), as SDXL was told in training."""
    guidance: list[float]
    masks: list[Tensor | None]
    """[h, w] how much each latent counts; None if all count alike."""
    weights: Tensor
    """[N] how much each row counts."""

    @classmethod
    def of(cls, parts: Sequence[Rows], device: torch.device) -> "Batch":
        """Stack the rows of all slots, which must be of one size."""
        return cls(
            latents=torch.stack([row for part in parts for row in part.latents]),
            noise=torch.stack([row for part in parts for row in part.noise]).to(device),
            uniforms=torch.tensor([number for part in parts for number in part.uniforms], dtype=torch.float64),
            texts=[text for part in parts for text in part.texts],
            sizes=[size for part in parts for size in part.sizes],
            guidance=[guidance for part in parts for guidance in part.guidance],
            masks=[mask for part in parts for mask in part.masks],
            weights=torch.tensor([weight for part in parts for weight in part.weights], device=device),
        )


def slot_losses(carrier: Family, batch: Batch, text: Text, optims: "Sequence[OptimConfig | None]") -> Tensor:
    """Return the loss of every row, [C, B] in fp32, differentiable in the carrier's adapters.

    Args:
        carrier: the base model with C adapters on it, or without any (C = 1).
        text: the batch's captions as text embeddings, one row each.
        optims: of each slot, for its distribution of timesteps and min-SNR weights; None takes the family's own
            distribution and no weights.
    """
    objective, latents, noise = carrier.objective, batch.latents, batch.noise
    # each slot draws from its own distribution, so that a slot's timesteps do not depend on its neighbours
    parts = [
        objective.timesteps(uniforms, optim, latents.shape[1:])
        for uniforms, optim in zip(batch.uniforms.chunk(len(optims)), optims, strict=True)
    ]
    timesteps = torch.cat(parts)
    told = carrier.training_text(text, batch.sizes, batch.guidance)
    answer = carrier.denoise(objective.noised(latents, noise, timesteps), timesteps, told)
    squared = (answer - objective.target(latents, noise, timesteps)).square()
    errors = row_errors(squared, batch.masks) * batch.weights
    snr = [objective.loss_weights(t, o.min_snr_gamma if o else None) for t, o in zip(parts, optims, strict=True)]
    return errors.view(len(optims), -1) * torch.stack(snr)


def row_errors(squared: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
    """Return the mean squared error of each row, [N], over the part of it that counts.

    Args:
        squared: [N, c, h, w].
        masks: of each row, [h, w] from 0 to 1 and not 0 everywhere; None counts everywhere.
    """
    plain = squared.flatten(1).mean(1)
    if all(mask is None for mask in masks):
        return plain
    channels = squared.shape[1]
    # Divided by the mask's own sum, so that a small face weighs as much as a large one. sd-scripts divides by the whole
    # image: there a mask that covers a tenth of it trains at a tenth of the learning rate.
    return torch.stack(
        [
            # bit for bit what it is if no row has a mask: a slot does not depend on its neighbours' masks
            plain[row] if mask is None else (squared[row] * mask).sum() / (mask.sum() * channels)
            for row, mask in enumerate(masks)
        ]
    )
