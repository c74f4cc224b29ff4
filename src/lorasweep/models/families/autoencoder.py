"""Pictures to latents and back, in the unit that the denoiser was trained in."""

from typing import Any

import torch
from torch import Tensor


def latent_shape(vae: Any, width: int, height: int) -> tuple[int, int, int]:
    """[channels, rows, columns] for a picture of so many pixels."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return vae.config.latent_channels, height // factor, width // factor


@torch.no_grad()
def encode(vae: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """[N, 3, H, W] in [-1, 1] to mean and standard deviation of the latents, shifted and scaled."""
    posterior = vae.encode(pictures.to(vae.device)).latent_dist
    scale = vae.config.scaling_factor
    return (posterior.mean - _shift(vae)) * scale, posterior.std * scale


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """[N, c, h, w] to [N, H, W, 3] uint8 on the CPU.

    One picture at a time, so that memory and rounding do not depend on the batch.
    """
    return torch.cat([_decoded(vae, latents[place : place + 1]) for place in range(len(latents))])


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    pictures = vae.decode(latents / vae.config.scaling_factor + _shift(vae)).sample
    return pictures.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def _shift(vae: Any) -> float:
    return vae.config.get("shift_factor") or 0.0
