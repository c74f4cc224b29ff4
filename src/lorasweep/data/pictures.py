"""Open an image the way a person sees it: upright, in sRGB, eight bits, nothing transparent."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lorasweep.data.buckets import Placement
from lorasweep.errors import UserError

Pixels = NDArray[np.uint8]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""File endings that are taken for photos."""
FOREIGN = (".heic", ".heif", ".avif", ".psd", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".jxl", ".svg")
"""Endings of images that are named as unreadable rather than passed over in silence."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""The only decoders that ever see a user's bytes."""
MAX_PIXELS = 64_000_000
"""A 48 kB PNG can unfold to 400 MB; no photo of a person needs more than this."""
NEUTRAL = 128
"""Gray that shows through where an image is transparent."""
WHITE_IS_ZERO_TAG = 262
"""A TIFF's tag that is 0 where black and white are the other way round."""


class PictureError(UserError):
    """A file that cannot be used as an image."""

    def __init__(self, says: str, kind: str) -> None:
        """Make it with its sentence, and a kind of ``findings.KINDS``: empty, unreadable, truncated or too_large."""
        super().__init__(says)
        self.kind = kind


def open_picture(path: Path) -> Image.Image:
    """Return the image at ``path``: RGB, 8 bits, sRGB, turned upright, transparency on neutral gray, first frame only.

    Raises:
        PictureError: it is empty, not one of FORMATS, truncated, damaged or over MAX_PIXELS; the sentence names it.
    """
    return decode_picture(path, path.read_bytes())


def decode_picture(path: Path, content: bytes) -> Image.Image:
    """Return what ``open_picture`` does, from bytes that were already read from ``path`` (named in errors only)."""
    return to_srgb(decode_upright(path, content))


def decode_upright(path: Path, content: bytes) -> Image.Image:
    """Return the image in its own colours, upright and 8 bits deep, its transparency still there; errors as above."""
    return set_upright(decode_stored(path, content))


def decode_stored(path: Path, content: bytes) -> Image.Image:
    """Return the image as its file has it: mode, orientation and depth are its own. Errors as above."""
    if not content:
        raise PictureError(f"{path} is empty (0 bytes); it must be a picture.", "empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels; the bound below is lower and is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "more than 178") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        says = f"{path} is not a picture that can be read; it must be one of {', '.join(FORMATS)}."
        raise PictureError(says, "unreadable") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(path, f"{picture.width * picture.height / 1e6:.0f}")
    try:
        picture.load()  # verify() passes a truncated JPEG in silence
    except Exception as error:  # decoders fail in many ways: OSError, SyntaxError, struct.error, zlib.error, ...
        says = f"{path} is truncated or damaged ({error}); replace it with a whole picture."
        raise PictureError(says, "truncated") from error
    return picture


def set_upright(picture: Image.Image) -> Image.Image:
    """Return a stored image turned as its EXIF says, 8 bits deep."""
    white_is_zero = getattr(picture, "tag_v2", {}).get(WHITE_IS_ZERO_TAG) == 0
    return _eight_bits(_upright(picture), white_is_zero=white_is_zero)


def _too_large(path: Path, megapixels: str) -> PictureError:
    says = f"{path} has {megapixels} megapixels; at most {MAX_PIXELS / 1e6:.0f} are accepted."
    return PictureError(says, "too_large")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF says nothing about the pixels
        return picture


def _eight_bits(picture: Image.Image, *, white_is_zero: bool) -> Image.Image:
    """Return the image with 8 bits a channel.

    Args:
        white_is_zero: whether it comes from a TIFF of that kind, which Pillow turns round with 8 bits but not with 16.
    """
    # only gray gets here with 16 bits, of colour Pillow keeps the upper 8; its `convert` would clip all to white
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
    top = float(values.max(initial=0.0))
    full = next((scale for scale in _full_scales(picture.mode) if top <= scale), top)
    scaled = np.clip(values / full, 0, 1)
    if white_is_zero and picture.mode.startswith("I;16"):
        scaled = 1 - scaled
    gray = Image.fromarray(np.round(scaled * 255).astype(np.uint8))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        gray = Image.merge("LA", (gray, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))
    if "icc_profile" in picture.info:
        gray.info["icc_profile"] = picture.info["icc_profile"]
    return gray


def _full_scales(mode: str) -> tuple[float, ...]:
    """Return what may count as white, smallest first."""
    if mode.startswith("I;16"):  # a dark 16-bit image must not be taken for an 8-bit one
        return (65535.0,)
    return (1.0, 255.0, 65535.0) if mode == "F" else (65535.0, 2.0**31 - 1)


def with_alpha(picture: Image.Image) -> Image.Image:
    """Return the image as RGBA if some of it may be transparent, and as it was if nothing can be."""
    return picture.convert("RGBA") if picture.has_transparency_data and picture.mode != "RGBA" else picture


def to_srgb(picture: Image.Image) -> Image.Image:
    """Return RGB in sRGB of an upright image, what is transparent on neutral gray."""
    profile = picture.info.get("icc_profile")
    picture = with_alpha(picture)
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colour = picture.convert("RGB") if alpha or picture.mode == "P" else picture  # profiles do not reach palettes
    colour = _apply_profile(colour, profile).convert("RGB")
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
    """Return ``picture`` scaled until it covers width x height pixels, the overhang cut off evenly on both sides."""
    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), method=Image.Resampling.LANCZOS, centering=(0.5, 0.5))


def placed(picture: Image.Image, placement: Placement) -> Image.Image:
    """Return ``picture``, of any mode, as it is trained on: scaled to ``placement.resized``, then cut to its bucket."""
    if placement.fitted:
        return cover(picture, *placement.bucket)
    if picture.size != placement.resized:
        picture = picture.resize(placement.resized, Image.Resampling.LANCZOS)
    (left, top), (width, height) = placement.corner, placement.bucket
    return picture.crop((left, top, left + width, top + height))


def load_pixels(path: Path, width: int | None = None, height: int | None = None) -> Pixels:
    """Return [H, W, 3] uint8 of the image at ``path``, covering width x height pixels if both are given."""
    picture = open_picture(path)
    if width and height:
        picture = cover(picture, width, height)
    return np.asarray(picture)
