"""Teach an image model one subject with a LoRA, score every checkpoint and pick the one a careful human would have."""

__version__ = "0.1.0"
