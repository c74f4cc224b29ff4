"""Every random number is a pure function of (seed, purpose, epoch, step, item).

Nothing has to be replayed on resume, no slot depends on its neighbours, and the numbers are the same on every device,
since they are made on the CPU.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor


def stream(seed: int, purpose: str, *, epoch: int = 0, step: int = 0, item: int = 0) -> np.random.Generator:
    """Return the generator of one purpose at one place of one training."""
    # Philox (Salmon et al. 2011) is counter-based: seed and purpose make its key, the place makes its counter
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    # the first word of the counter runs as numbers are drawn; the others name the place
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, item, step, epoch], dtype=np.uint64)))


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Return fp32 standard normal numbers on the CPU."""
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def seed_for(seed: int, purpose: str, **place: int) -> int:
    """Return a 63-bit seed for generators that want one."""
    return int(stream(seed, purpose, **place).integers(2**63))


def initial_noise(prompt: str, seed: int, shape: tuple[int, ...]) -> Tensor:
    """Return the noise that a sample starts from: the same at every checkpoint of every run."""
    return normal(stream(seed, f"sample/{prompt}"), shape)
