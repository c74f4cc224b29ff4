"""Photos that are there twice: whole, cropped a little, or mirrored. Pure rules over hashes and thumbnails."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lorasweep.data.facts import PictureFacts
from lorasweep.data.findings import Finding

# Of 20,000 pairs of drawn photos of one person, some of them in front of one background, few differ by less than 8
# bits; JPEG at quality 30 costs 2 bits, a crop by 5 % costs 8.
NEAR, LOOK = 6, 8
"""Bits of 63 in which two hashes may differ: up to NEAR they are copies, up to LOOK if their colours are nearer too."""
# Copies had 0.06 and 0.03 at most; pairs that are no copies had 0.07 and 0.04 or more.
NEAR_COLOUR, LOOK_COLOUR = 0.065, 0.035
"""Root mean square difference of two thumbnails, 0 to 1, up to which two photos are copies, for NEAR and for LOOK."""


def check_copies(pictures: Sequence[PictureFacts]) -> list[Finding]:
    """Return one finding for each photo that copies an earlier one; the copy of a copy names the first."""
    found: list[Finding] = []
    for later, earlier, mirrored in copies_of(pictures):
        one, other = pictures[later].path, pictures[earlier].path
        if mirrored:
            says = f"{one} is {other.name} mirrored; nobody's face is symmetric, so keep the one that is the right way."
        else:
            says = f"{one} shows the same as {other.name}; keep the better one, or it counts double."
        found.append(Finding(kind="mirrored_duplicate" if mirrored else "duplicate", text=says, paths=(one, other)))
    return found


def copies_of(pictures: Sequence[PictureFacts]) -> list[tuple[int, int, bool]]:
    """Return (copy, the first like it, whether mirrored), the first two as rows, in order of the copies."""
    if len(pictures) < 2:
        return []
    hashes = _packed([facts.hashes for facts in pictures])
    mirrored = _packed([facts.mirror_hashes for facts in pictures])
    thumbnails = np.stack([facts.thumbnails for facts in pictures])
    first = list(range(len(pictures)))
    turned = [False] * len(pictures)
    found: list[tuple[int, int, bool]] = []
    for row in range(1, len(pictures)):
        straight = _copies(row, hashes, hashes, thumbnails, thumbnails)
        across = _copies(row, hashes, mirrored, thumbnails, thumbnails[:, :, :, ::-1])
        nearest = np.minimum(straight, across)
        best = int(nearest.argmin())
        if not np.isfinite(nearest[best]):
            continue
        flipped = bool(across[best] < straight[best])
        # the mirror image of a mirrored copy is a plain copy of the first
        first[row], turned[row] = first[best], turned[best] ^ flipped
        found.append((row, first[row], turned[row]))
    return found


def _packed(hashes: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint64]:
    """Return [N, T] each hash as one number, with which all pairs of 2,000 photos take a quarter of the time."""
    return np.packbits(np.stack(hashes), axis=2).view(np.uint64)[..., 0]


def _copies(
    row: int,
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    colours: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """Return [row] the difference in colour of each earlier photo, infinite if it is no copy.

    Args:
        row: the photo that is compared with all before it.
        hashes: [N, T] one for each trim of each photo; trim 0 is the whole.
        others: [N, T] those of the photos, or of their mirror images.
        thumbnails: [N, T, S, S, 3]; ``colours`` are those of ``others``.
    """
    trims = hashes.shape[1]
    # the whole of either photo with every trim of the other: two that were both trimmed are not looked for
    ways = [(0, trim) for trim in range(trims)] + [(trim, 0) for trim in range(1, trims)]
    mine, its = [one for one, _ in ways], [other for _, other in ways]
    bits: NDArray[np.uint8] = np.bitwise_count(hashes[row, mine] ^ others[:row][:, its])
    result = np.full(row, np.inf)
    near: list[int] = np.flatnonzero(bits.min(axis=1) <= LOOK).tolist()  # thumbnails are compared for these few only
    for at in near:
        gaps = thumbnails[row, mine].astype(np.float64) - colours[at, its]
        differences = np.sqrt(np.mean(gaps**2, axis=(1, 2, 3))) / 255
        difference = float(differences[bits[at] <= LOOK].min())  # of the near trims the one with the nearest colours
        if difference <= (NEAR_COLOUR if int(bits[at].min()) <= NEAR else LOOK_COLOUR):
            result[at] = difference
    return result
