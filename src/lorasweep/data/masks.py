"""Where in a photo the loss counts: masks found beside photos or in their own transparency, read and checked."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops

from lorasweep.data.buckets import Placement
from lorasweep.data.folders import Files
from lorasweep.data.hashes import read_unchanged
from lorasweep.data.pictures import SUFFIXES, decode_upright, with_alpha
from lorasweep.errors import UserError
from lorasweep.records import Floats, Photo

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig

MASK = "-masklabel"
"""Follows the photo's own name in that of its mask, as in OneTrainer."""


def find_masks(files: Files, root: Path, data: "DataConfig", problems: list[str], *, needed: bool) -> dict[Path, Path]:
    """Return photo to mask file, with ``data.masks=files``; else {}.

    Args:
        files: of one folder in ``root``, or of ``root`` itself.
        needed: whether a photo without a mask, or a mask without its photo, is a problem.
    """
    if data.masks != "files":
        return {}
    if data.masks_path is None:
        beside = {path.stem[: -len(MASK)]: path for path in files.companions if path.stem.lower().endswith(MASK)}
        found = {photo: beside[photo.stem] for photo in files.pictures if photo.stem in beside}
        unused = [path for path in beside.values() if path not in found.values()]
    elif not (kept := Path(data.masks_path)).is_dir():
        return {}  # the data set says so once, not once a photo
    else:
        found = {photo: mask for photo in files.pictures if (mask := _kept(photo, root, kept))}
        unused = []
    if needed:
        problems += [f"{path} is a mask without its photo, which must lie beside it." for path in unused]
        problems += _missing([photo for photo in files.pictures if photo not in found], data.masks_path)
    return found


def _kept(photo: Path, root: Path, folder: Path) -> Path | None:
    """Return the mask of the photo's name, of any format, in ``folder`` or in a sub-folder called as the photo's."""
    home = folder.resolve()
    for place in (folder / photo.parent.relative_to(root), folder):
        names = [photo.name, *(f"{photo.stem}{ending}" for ending in SUFFIXES), f"{photo.stem}{MASK}.png"]
        for path in (place / name for name in names):
            if path.is_file() and path.resolve().is_relative_to(home):
                return path
    return None


def _missing(photos: Iterable[Path], masks_path: str | None) -> list[str]:
    where = f"a picture of its name in {masks_path}" if masks_path else f"NAME{MASK}.png beside it"
    return [f"{photo} has no mask; data.masks=files needs {where}." for photo in photos]


def mask_of_file(path: Path, content: bytes) -> Image.Image:
    """Return [H, W] gray of a mask's bytes, black where it is transparent; raise UserError if it is no whole image."""
    picture = with_alpha(decode_upright(path, content))
    gray = picture.convert("L")
    return ImageChops.multiply(gray, picture.getchannel("A")) if picture.mode == "RGBA" else gray


def mask_of_alpha(picture: Image.Image) -> Image.Image:
    """Return [H, W] gray of an image's own opacity; white all over if it has none."""
    picture = with_alpha(picture)
    return picture.getchannel("A") if picture.mode == "RGBA" else Image.new("L", picture.size, 255)


def mask_problem(path: Path, mask: Image.Image, size: tuple[int, int]) -> str | None:
    """Return what is wrong with a mask for an upright photo of ``size`` (width, height); None if nothing is."""
    if mask.getextrema()[1] == 0:
        return f"{path} leaves nothing to train on: its mask is black (or it is transparent) all over."
    # masks are often drawn at another size: only the shape counts, up to a pixel of rounding
    expected = mask.width * size[1] / size[0]
    if abs(expected - mask.height) > 1:
        return (
            f"{path} is a mask of {mask.width} x {mask.height} pixels for a photo of {size[0]} x {size[1]}; both must "
            "have one shape, and lie the same way up."
        )
    return None


def load_mask(photo: Photo, masks: str) -> Image.Image:
    """Return the photo's mask as ``data.masks`` says; raise UserError if the file has changed since it was read."""
    if masks == "alpha":
        return mask_of_alpha(decode_upright(photo.path, read_unchanged(photo.path, photo.sha256)))
    if photo.mask is None:
        return Image.new("L", (photo.width, photo.height), 255)
    return mask_of_file(photo.mask, read_unchanged(photo.mask, photo.mask_sha256))


def mask_weights(mask: Image.Image, placement: Placement, width: int, height: int, floor: float) -> Floats:
    """Return [height, width] how much each latent counts: the mask's mean over what the latent covers.

    The photo's own crop is cut from the mask, whatever its size is.

    Args:
        width: of the latents, as is ``height``.
        floor: what black counts; white counts 1.
    """
    left, top, right, bottom = _window(placement)
    box = (left * mask.width, top * mask.height, min(right, 1.0) * mask.width, min(bottom, 1.0) * mask.height)
    small = mask.convert("F").resize((width, height), Image.Resampling.BOX, box=box)
    return floor + (1 - floor) * np.asarray(small, dtype=np.float64) / 255


def require_some(weights: Floats, photo: Photo, placement: Placement) -> None:
    """Raise UserError if the crop leaves nothing of what the mask shows: the loss would be 0 / 0."""
    if not weights.any():
        width, height = placement.bucket
        raise UserError(
            f"{photo.mask or photo.path} is black in all that is left of the photo at {width} x {height} pixels; cut "
            "the photo yourself, or set data.buckets=aspect."
        )


def _window(placement: Placement) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what is kept, as shares of the photo."""
    (width, height), (across, down) = placement.size, placement.bucket
    if placement.fitted:
        scale = max(across / width, down / height)
        left, top = (1 - across / scale / width) / 2, (1 - down / scale / height) / 2
        return max(left, 0.0), max(top, 0.0), 1 - left, 1 - top
    (left, top), (wide, high) = placement.corner, placement.resized
    return left / wide, top / high, (left + across) / wide, (top + down) / high
