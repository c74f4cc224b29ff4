"""What the build stages of the looking networks share: augmentation, fresh renders to test on, a card and curves."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from benchmarks.world import corpus
from lorasweep.portraits.manifest import WEIGHTS
from lorasweep.portraits.people import Identity, Scene
from lorasweep.portraits.render import render

CACHE = Path(".cache") / "portraits"


def fresh_renders(count: int, seed: int) -> tuple[np.ndarray, list[tuple[Identity, Scene, int]]]:
    """Return [count, 64, 64, 3] uint8 of as many people, and (identity, scene, jitter) of each; the corpus has seed
    1."""
    subjects = [corpus.subject(seed, index) for index in range(count)]
    return np.stack([np.asarray(render(who, scene, 64, jitter)) for who, scene, jitter in subjects]), subjects


def recompress(pictures: np.ndarray, rng: np.random.Generator, share: float = 0.08) -> np.ndarray:
    """Return [n, h, w, 3] uint8 with `share` of them written to JPEG of quality 40 to 90 and read again."""
    pictures = pictures.copy()
    for index in np.flatnonzero(rng.random(len(pictures)) < share):
        file = io.BytesIO()
        Image.fromarray(pictures[index]).save(file, "JPEG", quality=int(rng.integers(40, 91)))
        pictures[index] = np.asarray(Image.open(file))
    return pictures


def soften(pictures: torch.Tensor, generator: torch.Generator, *, colour: float, softness: float = 1.0) -> torch.Tensor:
    """Return [n, 3, h, w] in [-1, 1] with blur in half of them, noise in most, and a colour shift of at most
    `colour`."""
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


def finish(folder: Path, rows: list[dict[str, float]], card: str, figures: dict[str, float]) -> None:
    """Write `curves.json` (at most 60 rows) and `CARD.md` with the measured `figures` to a folder of weights."""
    every = max(1, len(rows) // 60)
    (folder / "curves.json").write_text(json.dumps(rows[::-1][::every][::-1]) + "\n", encoding="utf-8")
    table = "".join(f"| {name} | {value:.4f} |\n" for name, value in figures.items())
    (folder / "CARD.md").write_text(f"{card}\n| measured | figure |\n|---|---|\n{table}", encoding="utf-8")


def run_stage(build: Callable[[Path, Path], None], folder: Path = WEIGHTS) -> None:
    """Build one stage from the command line, on one thread."""
    torch.set_num_threads(1)
    build(CACHE, folder)
