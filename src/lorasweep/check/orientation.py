"""Says that some pictures of a set are mirrored, and how far that can be trusted: a pure rule over face crops."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorasweep.data.facts import FaceFacts
from lorasweep.data.findings import Finding
from lorasweep.data.orientation import orientation

MIXED = 0.19
"""Score above which a set is called mixed; chosen on half A of ``python -m benchmarks.check.orientation``."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """What was measured on half B, drawn people whom no threshold was chosen on."""

    auroc: float
    """How often a mixed set scores higher than a consistent one. 0.5 is chance."""
    precision: float
    """Share of the named pictures that are mirrored."""


MEASURED = {
    8: Reliability(auroc=0.9998, precision=1.0),
    15: Reliability(auroc=1.0, precision=1.0),
    30: Reliability(auroc=1.0, precision=1.0),
}
"""By pictures of a set. A test holds it to ``benchmarks/results/orientation.json``."""
RELIABLE = 0.8
"""AUROC from which the check is made unasked."""


def reliability(pictures: int) -> Reliability | None:
    """What was measured for sets of so many pictures: that of the largest size that is no larger; None for fewer."""
    return max(((size, told) for size, told in MEASURED.items() if size <= pictures), default=(0, None))[1]


def check_orientation(faces: Sequence[FaceFacts], wanted: bool | None) -> list[Finding]:
    """At most one finding, which names the pictures that look mirrored.

    Pictures that show no face, or several, are left out. Of fewer faces than ever were measured nothing is said.

    Args:
        wanted: ``data.check_mirror``; None is only where the measured reliability of so many faces allows it.
    """
    shown = [facts for facts in faces if facts.count == 1]
    told = reliability(len(shown))
    if told is None or wanted is False or (wanted is None and told.auroc < RELIABLE):
        return []
    seen = orientation(np.stack([facts.crop for facts in shown]))
    if seen.score <= MIXED or not seen.mirrored:
        return []
    paths = tuple(shown[row].path for row in seen.mirrored)
    return [Finding(kind="mixed_mirror", text=_text(len(paths), len(shown), told), paths=paths)]


def _text(some: int, faces: int, told: Reliability) -> str:
    look = "looks" if some == 1 else "look"
    return (
        f"{some} of {faces} faces {look} mirrored beside the others, as selfies are: a mark is on the other cheek. A "
        "LoRA learns both sides; turn them back, or the others. Measured on drawn people only: of a mixed set and "
        f"a consistent one the check tells the mixed one {told.auroc:.1%} of the time, and {told.precision:.0%} of the "
        "pictures it names are mirrored."
    )
