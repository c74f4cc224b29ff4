"""Images to latents and back, in the unit that the denoiser was trained in."""

from typing import Any

import torch
from torch import Tensor


def latent_shape(vae: Any, width: int, height: int) -> tuple[int, int, int]:
    """Return [channels, rows, columns] of the latents of an image of so many pixels."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return vae.config.latent_channels, height // factor, width // factor


@torch.no_grad()
def encode(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the latents of [N, 3, H, W] images in [-1, 1], shifted and scaled."""
    posterior = vae.encode(images.to(vae.device)).latent_dist
    scale = vae.config.scaling_factor
    return (posterior.mean - _shift(vae)) * scale, posterior.std * scale


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Return [N, H, W, 3] uint8 images on the CPU from [N, c, h, w] latents."""
    # one image at a time, so that neither memory nor rounding depends on the batch
    return torch.cat([_decoded(vae, latents[row : row + 1]) for row in range(len(latents))])


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    images = vae.decode(latents / vae.config.scaling_factor + _shift(vae)).sample
    return images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def _shift(vae: Any) -> float:
    return vae.config.get("shift_factor") or 0.0
