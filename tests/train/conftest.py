"""A tiny model and photos."""

from contracts.fixtures import dataset, family, family_of, file_of, model_folder, model_of

__all__ = ["dataset", "family", "family_of", "file_of", "model_folder", "model_of"]
