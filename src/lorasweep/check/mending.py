"""``lorasweep check --fix``: write a copy of a data set in which everything is mended that needs nobody's judgement."""

import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageCms

from lorasweep.check.copies import copies_of
from lorasweep.data.captions import holds_word
from lorasweep.data.facts import PictureFacts
from lorasweep.data.pictures import decode_stored, set_upright, to_srgb, with_alpha
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.check.inspection import Inspected
    from lorasweep.config.schema import RunConfig

QUALITY = 95
"""Pillow's quality, 0 to 100, of a JPEG that is written again."""
PLAIN = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L", "RGBA", "LA"), "WEBP": ("RGB", "RGBA")}
"""Format to the modes that every trainer reads alike."""
ENDINGS = {".jpeg": ".jpg"}


def require_new_folder(target: Path, source: Path) -> None:
    """Raise UserError if the copy would meet other files, or lie among the originals."""
    if target.exists() and not target.is_dir():
        raise UserError(f"--fix is {str(target)!r}, which is a file; name a folder that is new or empty.")
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise UserError(f"--fix is {str(target)!r}, which must lie apart from the photos in {str(source)!r}.")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"--fix is {str(target)!r}, which is not empty; name a folder that is new or empty.")


def mend(inspected: "Inspected", run: "RunConfig", source: Path, target: Path) -> Path:
    """Write upright sRGB images of 8 bits with their captions, each photo once, and return ``target``.

    Folders below ``source`` and names stay the same; an image that needs no mending is copied byte by byte. Files that
    cannot be read are left out, and so are all copies of a photo but the best.

    Raises:
        PictureError: a photo has changed since it was read, and cannot be read any more.
    """
    target.mkdir(parents=True, exist_ok=True)
    taken: set[Path] = set()
    for facts in best_of_copies(inspected.pictures):
        folder = target / facts.path.parent.relative_to(source)
        folder.mkdir(parents=True, exist_ok=True)
        content, ending = mended_image(facts, keep_alpha=run.data.masks == "alpha")
        path = _free(folder, facts.path.stem, ending, taken)
        if content is None:
            shutil.copyfile(facts.path, path)
        else:
            path.write_bytes(content)
        text = _caption(inspected, facts.path, run.data.trigger)
        if text:
            path.with_suffix(inspected.files.caption_of[facts.path].suffix).write_text(f"{text}\n", encoding="utf-8")
    return target


def best_of_copies(pictures: Sequence[PictureFacts]) -> list[PictureFacts]:
    """Return the photos without copies, mirrored ones included; of each, the one with the most detail; order stays."""
    groups: dict[int, list[int]] = {row: [row] for row in range(len(pictures))}
    for copy, first, _ in copies_of(pictures):
        groups[first] += groups.pop(copy)
    best = {max(rows, key=lambda row: (_true_pixels(pictures[row]), -row)) for rows in groups.values()}
    return [pictures[row] for row in sorted(best)]


def mended_image(facts: PictureFacts, *, keep_alpha: bool) -> tuple[bytes | None, str]:
    """Return the bytes of an upright sRGB image of 8 bits, None if the file is one already, and the ending of its name.

    Args:
        keep_alpha: whether transparency is a mask and stays; else gray is put behind it, as in training.

    Raises:
        PictureError: the file has changed since it was read, and cannot be read any more.
    """
    content = facts.path.read_bytes()
    stored = decode_stored(facts.path, content)
    if _is_plain(facts, stored, keep_alpha):
        return None, facts.path.suffix
    upright = set_upright(stored)
    picture = with_alpha(upright) if keep_alpha and facts.alpha else to_srgb(upright)
    stream = BytesIO()
    if stored.format == "JPEG":  # as a PNG a photo would take many times the space
        picture.save(stream, "JPEG", quality=QUALITY, subsampling=0)
        return stream.getvalue(), ENDINGS.get(facts.path.suffix.lower(), facts.path.suffix)
    picture.save(stream, "PNG")
    return stream.getvalue(), ".png"


def _is_plain(facts: PictureFacts, stored: Image.Image, keep_alpha: bool) -> bool:
    return (
        stored.mode in PLAIN.get(stored.format or "", ())
        and facts.bits == 8
        and not facts.turned
        and facts.frames == 1
        and (keep_alpha or not facts.alpha)
        and _is_srgb(stored)
    )


def _is_srgb(stored: Image.Image) -> bool:
    profile = stored.info.get("icc_profile")
    if not profile:
        return True  # as every program assumes
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False


def _true_pixels(facts: PictureFacts) -> float:
    return facts.width * facts.height * facts.detail**2  # detail is a share of each side


def _free(folder: Path, stem: str, ending: str, taken: set[Path]) -> Path:
    """Return a path whose name no other photo of the copy has, whatever its ending: captions go by the name alone."""
    number, path = 1, folder / f"{stem}{ending}"
    while path.with_suffix("") in taken:
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    taken.add(path.with_suffix(""))
    return path


def _caption(inspected: "Inspected", picture: Path, trigger: str) -> str:
    """Return the photo's caption with the trigger in it; '' if it has none that can be read."""
    file = inspected.files.caption_of.get(picture)
    text = inspected.files.captions[file].strip() if file else ""
    return text if not text or holds_word(text, trigger) else f"{trigger}, {text}"
