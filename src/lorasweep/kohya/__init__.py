"""Kohya's settings: read, turned into a preset, and told line by line."""
