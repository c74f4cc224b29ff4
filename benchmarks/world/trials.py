"""What the build stages of the looking networks share: fresh renders to test on, a card and curves to leave behind."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.world import corpus
from lorasweep.portraits.manifest import WEIGHTS
from lorasweep.portraits.people import Identity, Scene
from lorasweep.portraits.render import render

CACHE = Path(".cache") / "portraits"


def fresh_renders(count: int, seed: int) -> tuple[np.ndarray, list[tuple[Identity, Scene, int]]]:
    """[count, 64, 64, 3] uint8 of as many people, and who, where and which jitter; the corpus has seed 1."""
    subjects = [corpus.subject(seed, index) for index in range(count)]
    return np.stack([np.asarray(render(who, scene, 64, jitter)) for who, scene, jitter in subjects]), subjects


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
