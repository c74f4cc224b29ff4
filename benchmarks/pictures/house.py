"""The picture of docs/architecture.md: the rooms as layers, and how many modules of which room each of them imports.

    python -m benchmarks.pictures.house [--to docs/pictures/house.svg]     seconds; `make architecture` does the same

Layers are those of pyproject.toml's import contract; imports are import-linter's, type-checking ones included.
A row imports what its columns name, so a number left of the diagonal would be an import in the wrong direction.
"""

import argparse
import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "pictures" / "house.svg"
PACKAGE = "lorasweep"
CONTRACT = "Imports go one way"
ROW, LEFT, TOP, WORDS = 27, 12, 92, 610
"""Pixels: height of a row and width of a column, margins, and the space for a room's name and purpose."""
LONGEST = 88
"""Letters of a purpose."""
INK, PALE, PAPER, BAND, CELL = "#20242b", "#6b7280", "#ffffff", "#f3f5f8", (31, 111, 235)

Imports = Mapping[tuple[str, str], int]
"""(importing room, imported room) to the number of imports from module to module."""


def layers() -> list[list[str]]:
    """Return the rooms by layer, highest first, without ``__main__``, which only calls ``cli``."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["name"] == CONTRACT)
    split = ([room.strip() for room in re.split(r"[|:]", layer)] for layer in contract["layers"])
    return [rooms for rooms in split if rooms != ["__main__"]]


def imports() -> tuple[Imports, Mapping[str, int]]:
    """Return the imports between rooms, and the number of modules of each room."""
    import grimp

    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=False, cache_dir=None)
    modules = [module for module in graph.modules if module != PACKAGE]
    pairs = (
        (_room(module), _room(other)) for module in modules for other in graph.find_modules_directly_imported_by(module)
    )
    packages = {_room(module) for module in modules if module.count(".") > 1}
    sizes = Counter(_room(module) for module in modules if module.count(".") > 1 or _room(module) not in packages)
    return Counter((one, other) for one, other in pairs if other not in (one, "")), sizes


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""  # the package itself, which holds the version


def purpose(room: str) -> str:
    """Return the first sentence of a room's docstring, cut to what fits."""
    folder = ROOT / "src" / PACKAGE / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    sentence = " ".join(text.split("\n\n")[0].split()).replace("``", "").rstrip(".")
    return sentence if len(sentence) <= LONGEST else sentence[:LONGEST].rsplit(" ", 1)[0] + " …"


def drawing(rows: Sequence[Sequence[str]], found: Imports, sizes: Mapping[str, int]) -> str:
    """Return the picture as SVG."""
    rooms = list(chain.from_iterable(rows))
    width, height = LEFT + WORDS + ROW * len(rooms) + 12, TOP + ROW * len(rooms) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        _text(LEFT, 24, "Rooms from top to bottom, and how often a room (row) imports from another (column)", INK, 15),
        _text(LEFT + 112, TOP - 8, "modules", PALE, 11, anchor="end"),
        *_bands(rows, width),
        *_columns(rooms),
        *_rows(rooms, found, sizes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bands(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """One a layer; rooms of one layer do not import one another."""
    top = TOP
    for place, layer in enumerate(rows):
        size = ROW * len(layer)
        if place % 2 == 0:
            yield f'<rect x="0" y="{top}" width="{width}" height="{size}" fill="{BAND}"/>'
        top += size


def _columns(rooms: Sequence[str]) -> Iterator[str]:
    for place, room in enumerate(rooms):
        x = LEFT + WORDS + ROW * place + ROW / 2 + 4
        turned = f'transform="rotate(-55 {x} {TOP - 8})"'
        yield f'<text x="{x}" y="{TOP - 8}" {turned} fill="{INK}" font-size="12">{room}</text>'


def _rows(rooms: Sequence[str], found: Imports, sizes: Mapping[str, int]) -> Iterator[str]:
    most = max(found.values())
    for line, room in enumerate(rooms):
        y = TOP + ROW * line
        yield _text(LEFT, y + 18, room, INK, 13, "bold")
        yield _text(LEFT + 112, y + 18, str(sizes[room]), PALE, 11, anchor="end")
        yield _text(LEFT + 122, y + 18, purpose(room), PALE, 11)
        for column, other in enumerate(rooms):
            x = LEFT + WORDS + ROW * column
            if line == column:
                yield f'<rect x="{x + 9}" y="{y + 9}" width="{ROW - 18}" height="{ROW - 18}" fill="{PALE}"/>'
            elif count := found.get((room, other), 0):
                yield _cell(x, y, count, most)


def _cell(x: int, y: int, count: int, most: int) -> str:
    share = (count / most) ** 0.5  # by the root, so that one import is seen beside thirty
    red, green, blue = (round(255 + (part - 255) * (0.12 + 0.68 * share)) for part in CELL)
    ink = PAPER if share > 0.6 else INK
    box = f'<rect x="{x + 1}" y="{y + 1}" width="{ROW - 2}" height="{ROW - 2}" fill="rgb({red},{green},{blue})"/>'
    return box + _text(x + ROW / 2, y + 18, str(count), ink, 12, anchor="middle")


def _text(x: float, y: float, words: str, colour: str, size: int, weight: str = "normal", anchor: str = "start") -> str:
    style = f'fill="{colour}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=PICTURE)
    chosen = parser.parse_args(words)
    chosen.to.write_text(drawing(layers(), *imports()), encoding="utf-8")


if __name__ == "__main__":
    main()
