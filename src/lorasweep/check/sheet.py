"""All photos of a data set in one image, each with what was found on it."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lorasweep.data.atomic import write_atomically
from lorasweep.data.findings import Finding
from lorasweep.data.folders import CAPTIONS
from lorasweep.data.pictures import open_picture
from lorasweep.errors import UserError

COLUMNS, SIDE, GAP, BAR = 5, 220, 14, 22
"""Photos in a row; and in pixels: the side of one, the gap between two, the height of a line of text."""
INK, PAPER, EMPTY = (34, 34, 38), (250, 250, 248), (226, 226, 224)
COLOURS = {"error": (190, 30, 45), "warning": (201, 120, 0), "advice": (20, 110, 160)}


def save_check_sheet(findings: Sequence[Finding], pictures: Sequence[Path], verdict: str, path: Path) -> None:
    """Write a PNG: the findings about the whole set on top, then every photo with the kinds of its findings below it.

    Args:
        findings: errors first.
        pictures: image files, in the order in which they are shown; one that cannot be read is an empty field.
        verdict: the sentence on top.

    Raises:
        UserError: ``path`` is a folder.
    """
    if path.is_dir():
        raise UserError(f"--sheet is {str(path)!r}, which is a folder; name a PNG file.")
    own = {picture: [each for each in findings if _is_about(each, picture)] for picture in pictures}
    shown = {id(finding) for found in own.values() for finding in found}  # by identity: two findings may be equal
    wide = [finding for finding in findings if id(finding) not in shown]
    lines = max((len(found) for found in own.values()), default=0)
    head = (len(wide) + 2) * BAR + GAP
    cell = SIDE + (lines + 1) * BAR + GAP
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, head + rows * cell + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((GAP, GAP), verdict, INK, ImageFont.load_default(17))
    for row, finding in enumerate(wide):
        text = _cut(draw, font, f"{_words(finding)}: {finding.text}", sheet.width - 2 * GAP)
        draw.text((GAP, GAP + (row + 1.3) * BAR), text, COLOURS[finding.level], font)
    for place, picture in enumerate(pictures):
        corner = GAP + place % COLUMNS * (SIDE + GAP), head + place // COLUMNS * cell
        _draw_picture(sheet, draw, font, picture, own[picture], corner)
    stream = BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    write_atomically(path, stream.getvalue())


def _draw_picture(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    picture: Path,
    findings: Sequence[Finding],
    corner: tuple[int, int],
) -> None:
    """Draw one photo in a frame in the colour of its worst level, its name, and the kinds of its findings."""
    left, top = corner
    frame = (left, top, left + SIDE - 1, top + SIDE - 1)
    draw.rectangle(frame, EMPTY)
    small = _thumbnail(picture)
    if small is not None:
        sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
    if findings:
        draw.rectangle(frame, outline=COLOURS[findings[0].level], width=4)
    draw.text((left, top + SIDE + 3), _cut(draw, font, picture.name, SIDE), INK, font)
    for row, finding in enumerate(findings):
        y = top + SIDE + (row + 1) * BAR
        draw.rectangle((left, y + 1, left + SIDE - 1, y + BAR - 2), COLOURS[finding.level])
        draw.text((left + 5, y + 2), _cut(draw, font, _words(finding), SIDE - 10), PAPER, font)


def _is_about(finding: Finding, picture: Path) -> bool:
    """Return whether a finding is about this photo or its caption; a copy's finding is about the copy alone."""
    if len(finding.paths) > 2:  # about the set, even if it names the photos that share something
        return False
    first = next(iter(finding.paths), None)
    if first is None:
        return False
    return first == picture or (first.suffix.lower() in CAPTIONS and first.with_suffix("") == picture.with_suffix(""))


def _words(finding: Finding) -> str:
    return finding.kind.replace("_", " ")


def _thumbnail(picture: Path) -> Image.Image | None:
    try:
        small = open_picture(picture)
    except (UserError, OSError):
        return None
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small


def _cut(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str, width: float) -> str:
    """Return the text on one line, cut off at ``width`` pixels."""
    line = text.replace("\n", " ")
    while len(line) > 1 and draw.textlength(line, font) > width:
        line = line[:-2].rstrip() + "…"
    return line
