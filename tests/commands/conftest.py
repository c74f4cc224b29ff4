"""Tiny models, and what a user would type to train on one."""

from contracts.fixtures import file_of, model_folder, model_of, overrides

__all__ = ["file_of", "model_folder", "model_of", "overrides"]
