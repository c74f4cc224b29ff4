"""Hydra's face of lorasweep; everything that matters lives in ``lorasweep.run`` and ``lorasweep.search``."""
