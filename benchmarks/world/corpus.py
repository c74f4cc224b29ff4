"""The images that the drawn world's models are trained on: tens of thousands of renders of as many people, kept on
disk.

Everything is a function of the corpus' seed: image `i` is drawn from `np.random.default_rng([seed, i])`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from lorasweep.portraits.people import Identity, Scene, sample_identity, sample_scene
from lorasweep.portraits.render import render

CHUNK = 1000


def subject(seed: int, index: int) -> tuple[Identity, Scene, int]:
    """Return who is in image `index` of the corpus, in which scene, and the image's own seed."""
    rng = np.random.default_rng([seed, index])
    return sample_identity(rng), sample_scene(rng), int(rng.integers(2**31))


def _chunk(seed: int, start: int, size: int) -> np.ndarray:
    chunk = np.empty((CHUNK, size, size, 3), np.uint8)
    for place in range(CHUNK):
        identity, scene, rng_seed = subject(seed, start + place)
        chunk[place] = np.asarray(render(identity, scene, size, rng_seed))
    return chunk


def _chunks(seed: int, count: int, size: int) -> Iterator[np.ndarray]:
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(_chunk, [seed] * len(starts), starts, [size] * len(starts))


def pictures(folder: Path, count: int = 40_000, *, seed: int = 1, size: int = 64) -> np.ndarray:
    """Return [count, size, size, 3] uint8, drawn on the first call and memory-mapped from `folder` afterwards."""
    path = folder / f"pictures-{seed}-{count}-{size}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        whole = np.lib.format.open_memmap(part, "w+", np.uint8, (count, size, size, 3))
        for place, chunk in enumerate(_chunks(seed, count, size)):
            whole[place * CHUNK : (place + 1) * CHUNK] = chunk
        whole.flush()
        part.rename(path)
    return np.load(path, mmap_mode="r")


def scenes(count: int, *, seed: int = 1) -> list[Scene]:
    """Return the scene of every image of the corpus."""
    return [subject(seed, index)[1] for index in range(count)]
