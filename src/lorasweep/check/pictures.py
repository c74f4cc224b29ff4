"""What is wrong with single image files, apart from the faces in them: pure rules over facts."""

from collections.abc import Iterator, Sequence

from lorasweep.data.buckets import Placement
from lorasweep.data.facts import PictureFacts
from lorasweep.data.findings import Finding

# rishidesai.github.io: images should meet or exceed the training resolution; enlarged by a tenth they look the same.
ENLARGED = 1.1
"""Factor from which an image is enlarged too far for training."""
# Photos have 0.58 and more, images that were enlarged by 1.5 have 0.53 at most, by 2 0.5: measured on scikit-image's
# photos and on 60 drawn ones, interpolated in three ways.
SOFT = 0.55
"""``PictureFacts.detail`` below which an image was enlarged before."""
PHOTO_DETAIL = 0.85
"""The usual ``detail`` of a photo at its own size."""
NEARLY_ENOUGH = 1.25
"""Times the training side that the true detail of a soft image must have for nothing to be missed."""
FAR_ABOVE = 1.25
"""Times ``bucket_max`` from which an image is large."""


def check_pictures(
    pictures: Sequence[PictureFacts], placements: Sequence[Placement | None], shortest: int, longest: int
) -> list[Finding]:
    """Return the findings about each image by itself, in order.

    Args:
        placements: how each image is resized and cropped for training; None if it fits no bucket.
        shortest: ``data.bucket_min`` in pixels.
        longest: ``data.bucket_max`` in pixels.
    """
    found: list[Finding] = []
    for facts, placed in zip(pictures, placements, strict=True):
        found += [Finding(kind=kind, text=f"{facts.path} {says}", paths=(facts.path,)) for kind, says in _file(facts)]
        sized = _size(facts, placed, shortest, longest)
        if sized:
            found.append(Finding(kind=sized[0], text=f"{facts.path} {sized[1]}", paths=(facts.path,)))
    return found


def _file(facts: PictureFacts) -> Iterator[tuple[str, str]]:
    """Yield kinds of findings, each with what its sentence says after the file's name."""
    if facts.bits > 8:
        yield "sixteen_bit", f"has {facts.bits} bits a channel; it is scaled to 8, other trainers may show it white."
    if facts.mode == "CMYK":
        yield (
            "cmyk",
            "is in CMYK, for printing; its colours change a little on the way to sRGB, look whether they hold.",
        )
    if facts.alpha:
        yield "alpha", "is transparent in part; gray is put behind it and learned, so give it a real background."
    if facts.turned:
        yield "rotated", "is turned upright by its EXIF; we do that, other trainers and captioners may not."
    if facts.frames > 1:
        yield "animated", f"has {facts.frames} frames; only the first is used."


def _size(facts: PictureFacts, placed: Placement | None, shortest: int, longest: int) -> tuple[str, str] | None:
    """Return the worst thing that is wrong with an image's size, as kind and sentence; None if it is fine."""
    size = f"{facts.width} x {facts.height} pixels"
    if min(facts.width, facts.height) < shortest:
        return "small", f"has {size}; its shorter side needs {shortest} or more, so find the original or leave it out."
    if placed and placed.scale > ENLARGED:
        bucket = f"{placed.bucket[0]} x {placed.bucket[1]}"
        return "upscaled", f"has {size} and is enlarged {placed.scale:.1f} times to {bucket}; find a larger original."
    if placed and facts.detail < SOFT:
        # the size at which the image would have had a photo's usual detail
        share = facts.detail / PHOTO_DETAIL
        width, height = round(facts.width * share), round(facts.height * share)
        if (width * height) < NEARLY_ENOUGH**2 * placed.bucket[0] * placed.bucket[1]:
            return (
                "upscaled",
                f"has {size} but the detail of about {width} x {height}, as if it was enlarged; find the original.",
            )
    if max(facts.width, facts.height) > FAR_ABOVE * longest and placed:
        bucket = f"{placed.bucket[0]} x {placed.bucket[1]}"
        return "large", f"has {size} and is brought down to {bucket}; a crop around the subject keeps more of it."
    return None
