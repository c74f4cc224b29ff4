"""Cuts the published sheets of real LoRA trainings into pictures; nothing else knows how they are laid out.

Each grid shows one run a row and one of its 10 checkpoints a column, in tiles of 768 pixels below a header of numbers
and beside a column of names. Four grids show the same runs: two base models that draw (ER, DS), each on two prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lorasweep.data.pictures import Pixels

TILE, NAMES, CHECKPOINTS = 768, 576, 10
"""Pixels of a tile's side and of the column of names, and tiles in a row."""
BLOCK, RIM = 8, 8
"""Pixels of a JPEG block, and what is cut off a tile where a frame may be painted over it."""
SIDE = 736
"""Pixels of a picture that is cut out: whole blocks, clear of the frame."""
LOWEST_HEADER = 60
KINDS = ("ER - Simple", "DS - Simple", "ER - Complex", "DS - Complex")
"""The pictures of a checkpoint's sheet, by the names of their grids."""
GROUPS = ("GR 1.02", "GR ∞")
"""Limits of how fast the optimiser's rate may grow; a folder each, but where they are what is compared."""
GRIDS = {
    "Total Steps": (5, 4),
    "Growth Rate": (5,),
    "Network Rank": (7, 6),
    "Network Alpha": (6, 5),
    "Noise Offset": (5, 4),
    "Batch Size": (3, 3),
    "Scheduler": (4, 3),
    "Weight Decay": (6, 5),
    "Precision": (6,),
    "Regularisation": (4,),
    "Min SNR Gamma": (5, 4),
    "Epochs x Repeats": (5, 4),
    "Aspect Ratio": (3, 2),
    "Betas": (3, 2),
}
"""Category to rows that all four grids have, by group."""
AGAIN = {
    **dict.fromkeys(("Aspect Ratio", "Betas", "Epochs x Repeats"), ((0, 1), (0,))),
    **dict.fromkeys(("Network Alpha", "Noise Offset", "Scheduler"), ((0, 1), (0,))),
    **{"Growth Rate": ((0, 1, 4),), "Precision": ((0, 1),), "Regularisation": ((0, 1),), "Total Steps": ((), ())},
    **{"Batch Size": ((1, 2), (1,)), "Min SNR Gamma": ((1, 2), (1,)), "Network Rank": ((3, 4), (3,))},
    **{"Weight Decay": ((3, 4), (3,))},
}
"""Rows that show the default runs, which every category repeats; they are taken from Total Steps."""
STRENGTHS = tuple(place / 10 for place in range(16))
"""Of the columns of the sheet of strengths."""
PHOTO_STEP, PHOTO_RIM, PHOTO_SIDE, PHOTOS_A_SIDE = 493, 29, 448, 4
"""Of the sheet of reference photos, in pixels: from one photo to the next, before the first, and what is cut out."""


@dataclass(frozen=True, order=True)
class Row:
    """Where a run is shown."""

    category: str
    group: str
    """'' where the category has no groups."""
    row: int

    @property
    def key(self) -> str:
        return "/".join(filter(None, (self.category, self.group, str(self.row))))


def rows() -> Iterator[Row]:
    """Yield every run that all four grids show, each once."""
    for category, counts in GRIDS.items():
        for place, count in enumerate(counts):
            group = "" if category == "Growth Rate" else GROUPS[place]
            for row in range(count):
                if row not in AGAIN[category][place]:
                    yield Row(category, group, row)


_UNTRAINED = Row("Total Steps", "GR 1.02", 0)
BASES = {
    "usual": dict.fromkeys(KINDS, _UNTRAINED),
    "rank": dict.fromkeys(KINDS, _UNTRAINED) | {"ER - Complex": Row("Network Rank", "GR 1.02", 2)},
}
"""Runs whose first checkpoint stands for the base model: 165 steps at a rate that has hardly grown; one that never
trained is equal to it within 0.4 to 1.1 of 255. One grid of Network Rank has a prompt of its own."""


def base_name(row: Row) -> str:
    """Return the key of BASES for a run."""
    return "rank" if row.category == "Network Rank" else "usual"


def grid_file(checkout: Path, row: Row, kind: str) -> Path:
    """Return the file that shows a run."""
    return checkout / "Comparison" / row.category / "graphs" / row.group / f"{kind} Prompt.jpg"


def cut_row(grid: Pixels, row: int) -> list[Pixels]:
    """Return the pictures [SIDE, SIDE, 3] of one row of a grid.

    Raises:
        ValueError: the grid has no such row, or no header.
    """
    header, count = grid.shape[0] % TILE, grid.shape[0] // TILE
    if header < LOWEST_HEADER or row >= count or grid.shape[1] != NAMES + CHECKPOINTS * TILE:
        raise ValueError(f"a grid of {grid.shape[1]} x {grid.shape[0]} pixels has no row {row} of {CHECKPOINTS} tiles")
    top = _on_block(header + RIM) + row * TILE
    lefts = [_on_block(NAMES + RIM) + RIM + place * TILE for place in range(CHECKPOINTS)]
    return [grid[top : top + SIDE, left : left + SIDE] for left in lefts]


def cut_strengths(sheet: Pixels) -> list[Pixels]:
    """Return the pictures of the sheet of strengths, one for each of STRENGTHS. Raise ValueError if they are not 16."""
    if sheet.shape[1] != TILE * len(STRENGTHS) or sheet.shape[0] < TILE:
        raise ValueError(f"a sheet of {sheet.shape[1]} pixels does not show {len(STRENGTHS)} strengths")
    top = _on_block(sheet.shape[0] % TILE + RIM)
    lefts = [2 * RIM + place * TILE for place in range(len(STRENGTHS))]
    return [sheet[top : top + SIDE, left : left + SIDE] for left in lefts]


def cut_photos(sheet: Pixels) -> list[Pixels]:
    """Return the 16 reference photos [448, 448, 3]. Raise ValueError if the sheet is too small."""
    starts = [_on_block(PHOTO_RIM + PHOTO_STEP * place) for place in range(PHOTOS_A_SIDE)]
    if min(sheet.shape[:2]) < starts[-1] + PHOTO_SIDE:
        raise ValueError(f"a sheet of {sheet.shape[1]} x {sheet.shape[0]} pixels does not show 4 x 4 photos")
    return [sheet[top : top + PHOTO_SIDE, left : left + PHOTO_SIDE] for top in starts for left in starts]


def open_sheet(path: Path) -> Pixels:
    """Return [H, W, 3] uint8 of a sheet, however large it is."""
    Image.MAX_IMAGE_PIXELS = None  # Pillow takes grids of 45 million pixels for an attack
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB"))


def _on_block(pixels: int) -> int:
    return -(-pixels // BLOCK) * BLOCK
