"""A tiny model and photos."""

from contracts.fixtures import dataset, family, model_folder

__all__ = ["dataset", "family", "model_folder"]
