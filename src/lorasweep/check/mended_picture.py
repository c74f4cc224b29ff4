"""One picture made plain: upright, sRGB, 8 bits, one frame, nothing transparent."""

from io import BytesIO

from PIL import Image, ImageCms

from lorasweep.data.facts import PictureFacts
from lorasweep.data.pictures import decode_stored, set_upright, to_srgb, with_alpha

QUALITY = 95
"""Of a JPEG that is written again."""
PLAIN = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L", "RGBA", "LA"), "WEBP": ("RGB", "RGBA")}
"""Modes by format that every trainer reads alike."""
ENDINGS = {".jpeg": ".jpg"}


def mended(facts: PictureFacts, *, keep_alpha: bool) -> tuple[bytes | None, str]:
    """The bytes of a mended file, None where its own will do, and the ending that goes with them.

    A JPEG stays one, all others become PNG. Transparency is put on gray, as in training, or kept where it is a mask.

    Raises:
        PictureError: the file has changed since it was read, and cannot be any more.
    """
    content = facts.path.read_bytes()
    stored = decode_stored(facts.path, content)
    if _is_plain(facts, stored, keep_alpha):
        return None, facts.path.suffix
    upright = set_upright(stored)
    picture = with_alpha(upright) if keep_alpha and facts.alpha else to_srgb(upright)
    stream = BytesIO()
    if stored.format == "JPEG":
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
    """No profile counts as sRGB, as it does everywhere."""
    profile = stored.info.get("icc_profile")
    if not profile:
        return True
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
