"""What ``lorasweep import`` prints: a row for every setting that became something, and the names of the others."""

import os
import shlex
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorasweep.config.compose import PRESETS_VARIABLE, as_override
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import words_unsaid
from lorasweep.errors import UserError
from lorasweep.kohya.draft import Imported, Line, Status, plain

TABLES = (
    (Status.CARRIED, "carried over"),
    (Status.NEAR, "not quite the same here"),
    (Status.LOST, "CANNOT BE CARRIED OVER"),
    (Status.UNKNOWN, "NOT KNOWN"),
)
WIDTH = 118
"""Columns of a line of names."""
WIDEST = 40
"""Columns of a value; a longer one is cut off."""


def print_imported(made: Imported, say: Say) -> None:
    """Print tables of what was carried, changed and left out, the rest by name, and the command that trains."""
    for kind, title in TABLES:
        rows = [line for line in made.lines if line.kind == kind]
        if rows:
            say(f"{title}:")
            for row in _table(rows):
                say(f"  {row}")
    defaults = [f"{line.key}: {line.says}" for line in made.lines if line.kind == Status.DEFAULT]
    if defaults:
        say(_wrapped("not in the file, Kohya's default counts", defaults, "; "))
    for kind, title in ((Status.INERT, "no effect here"), (Status.OFF, "off or empty there")):
        names = [line.key for line in made.lines if line.kind == kind]
        if names:
            say(_wrapped(title, names, ", "))
    if made.effective_rate is None:
        say(f"A dataset file says nothing of rank, rates and steps; they are those of {made.base}.")
    else:
        say(f"effective rate lr * alpha / rank: {made.effective_rate:g}, as there")
    say(f"{made.preset} builds on preset={made.base}, which says how pictures are drawn and judged.")
    say("From 12 photos up a fifth is not trained on but judged by; with data.held_out=0 all train, as in Kohya.")
    say(f"train with it:  {made.train}")


def train_command(preset: Path, sets: Mapping[str, Any], run: RunConfig) -> str:
    """Return the command that trains with a preset's file, quoted for the shell of this machine.

    Args:
        sets: what the preset sets, by dotted key.
        run: what it makes.
    """
    folder = str(sets.get("data.path", ""))
    words = ["lorasweep", "train", folder or "DIR", f"preset={preset.stem}"]
    if folder and "data.trigger" in sets and Path(folder).is_dir():
        words += [as_override(key, sets[key]) for key in _named_otherwise(Path(folder), sets)]
    if not run.model.path:
        words.append("model.path=FILE")
    # the folder of presets need not be named if the environment does so already
    here = os.environ.get(PRESETS_VARIABLE)
    if not here or Path(here).resolve() != preset.parent.parent.resolve():
        words += ["--config-dir", str(preset.parent.parent)]
    # each shell quotes in its own way
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _named_otherwise(folder: Path, sets: Mapping[str, Any]) -> list[str]:
    """Return the keys of which a Kohya folder's name says something else, and would win over the preset."""
    try:
        found = words_unsaid(folder.absolute(), [])
    except UserError:  # folders of several names, which are one subject only if an override says so
        return ["data.trigger"]
    if "data.class_noun" in found:
        found["data.class_noun"] = noun_beside(found["data.class_noun"], str(sets.get("data.class_noun", "")))
    return [key for key, word in found.items() if sets.get(key, word) != word]


def _wrapped(title: str, parts: Sequence[str], between: str) -> str:
    text = f"{title}: {between.join(parts)}"
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _table(rows: Sequence[Line]) -> list[str]:
    cells = [(row.key, _short(row.value), row.says) for row in rows]
    widths = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    return [f"{key:<{widths[0]}}  {value:<{widths[1]}}  {says}" for key, value, says in cells]


def _short(value: object) -> str:
    text = "" if value is None else " ".join(plain(value).split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
