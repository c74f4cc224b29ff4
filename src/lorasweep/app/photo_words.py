"""From the folder that a user names to the overrides that mean it."""

from collections.abc import Sequence
from pathlib import Path

from lorasweep.config.compose import as_override
from lorasweep.data.folders import words_unsaid


def folder_words(folder: Path, overrides: Sequence[str]) -> list[str]:
    """``data.path`` and what Kohya's folder names say beyond ``overrides``, in Hydra's grammar.

    Raises:
        UserError: folders of several subjects under no trigger.
    """
    place = folder.absolute()
    known = {"data.path": str(place), **words_unsaid(place, overrides)}
    return [as_override(key, text) for key, text in known.items()]
