"""Tables for the terminal: the checkpoints of a run, and why one scores less than another."""

import math

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lorasweep.data.lora_folder import short_name
from lorasweep.evaluate.explain import Contribution, Explanation
from lorasweep.outcomes import VerdictWord
from lorasweep.records import RunView
from lorasweep.report.view import Row, rows_of

STYLES = {
    VerdictWord.GOOD: "green",
    VerdictWord.UNDER: "yellow",
    VerdictWord.OVER: "red",
    VerdictWord.UNCERTAIN: "dim",
    VerdictWord.BASE: "dim",
}


def checkpoint_table(view: RunView) -> Table:
    """Return score, interval, components and verdict of every checkpoint, with the picked one marked."""
    rows = [row for row in rows_of(view) if not row.glimpse]
    names = next((list(row.scores.components) for row in rows if row.scores is not None), [])
    table = Table(title=escape(view.name), title_justify="left", header_style="dim", pad_edge=False, box=SIMPLE_HEAD)
    foreign = view.source is not None
    table.add_column("file" if foreign else "step", justify="left" if foreign else "right", overflow="fold")
    for title in ("score", "interval", *names):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    table.add_column("")
    for row in rows:
        table.add_row(*_cells(row, names), style="bold" if row.picked else "")
    return table


def why_table(found: Explanation) -> Table:
    """Return each component's part in the difference of two scores, with the images that moved it most."""
    table = Table(title=escape(found.text), title_justify="left", header_style="dim", pad_edge=False, box=SIMPLE_HEAD)
    for title in ("component", "before", "here", "log(score)"):
        table.add_column(title, justify="left" if title == "component" else "right")
    table.add_column("what happened, and the images that moved it most", ratio=1)
    for part in found.contributions:
        if part.weight > 0:
            change = f"{part.change:+.3f}"
            table.add_row(part.component, number(part.before), number(part.value), change, escape(_happened(part)))
    table.add_row("all", number(found.before), number(found.score), f"{found.change:+.3f}", style="bold")
    return table


def _happened(part: Contribution) -> str:
    moved = [f"{p.prompt}/{p.seed} {number(p.before)} → {number(p.share)}" for p in part.pictures]
    return f"{part.text}\n{', '.join(moved)}" if moved else part.text


def _cells(row: Row, names: list[str]) -> list[str]:
    scores = row.scores
    known = [scores.components.get(name, math.nan) for name in names] if scores else [math.nan] * len(names)
    interval = f"{scores.low:.2f}–{scores.high:.2f}" if scores and math.isfinite(scores.low) else "–"
    colour = STYLES[row.verdict.word] if row.verdict else ""
    cause = f" ({row.verdict.cause})" if row.verdict and row.verdict.cause else ""
    word = escape(row.word + cause)
    return [
        "base" if row.step == 0 else escape(short_name(row.file)) if row.foreign else str(row.step),
        number(scores.score if scores else math.nan),
        interval,
        *(number(value) for value in known),
        f"[{colour}]{word}[/]" if colour and word else word,
        "◀ picked" if row.picked else "runner-up" if row.runner_up else "",
    ]


def number(value: float) -> str:
    """Return two decimals, or a dash if the value is not known."""
    return f"{value:.2f}" if math.isfinite(value) else "–"
