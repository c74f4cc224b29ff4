"""A tiny model, and what a user would type to train on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.fixtures import file_of, model_folder, model_of
from contracts.tiny import SIDE, write_tiny_photos

from lorasweep.config.compose import as_override

__all__ = ["file_of", "model_folder", "model_of"]


@pytest.fixture
def overrides(model_folder: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides of a run of 12 steps with 3 checkpoints and no scorers, under ``tmp_path``/mlruns."""
    photos = write_tiny_photos(tmp_path / "photos")

    def build(*more: str) -> list[str]:
        return [
            "preset=person_portraits",
            as_override("data.path", str(photos)),
            as_override("model.path", str(model_folder)),
            as_override("track.root", str(tmp_path / "mlruns")),
            f"model.resolution={SIDE}",
            *("data.repeats=2", "lora.rank=4", "optim.batch_size=2", "optim.steps=12", "save.count=3"),
            *("evaluate.enabled=false", "hardware.threads=1"),
            *more,
        ]

    return build
