"""From the folder that a user names to the overrides that mean it."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from lorasweep.config.compose import as_override, load_run
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import words_unsaid

DIRS = "--config-dir"
NOUN = "data.class_noun"


def folder_words(folder: Path, overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """``data.path`` and what Kohya's folder names say beyond ``overrides``, in Hydra's grammar.

    Args:
        config_dirs: where presets lie, besides those that ``overrides`` name as flags.

    Raises:
        UserError: folders of several subjects under no trigger.
    """
    place = folder.absolute()
    known = {"data.path": str(place), **words_unsaid(place, overrides)}
    if NOUN in known:
        known[NOUN] = noun_beside(known[NOUN], _usual_noun(overrides, [*config_dirs, *_named_dirs(overrides)]))
    return [as_override(key, text) for key, text in known.items()]


def _usual_noun(overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> str:
    """The preset's own class noun; '' where one preset does not compose by itself, which training then says."""
    chosen = [word for word in overrides if word.startswith(("preset=", "data="))]
    if not any(word.startswith("preset=") for word in chosen):
        return ""
    missing = {"data.path": "", "model.path": ""}
    try:
        return load_run([*chosen, "hardware=cpu"], config_dirs=config_dirs, when_missing=missing).data.class_noun
    except ValueError:
        return ""


def _named_dirs(overrides: Sequence[str]) -> list[str]:
    """Folders behind ``--config-dir``, as a command line has them."""
    after = [word for flag, word in itertools.pairwise(overrides) if flag == DIRS]
    return [*after, *(word.partition("=")[2] for word in overrides if word.startswith(f"{DIRS}="))]
