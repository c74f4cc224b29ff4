"""Which photos are held out from training: a pure function of what they show."""

from collections.abc import Sequence

import numpy as np

from lorasweep.records import Floats

SIGNATURE_SIDE = 8
"""Side in pixels of the thumbnails that stand for photos here."""
NEAR = 0.06
"""Root mean square difference, of 1, below which two thumbnails are one shot taken twice."""


def choose_held_out(signatures: Floats, names: Sequence[str], share: float) -> frozenset[int]:
    """Return the rows to hold out: about ``share`` of them, at least 2, spread evenly over what the photos look like.

    Photos that are all one burst hold nothing out.

    Args:
        signatures: [N, K] thumbnails in [0, 1].
        names: content hashes.
        share: 0 to 0.5.
    """
    wanted = max(2, round(share * len(names)))
    # by content hash, so that neither file names nor their order change the answer
    order = sorted(range(len(names)), key=lambda row: names[row])
    groups = _bursts(signatures[order])
    # of two near-duplicates one must not train while the other judges: it would call every copy a likeness
    singles = [group for group in groups if len(group) == 1]
    places = _spread(signatures[order], singles if len(singles) > wanted else groups)
    chosen: list[int] = []
    for group in _evenly(places, wanted):
        if len(chosen) < wanted and len(chosen) + len(group) < len(names):
            chosen += group
    return frozenset(order[row] for row in chosen)


def _bursts(signatures: Floats) -> list[list[int]]:
    """Return rows in groups of near-duplicates (single linkage)."""
    label = list(range(len(signatures)))
    for row, signature in enumerate(signatures):
        distance = np.sqrt(np.mean((signatures[:row] - signature) ** 2, axis=1))
        for other in np.flatnonzero(distance < NEAR):
            old, new = label[row], label[int(other)]
            label = [new if name == old else name for name in label]
    return [[row for row in range(len(label)) if label[row] == name] for name in sorted(set(label))]


def _spread(signatures: Floats, groups: list[list[int]]) -> list[list[int]]:
    """Return the groups ordered along the direction in which the photos differ most."""
    centred = signatures - signatures.mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    # the sign of a singular vector is arbitrary, and differs between machines
    direction = direction * np.sign(direction[np.argmax(np.abs(direction))])
    along = centred @ direction
    # rounded, so that the last bits of a sum do not decide which photos are held out
    return sorted(groups, key=lambda group: (round(float(along[group].mean()), 9), group))


def _evenly(groups: list[list[int]], wanted: int) -> list[list[int]]:
    """Return ``wanted`` groups from the middles of as many equal parts, then the others in order."""
    middles = [int((part + 0.5) * len(groups) / wanted) for part in range(min(wanted, len(groups)))]
    return [groups[place] for place in middles] + [group for place, group in enumerate(groups) if place not in middles]
