"""What commands on a folder of photos have in common: arguments, and the overrides that the folder stands for."""

import itertools
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from lorasweep.config.compose import as_override, load_run
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import words_unsaid
from lorasweep.errors import UserError

DIRS = "--config-dir"
NOUN = "data.class_noun"


def add_photos(parser: ArgumentParser) -> None:
    """Declare ``DIR [key=value …] [--config-dir DIR]``."""
    parser.add_argument("folder", metavar="DIR", help="the folder of photos")
    add_overrides(parser)


def add_overrides(parser: ArgumentParser) -> None:
    """Declare ``[key=value …] [--config-dir DIR]``."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, as for train")
    parser.add_argument(DIRS, action="append", default=[], metavar="DIR", help="a folder of your own presets")


def photo_folder(text: str | Path, command: str) -> Path:
    """Return the folder of photos as a path. Raise UserError if it does not exist."""
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise UserError(f"the folder of photos {str(text)!r} does not exist; name it right after {command!r}")
    return folder


def folder_words(folder: Path, overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Return ``data.path``, and what the names of Kohya's folders say beyond ``overrides``, in Hydra's grammar.

    Args:
        config_dirs: folders of presets, besides those that ``overrides`` name as flags.

    Raises:
        UserError: the folder holds several subjects, and ``overrides`` give no trigger.
    """
    place = folder.absolute()
    known = {"data.path": str(place), **words_unsaid(place, overrides)}
    if NOUN in known:
        known[NOUN] = noun_beside(known[NOUN], _usual_noun(overrides, [*config_dirs, *_named_dirs(overrides)]))
    return [as_override(key, text) for key, text in known.items()]


def _usual_noun(overrides: Sequence[str], config_dirs: Sequence[str | Path]) -> str:
    """Return the preset's class noun, '' if the preset alone does not compose: composing the run then says why."""
    chosen = [word for word in overrides if word.startswith(("preset=", "data="))]
    if not any(word.startswith("preset=") for word in chosen):
        return ""
    missing = {"data.path": "", "model.path": ""}
    try:
        return load_run([*chosen, "hardware=cpu"], config_dirs=config_dirs, when_missing=missing).data.class_noun
    except UserError:
        return ""


def _named_dirs(overrides: Sequence[str]) -> list[str]:
    """Return the folders behind ``--config-dir`` of a command line."""
    after = [word for flag, word in itertools.pairwise(overrides) if flag == DIRS]
    return [*after, *(word.partition("=")[2] for word in overrides if word.startswith(f"{DIRS}="))]
