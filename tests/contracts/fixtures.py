"""Fixtures that the rooms with a model in them share; imported by their conftest modules."""

from pathlib import Path
from typing import Any

import pytest
from contracts.tiny import load_tiny, tiny_dataset, write_tiny_photos, write_tiny_sd

from lorasweep.data.records import Dataset


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
