"""What every benchmark shares: a plain table, JSON on file, and the machine and versions it ran on."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "diffusers", "peft", "transformers", "numpy")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return the same in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def fill_page(page: Path, marks: tuple[str, str], parts: Sequence[str]) -> None:
    """Put parts between two marks of a page, in place of what is there. Raise ValueError if a mark is missing."""
    before, _, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, found, after = rest.partition(marks[1])
    if not found:
        raise ValueError(f"{page} must hold {marks[0]!r} and after it {marks[1]!r}")
    page.write_text("\n\n".join([before + marks[0], *parts, marks[1] + after]), encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write compact JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    part.replace(path)


def machine() -> dict[str, str]:
    """Return processor, cores and versions."""
    found = {name: version(name) for name in PACKAGES}
    return {"processor": _processor(), "cores": str(os.cpu_count()), "python": platform.python_version(), **found}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure_or_replay(
    doc: str | None,
    results: Path,
    measure: Callable[[int], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    figures: Callable[[dict[str, Any]], dict[str, float]],
) -> None:
    """Run the command line of a measurement in interleaved pairs: ``--pairs``, ``--replay`` and ``--json``.

    Args:
        results: where the committed figures lie.
        measure: takes a number of pairs.
        figures: what has a goal, under names that stay.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--replay", action="store_true", help="from the committed figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    if chosen.replay:
        found = json.loads(results.read_text(encoding="utf-8"))
    else:
        found = {**measure(chosen.pairs), "machine": machine()}
        write_json(results, found)
    show(found)
    if chosen.json:
        write_json(chosen.json, figures(found))
