"""Tiny models, and what a user would type to train on one."""

from contracts.fixtures import dataset, file_of, model_folder, model_of, overrides

__all__ = ["dataset", "file_of", "model_folder", "model_of", "overrides"]
