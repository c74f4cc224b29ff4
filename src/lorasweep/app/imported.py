"""What ``lorasweep import`` prints: a row for every setting that became something, the others by name."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorasweep.app.live import Say
from lorasweep.config.kohya_draft import CARRIED, DEFAULT, INERT, LOST, NEAR, OFF, UNKNOWN, Line, plain

if TYPE_CHECKING:
    from lorasweep.app.importing import Imported

TABLES = (
    (CARRIED, "carried over"),
    (NEAR, "not quite the same here"),
    (LOST, "CANNOT BE CARRIED OVER"),
    (UNKNOWN, "NOT KNOWN"),
)
WIDTH = 118
"""Characters of a line of names."""
WIDEST = 40
"""Characters of a value that are printed."""


def print_imported(made: "Imported", say: Say) -> None:
    """Tables of what was carried, changed and left out; then the rest by name; then how to train."""
    for kind, title in TABLES:
        rows = [line for line in made.lines if line.kind == kind]
        if rows:
            say(f"{title}:")
            for row in _table(rows):
                say(f"  {row}")
    defaults = [f"{line.key}: {line.says}" for line in made.lines if line.kind == DEFAULT]
    if defaults:
        say(_wrapped("not in the file, Kohya's default counts", defaults, "; "))
    for kind, title in ((INERT, "no effect here"), (OFF, "off or empty there")):
        names = [line.key for line in made.lines if line.kind == kind]
        if names:
            say(_wrapped(title, names, ", "))
    say(f"effective rate lr * alpha / rank: {made.effective_rate:g}, as there")
    say(f"{made.preset} builds on preset={made.base}, which says how pictures are drawn and judged.")
    say("From 12 photos up a fifth is not trained on but judged by; with data.held_out=0 all train, as in Kohya.")
    say(f"train with it:  {made.train}")


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
