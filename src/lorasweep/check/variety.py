"""What all pictures of a set have in common and a LoRA would learn as the subject: pure rules over facts."""

from collections.abc import Sequence

import numpy as np

from lorasweep.data.facts import FaceFacts
from lorasweep.data.findings import Finding
from lorasweep.records import Floats

LEAST = 6
"""Of fewer pictures nothing is said."""
MOST_ALIKE = 0.6
"""Share of pictures before one background, or in one outfit, from which it is learned along (huggingface blog #1665:
avoid repeating backgrounds, clothing and poses; kohya_ss #62)."""
MOST_TURNED = 0.75
"""Share of faces turned one way, or all to the camera."""
LIGHTNESS = 0.5
"""How much lightness counts beside colour: the same wall is darker in the evening."""
ALIKE = 14.0
"""Distance in CIELAB, so weighted, within which two colours are one: 2.3 is just noticed side by side, light and shadow
make 10 of it. The drawn world's colours are 25 and more apart."""
SAYS = {
    "one_background": "are before the same background, which is learned with the subject; add others, or name it in "
    "every caption.",
    "one_outfit": "show the same clothes, learned with the subject; add others, or name them in every caption.",
}


def check_set(faces: Sequence[FaceFacts]) -> list[Finding]:
    """Findings about the set as a whole; only pictures with a face have a background, an outfit and a pose."""
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
    """Rows of the largest group that is alike to one of its own, by the colours that both have."""
    nobody: list[int] = []
    groups = [[row for row, other in enumerate(vectors) if distance(vector, other) < ALIKE] for vector in vectors]
    return max(groups, key=len, default=nobody)


def distance(one: Floats, other: Floats) -> float:
    """The median over regions of the distance of two [K] colours, L, a and b by turns; infinite where no region is in
    both pictures."""
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
