"""Moved to ``lorasweep.models.family``."""

from lorasweep.models.family import Family, Place, Text

__all__ = ["Family", "Place", "Text"]
