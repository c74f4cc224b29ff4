"""Fixtures that the rooms with a model in them share; imported by their conftest modules."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from contracts.single_file import write_single_file
from contracts.tiny import SIDE, load_tiny, tiny_dataset, write_tiny_photos, write_tiny_sd
from contracts.tiny_models import load_tiny_kind, write_tiny

from lorasweep.config.compose import as_override
from lorasweep.records import Dataset


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Stable Diffusion model."""
    import torch

    torch.set_num_threads(1)
    return write_tiny_sd(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="session")
def family(model_folder: Path) -> Any:
    """That model in memory, in fp32 on the CPU."""
    return load_tiny(model_folder)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five photos, each seen twice an epoch."""
    return tiny_dataset(write_tiny_photos(tmp_path_factory.mktemp("photos")))


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random model of a family."""
    root = tmp_path_factory.mktemp("kinds")
    return cache(lambda kind: write_tiny(kind, root / kind))


@pytest.fixture(scope="session")
def file_of(model_of: Callable[[str], Path]) -> Callable[[str], Path]:
    """The same model as one checkpoint file."""
    return cache(lambda kind: write_single_file(kind, model_of(kind), model_of(kind).with_suffix(".safetensors")))


@pytest.fixture(scope="session")
def family_of(model_of: Callable[[str], Path]) -> Callable[[str], Any]:
    """That model in memory, in fp32 on the CPU."""
    return cache(lambda kind: load_tiny_kind(kind, model_of(kind)))


@pytest.fixture
def overrides(model_folder: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides of a run of 12 steps with 3 checkpoints and no scorers, under ``tmp_path``/mlruns."""
    words = tiny_overrides(write_tiny_photos(tmp_path / "photos"), model_folder, tmp_path / "mlruns")
    return lambda *more: [*words, *more]


def tiny_overrides(photos: Path, model: Path, root: Path) -> list[str]:
    """Overrides of a run of 12 steps with 3 checkpoints and no scorers."""
    return [
        "preset=person_portraits",
        as_override("data.path", str(photos)),
        as_override("model.path", str(model)),
        as_override("track.root", str(root)),
        f"model.resolution={SIDE}",
        *("data.repeats=2", "lora.rank=4", "optim.batch_size=2", "optim.steps=12", "save.count=3"),
        *("evaluate.enabled=false", "hardware.threads=1"),
    ]
