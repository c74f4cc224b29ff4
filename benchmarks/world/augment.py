"""What cameras, files and autoencoders do to a picture, done to training batches so that the networks see past it."""

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional


def recompress(pictures: np.ndarray, rng: np.random.Generator, share: float = 0.08) -> np.ndarray:
    """[n, h, w, 3] uint8 with `share` of them written to JPEG of quality 40 to 90 and read again."""
    pictures = pictures.copy()
    for index in np.flatnonzero(rng.random(len(pictures)) < share):
        file = io.BytesIO()
        Image.fromarray(pictures[index]).save(file, "JPEG", quality=int(rng.integers(40, 91)))
        pictures[index] = np.asarray(Image.open(file))
    return pictures


def soften(pictures: torch.Tensor, generator: torch.Generator, *, colour: float, softness: float = 1.0) -> torch.Tensor:
    """[n, 3, h, w] in [-1, 1] with blur in half of them, noise in most, and a colour shift of at most `colour`."""
    count = len(pictures)

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    size = int(torch.randint(36, 60, (1,), generator=generator))
    small = functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    blurred = functional.interpolate(small, pictures.shape[2:], mode="bilinear")
    amount = (draw(-1.0, 1.0, 1, 1, 1) * softness).clamp(0, 1)
    pictures = torch.lerp(pictures, blurred, amount)
    pictures = pictures * draw(1 - colour, 1 + colour, 3, 1, 1) + draw(-colour, colour, 3, 1, 1)
    noise = torch.randn(pictures.shape, generator=generator) * draw(0, 0.05, 1, 1, 1)
    return (pictures + noise).clamp(-1, 1)
