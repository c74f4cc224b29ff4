"""Opening a picture the way a person sees it: upright, in sRGB, eight bits, nothing transparent."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lorasweep.data.errors import UserError

Pixels = NDArray[np.uint8]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""File endings that are taken for photos."""
FOREIGN = (".heic", ".heif", ".avif", ".psd", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".jxl", ".svg")
"""Endings of pictures that are named as unreadable rather than passed over in silence."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The only decoders that ever see a user's bytes."""
MAX_PIXELS = 64_000_000
"""A 48 kB PNG can unfold to 400 MB; no photo of a person needs more than this."""
NEUTRAL = 128
"""Gray that shows through where a picture is transparent."""


def open_picture(path: Path) -> Image.Image:
    """The picture at ``path``: RGB, 8 bits, sRGB, turned upright, transparency on neutral gray, first frame only.

    Raises UserError, naming the file, where it is empty, not one of FORMATS, truncated, damaged or over MAX_PIXELS.
    """
    return decode_picture(path, path.read_bytes())


def decode_picture(path: Path, content: bytes) -> Image.Image:
    """As ``open_picture``, for bytes that were already read from ``path`` (named in errors only)."""
    if not content:
        raise UserError(f"{path} is empty (0 bytes); it must be a picture.")
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels; the bound below is lower and is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "more than 178") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not a picture that can be read; it must be one of {', '.join(FORMATS)}.") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(path, f"{picture.width * picture.height / 1e6:.0f}")
    try:
        picture.load()  # verify() passes a truncated JPEG in silence
    except Exception as error:  # decoders fail in many ways: OSError, SyntaxError, struct.error, zlib.error, ...
        raise UserError(f"{path} is truncated or damaged ({error}); replace it with a whole picture.") from error
    return _to_srgb(_eight_bits(_upright(picture)))


def _too_large(path: Path, megapixels: str) -> UserError:
    return UserError(f"{path} has {megapixels} megapixels; at most {MAX_PIXELS / 1e6:.0f} are accepted.")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF says nothing about the pixels
        return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow's own ``convert`` clips 16-bit gray to white instead of scaling it."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    top = float(values.max(initial=0.0))
    full = next((scale for scale in _full_scales(picture.mode) if top <= scale), top)
    scaled = np.clip(np.nan_to_num(values) / full, 0, 1) * 255
    return Image.fromarray(np.round(scaled).astype(np.uint8))


def _full_scales(mode: str) -> tuple[float, ...]:
    """What may count as white, smallest first; a 16-bit picture is never taken for an 8-bit one."""
    if mode.startswith("I;16"):
        return (65535.0,)
    return (1.0, 255.0, 65535.0) if mode == "F" else (65535.0, 2.0**31 - 1)


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if picture.mode in ("P", "PA", "LA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colour = _apply_profile(picture.convert("RGB") if alpha else picture, profile).convert("RGB")
    if alpha is None:
        return colour
    ground = Image.new("RGB", picture.size, (NEUTRAL, NEUTRAL, NEUTRAL))
    ground.paste(colour, mask=alpha)
    return ground


def _apply_profile(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile or picture.mode not in ("RGB", "CMYK", "L"):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore
        converted = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # a broken or mismatched profile: the plain values are better
        return picture
    return converted or picture


def cover(picture: Image.Image, width: int, height: int) -> Image.Image:
    """``picture`` scaled until it covers width x height pixels, the overhang cut off evenly on both sides."""
    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), method=Image.Resampling.LANCZOS, centering=(0.5, 0.5))


def load_pixels(path: Path, width: int | None = None, height: int | None = None) -> Pixels:
    """[H, W, 3] uint8 of the picture at ``path``, covering width x height pixels where both are given."""
    picture = open_picture(path)
    if width and height:
        picture = cover(picture, width, height)
    return np.asarray(picture)
