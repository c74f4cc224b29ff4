"""The facts of a photo's file, made from one decode: a few milliseconds beside what decoding takes."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorasweep.data.facts import PictureFacts
from lorasweep.data.pictures import FORMATS, PictureError, decode_stored, set_upright, to_srgb
from lorasweep.records import Floats

TRIMS = (0.0, 0.03, 0.06)
"""Shares cut off every edge before hashing: a copy that was cropped a little meets one of them."""
SMALL = 64
"""Pixels: the least side of what hashes and thumbnails are made from."""
HASHED, THUMBNAIL = 32, 16
WAVES = 8
"""Cosines a side: 8 x 8 of them, less the mean, are the 63 bits of a hash (pHash)."""
BANDS, BAND = 6, 6
"""Detail is measured along so many bands of as many rows, and of columns: the whole image would take longer."""
DETAIL_SHARE = 0.9
"""Share of the spectrum below which detail is said to end."""
LOWEST = 0.02
"""Share of the finest frequency below which is no detail: light and large shapes."""
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's number."""
PNG_DEPTH, TIFF_DEPTH = 24, 258
"""The byte of a PNG, and the tag of a TIFF, with the bits of a channel: Pillow's mode hides 16-bit colour."""
OPAQUE = 250
"""Of 255: less is transparent."""


def read_facts(path: Path) -> tuple[PictureFacts, Image.Image]:
    """Return the facts of a file, and its image as stored, decoded once.

    Raises:
        PictureError: it cannot be used as an image; ``kind`` says why.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        says = f"{path} cannot be read ({error.strerror}); it must be a picture that this user may open."
        raise PictureError(says, "unreadable") from error
    stored = decode_stored(path, content)
    return facts_of(path, content, stored), stored


def facts_of(path: Path, content: bytes, stored: Image.Image) -> PictureFacts:
    """Return the facts of an image that is decoded already.

    Args:
        content: the bytes of its file.
        stored: what ``decode_stored`` made of them.
    """
    orientation = _orientation(stored)
    plain = _plain(stored)
    small = _small(plain, orientation)
    waves = np.stack([COSINES @ np.asarray(part, dtype=np.float64) @ COSINES.T for part in _trims(small, "L", HASHED)])
    return PictureFacts(
        path=path,
        width=stored.size[orientation >= 5],
        height=stored.size[orientation < 5],
        mode=stored.mode,
        bits=_bits(content, stored),
        turned=orientation > 1,
        alpha=_is_transparent(stored),
        frames=_frames(content, stored),
        detail=_detail(plain),
        hashes=_hashes(waves),
        mirror_hashes=_hashes(waves * SIGNS),
        thumbnails=np.stack([np.asarray(part) for part in _trims(small, "RGB", THUMBNAIL)]),
    )


def _cosines() -> Floats:
    """Return [WAVES, HASHED] of the discrete cosine transform."""
    places = (np.arange(HASHED) + 0.5) / HASHED
    return np.cos(np.pi * np.arange(WAVES)[:, None] * places[None])


COSINES = _cosines()
SIGNS = (-1.0) ** np.arange(WAVES)
"""A mirror image has the same cosines across, every second one the other way round."""


def _hashes(waves: Floats) -> NDArray[np.bool_]:
    """Return [T, 63] whether each cosine is above their median."""
    bits = waves.reshape(len(waves), -1)[:, 1:]
    return bits > np.median(bits, axis=1, keepdims=True)


def _orientation(stored: Image.Image) -> int:
    try:
        found = stored.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1
    return found if found in TURNS else 1


def _plain(stored: Image.Image) -> Image.Image:
    """Return the image in a mode that can be averaged: no palette, no 16 bits. Not turned yet."""
    if stored.mode.startswith(("I", "F")):
        turned = stored.copy()
        turned.info.pop("exif", None)
        return set_upright(turned)
    return stored.convert("RGBA" if "transparency" in stored.info else "RGB") if stored.mode in "1P" else stored


def _small(plain: Image.Image, orientation: int) -> Image.Image:
    # shrunk before anything else: colours and turns then cost nothing beside the decode
    factor = min(plain.size) // SMALL
    small = plain.reduce(factor) if factor > 1 else plain
    return to_srgb(small.transpose(TURNS[orientation]) if orientation > 1 else small)


def _trims(small: Image.Image, mode: str, side: int) -> list[Image.Image]:
    """Return squares of ``side`` pixels of the image with each of TRIMS cut off."""
    width, height = small.size
    boxes = [(trim * width, trim * height, (1 - trim) * width, (1 - trim) * height) for trim in TRIMS]
    picture = small.convert(mode)
    return [picture.resize((side, side), Image.Resampling.BOX, box=box) for box in boxes]


def _bits(content: bytes, stored: Image.Image) -> int:
    if stored.format == "PNG":
        return content[PNG_DEPTH]
    if stored.format == "TIFF":
        depth = getattr(stored, "tag_v2", {}).get(TIFF_DEPTH, 8)
        return int(np.max(depth))
    return 8


def _frames(content: bytes, stored: Image.Image) -> int:
    if stored.format not in ("GIF", "WEBP", "PNG", "TIFF"):  # a phone's JPEG keeps its depth map as a second one
        return 1
    # a second look at the headers: Pillow forgets the first frame when it goes on to the next
    with Image.open(BytesIO(content), formats=FORMATS) as again:
        return int(getattr(again, "n_frames", 1))


def _is_transparent(stored: Image.Image) -> bool:
    if "transparency" in stored.info and "A" not in stored.mode:
        stored = stored.convert("RGBA")
    if "A" not in stored.getbands():
        return False
    return int(np.asarray(stored.getchannel("A")).min()) < OPAQUE


def _detail(plain: Image.Image) -> float:
    """Return the share of the finest frequency below which DETAIL_SHARE of the whitened spectrum lies.

    Natural images have a spectrum of about 1 / f^2 (Field 1987), which differences make flat; one that was enlarged by
    n ends at 1 / n. Of the two directions the better one counts.
    """
    width, height = plain.size
    rows = [plain.crop((0, top, width, top + BAND)) for top in _starts(height)]
    columns = [plain.crop((left, 0, left + BAND, height)) for left in _starts(width)]
    return max(_reach(np.concatenate([_gray(part) for part in rows])), _reach(np.hstack([_gray(p) for p in columns]).T))


def _starts(side: int) -> list[int]:
    return [int(place) for place in np.linspace(0, max(side - BAND, 0), BANDS + 2)[1:-1]]


def _gray(part: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(part.convert("L"))


def _reach(lines: NDArray[np.uint8]) -> float:
    """Return where the spectrum of ``lines``, [N, length], ends, as a share of the finest frequency."""
    steps = np.diff(lines.astype(np.float32), axis=1)
    steps = steps[:, : steps.shape[1] // 8 * 8 or None]  # a length that is a large prime would be slow
    waves = np.fft.rfft(steps * np.asarray(np.hanning(steps.shape[1]), dtype=np.float32), axis=1)
    power = (waves.real**2 + waves.imag**2).sum(axis=0)
    power[: int(np.ceil(LOWEST * len(power)))] = 0
    total: Floats = np.cumsum(power, dtype=np.float64)
    if not total[-1] > 0:
        return 1.0
    return float(np.searchsorted(total, DETAIL_SHARE * float(total[-1]))) / max(len(power) - 1, 1)
