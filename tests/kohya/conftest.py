"""Tiny models, what a user would type to train on one, and base presets that are composed once."""

from collections.abc import Iterator
from functools import cache

import pytest
from contracts.fixtures import file_of, model_folder, model_of, overrides

__all__ = ["file_of", "model_folder", "model_of", "overrides"]


@pytest.fixture(scope="session", autouse=True)
def _bases_once() -> Iterator[None]:
    # every import composes the preset that it builds on, which no test changes
    from lorasweep.kohya import importing

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importing, "_base_of", cache(importing._base_of))
        yield
