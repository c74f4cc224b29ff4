"""Tiny models, and what a user would type to train on one."""

from contracts.fixtures import model_folder, overrides

__all__ = ["model_folder", "overrides"]
