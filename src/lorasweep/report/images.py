"""Images for a page: small and embedded. A file that is gone leaves a gap, not an error."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lorasweep.data.lora_folder import short_name
from lorasweep.records import RunView
from lorasweep.report.view import Row, prompts_of, rows_of

LONGEST = 320
"""Pixels of an embedded image's longer side."""
GREEN, INK, PAPER, FAINT = "#1f9d55", "#20242b", "#ffffff", "#e7e9ee"


def data_uri(path: Path, longest: int = LONGEST) -> str:
    """Return the image as a ``data:`` URI, at most ``longest`` pixels a side; '' if it cannot be read."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError:
        return ""
    picture.thumbnail((longest, longest))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=88, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def contact_sheet(view: RunView) -> Image.Image | None:
    """Return all samples, checkpoints down and prompts across, the picked row framed; None if nothing was drawn."""
    rows = [row for row in rows_of(view) if any(cell.pictures for cell in row.cells)]
    if not rows:
        return None
    seeds = max(len(cell.pictures) for row in rows for cell in row.cells)
    columns = len(prompts_of(view))
    # About 2,400 pixels wide: still one screen, and a few MB as a PNG.
    tile = max(48, min(128, 2400 // (columns * seeds)))
    left, top, gap = 150, 28, 6
    width = left + columns * (seeds * tile + gap)
    sheet = Image.new("RGB", (width, top + len(rows) * (tile + gap)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, prompt in enumerate(prompts_of(view)):
        pen.text((left + i * (seeds * tile + gap), 8), prompt.key[: seeds * tile // 7], INK, _font(13))
    for i, row in enumerate(rows):
        y = top + i * (tile + gap)
        _label(pen, row, y + tile // 2 - 16)
        for j, cell in enumerate(row.cells):
            _paste(sheet, cell.pictures, left + j * (seeds * tile + gap), y, tile)
        if row.picked:
            pen.rectangle((1, y - 4, width - 2, y + tile + 3), outline=GREEN, width=3)
    return sheet


def _label(pen: ImageDraw.ImageDraw, row: Row, y: int) -> None:
    name = short_name(row.label)
    short = name if len(name) < 20 else f"…{name[-18:]}"
    pen.text((8, y), short, GREEN if row.picked else INK, _font(14))
    if row.scores is not None:
        pen.text((8, y + 17), f"{row.scores.score:.2f}  {row.word}", INK, _font(12))


def _paste(sheet: Image.Image, paths: Sequence[Path], x: int, y: int, tile: int) -> None:
    for k, path in enumerate(paths):
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS)
        except OSError:
            picture = Image.new("RGB", (tile, tile), FAINT)
        sheet.paste(picture, (x + k * tile, y))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
