"""What is wrong with the faces in single photos: pure rules over facts."""

from collections.abc import Sequence

import numpy as np

from lorasweep.data.facts import FaceFacts
from lorasweep.data.findings import Finding
from lorasweep.records import Floats

# Of 64 pixels of 512 a VAE makes 8 x 8 latents (Fizgig's manual: 80 pixels are about 10 x 10 latents, and a crop has 40
# times the face).
SMALL_FACE = 0.125
"""Side of a face as a share of the training image's, below which it is small."""
# Pixels count too, since a face of 50 pixels cannot be sharper than its pixels. Sharp photos of faces of 30 to 128
# pixels have 1.1 to 2.4 %, drawn faces 0.8 % at most; a blur that is clearly visible adds 2 %.
BLURRED, BLUR_PIXELS = 0.015, 0.5
"""Width of the sharpest edges from which a face is blurred: this share of its side, plus so many measured pixels."""
FEW = 5
"""Faces below which nobody can be called a stranger among them."""
# FaceNet and the portraits network have 0.7 to 0.9 for one person and 0 to 0.3 for strangers.
SAME_PERSON = 0.45
"""Median cosine to the other faces below which somebody may be another person."""
# A least spread is assumed, since among near-identical photos every small difference would stand out.
OUTLIER, LEAST_SPREAD = 3.5, 0.03
"""Robust z from which a cosine is an outlier (Iglewicz and Hoaglin 1993), and the least standard deviation."""


def check_faces(faces: Sequence[FaceFacts], resolution: int) -> list[Finding]:
    """Return the findings about each photo's faces, in order.

    Args:
        resolution: ``model.resolution``, the side of a training image in pixels.
    """
    strangers = other_people(faces)
    found: list[Finding] = []
    for row, facts in enumerate(faces):
        kind_says = _about_face(facts, resolution)
        if row in strangers:
            kind_says.append(("other_person", "looks like another person than the others show; take it out if it is."))
        found += [Finding(kind=kind, text=f"{facts.path} {says}", paths=(facts.path,)) for kind, says in kind_says]
    return found


def _about_face(facts: FaceFacts, resolution: int) -> list[tuple[str, str]]:
    """Return kinds of findings, each with what its sentence says after the file's name."""
    if facts.count == 0:
        return [("no_face", "shows no face that could be found; the likeness is learned from those that do.")]
    found: list[tuple[str, str]] = []
    if facts.count > 1:
        found.append(("several_faces", f"shows {facts.count} faces; crop it to the one that is to be learned."))
    share = facts.side / np.sqrt(facts.width * facts.height)
    if share < SMALL_FACE:
        pixels = round(share * resolution)
        found.append(
            ("small_face", f"has a face of {pixels} pixels when trained at {resolution}; crop it closer to the face.")
        )
    elif is_blurred(facts):  # a small face is not called blurred as well
        found.append(
            (
                "blurred_face",
                f"has a blurred face: its sharpest edges are {facts.blur:.1%} of it wide; find a sharper picture.",
            )
        )
    return found


def is_blurred(facts: FaceFacts) -> bool:
    """Return whether no edge of the face is sharp."""
    return facts.blur > BLURRED + BLUR_PIXELS / facts.pixels


def other_people(faces: Sequence[FaceFacts]) -> frozenset[int]:
    """Return the rows that show somebody else than most do; photos of several people are not judged."""
    rows = [row for row, facts in enumerate(faces) if facts.count == 1 and len(facts.identity)]
    if len(rows) < FEW:
        return frozenset()
    likeness = _likeness(np.stack([faces[row].identity for row in rows]))
    # median and MAD, since the strangers that are looked for would move mean and standard deviation
    middle = float(np.median(likeness))
    spread = max(1.4826 * float(np.median(np.abs(likeness - middle))), LEAST_SPREAD)
    far = (likeness < SAME_PERSON) & (likeness < middle - OUTLIER * spread)
    return frozenset(rows[place] for place in np.flatnonzero(far))


def _likeness(vectors: Floats) -> Floats:
    """Return [N] the median likeness of each photo to all others, by unit vectors [N, V, D] of V views."""
    # two photos are as alike as the two views of them that are most so
    cosines: Floats = np.max(np.einsum("ivd,jwd->ijvw", vectors, vectors), axis=(2, 3))
    np.fill_diagonal(cosines, np.nan)
    return np.nanmedian(cosines, axis=1)
