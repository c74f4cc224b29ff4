"""What is wrong with a set of photos as a whole: too little variety, or mirrored photos among others. Pure rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorasweep.data.facts import FaceFacts
from lorasweep.data.findings import Finding
from lorasweep.data.orientation import orientation
from lorasweep.records import Floats

LEAST = 6
"""Photos with a face below which nothing is said of variety."""
# huggingface blog #1665: avoid repeating backgrounds, clothing and poses; kohya_ss #62.
MOST_ALIKE = 0.6
"""Share of photos with one background, or one outfit, above which a LoRA learns it with the subject."""
MOST_TURNED = 0.75
"""Share of faces turned one way, or all to the camera, above which a LoRA draws little else."""
LIGHTNESS = 0.5  # the same wall is darker in the evening
"""Weight of lightness beside colour."""
# 2.3 is just noticed side by side, light and shadow make 10; the drawn world's colours are 25 and more apart.
ALIKE = 14.0
"""Distance in CIELAB, lightness weighted, below which two colours are one."""
MIXED = 0.19
"""Score of ``orientation`` above which a set is mixed, chosen on half A of ``benchmarks.check.orientation``."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How good the check for mirrored photos is, measured on half B: drawn people on whom no threshold was chosen."""

    auroc: float
    """Chance that a mixed set scores higher than a consistent one, 0 to 1; 0.5 is guessing."""
    precision: float
    """Share of the named photos that are mirrored, 0 to 1."""


MEASURED = {
    8: Reliability(auroc=0.9998, precision=1.0),
    15: Reliability(auroc=1.0, precision=1.0),
    30: Reliability(auroc=1.0, precision=1.0),
}
"""By faces in a set. A test holds it to ``benchmarks/results/orientation.json``."""
RELIABLE = 0.8
"""AUROC from which the check is made unasked."""
SAYS = {
    "one_background": "are before the same background, which is learned with the subject; add others, or name it in "
    "every caption.",
    "one_outfit": "show the same clothes, learned with the subject; add others, or name them in every caption.",
}


def check_set(faces: Sequence[FaceFacts]) -> list[Finding]:
    """Return what nearly all photos of a set have in common, and a LoRA would learn as the subject."""
    # background and clothes are looked for around the face, so that photos without one say nothing
    shown = [facts for facts in faces if facts.count]
    if len(shown) < LEAST:
        return []
    found: list[Finding] = []
    for kind, vectors in (
        ("one_background", [facts.background for facts in shown]),
        ("one_outfit", [facts.outfit for facts in shown]),
    ):
        rows = largest_group(vectors)
        if len(rows) > MOST_ALIKE * len(shown):
            paths = tuple(shown[row].path for row in rows)
            text = f"{len(rows)} of {len(shown)} pictures {SAYS[kind]}"
            found.append(Finding(kind=kind, text=text, paths=paths))
    return [*found, *_pose(shown)]


def largest_group(vectors: Sequence[Floats]) -> list[int]:
    """Return the rows of the largest group whose colours are all like those of one of its members."""
    nobody: list[int] = []
    groups = [[row for row, other in enumerate(vectors) if distance(vector, other) < ALIKE] for vector in vectors]
    return max(groups, key=len, default=nobody)


def distance(one: Floats, other: Floats) -> float:
    """Return the median distance of the regions that two photos have in common; infinity if there is none.

    Args:
        one: [K] colours in CIELAB, L, a and b of each region; NaN for a region outside the photo.
        other: the same of the other photo.
    """
    # the median, so that one region with something else in it decides nothing
    gaps: Floats = (one - other).reshape(-1, 3) * (LIGHTNESS, 1, 1)
    lengths: Floats = np.sqrt((gaps**2).sum(axis=1))
    known = [length for length in lengths.tolist() if np.isfinite(length)]
    return float(np.median(known)) if known else float("inf")


def _pose(shown: Sequence[FaceFacts]) -> list[Finding]:
    turns = np.array([facts.turn for facts in shown])
    ways = {
        "look into the camera": np.abs(turns) <= 1,
        "are turned to the left of the picture": turns < -1,
        "are turned to the right of the picture": turns > 1,
    }
    for way, rows in ways.items():
        if rows.mean() > MOST_TURNED:
            text = (
                f"{rows.sum()} of {len(shown)} faces {way}; the LoRA will draw little else; add some that are turned "
                "otherwise."
            )
            return [
                Finding(
                    kind="one_pose", text=text, paths=tuple(shown[row].path for row in np.flatnonzero(rows).tolist())
                )
            ]
    return []


def reliability(pictures: int) -> Reliability | None:
    """Return what was measured for sets of so many photos: that of the next smaller size; None below the smallest."""
    return max(((size, told) for size, told in MEASURED.items() if size <= pictures), default=(0, None))[1]


def check_orientation(faces: Sequence[FaceFacts], wanted: bool | None) -> list[Finding]:
    """Return at most one finding, which names the photos that look mirrored beside the others.

    Args:
        faces: of all photos; those with no face, or several, are left out.
        wanted: ``data.check_mirror``; None checks only as many faces as the check was measured to be reliable for.
    """
    shown = [facts for facts in faces if facts.count == 1]
    told = reliability(len(shown))
    if told is None or wanted is False or (wanted is None and told.auroc < RELIABLE):
        return []
    seen = orientation(np.stack([facts.crop for facts in shown]))
    if seen.score <= MIXED or not seen.mirrored:
        return []
    paths = tuple(shown[row].path for row in seen.mirrored)
    return [Finding(kind="mixed_mirror", text=_mirrored_text(len(paths), len(shown), told), paths=paths)]


def _mirrored_text(some: int, faces: int, told: Reliability) -> str:
    look = "looks" if some == 1 else "look"
    return (
        f"{some} of {faces} faces {look} mirrored beside the others, as selfies are: a mark is on the other cheek. A "
        "LoRA learns both sides; turn them back, or the others. Measured on drawn people only: of a mixed set and "
        f"a consistent one the check tells the mixed one {told.auroc:.1%} of the time, and {told.precision:.0%} of the "
        "pictures it names are mirrored."
    )
