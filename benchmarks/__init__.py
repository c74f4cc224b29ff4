"""Measurements side by side; what they printed is in ``results/``."""
