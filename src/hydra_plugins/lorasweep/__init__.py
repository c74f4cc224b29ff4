"""Hydra's face of lorasweep; everything that matters lives in ``lorasweep.app`` and ``lorasweep.sweep``."""
