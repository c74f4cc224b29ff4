"""Hydra's face of lorasweep; everything that matters lives in ``lorasweep.commands`` and ``lorasweep.search``."""
