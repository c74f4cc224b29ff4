"""Pictures that are there twice, whole, cropped a little, or mirrored: pure rules over their hashes and thumbnails."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lorasweep.data.facts import PictureFacts
from lorasweep.data.findings import Finding

NEAR, LOOK = 6, 8
"""Bits of 63 in which two hashes differ: near copies, and those that have to be nearer in colour. Of 20,000 pairs of
drawn photos of one person, also before one background, few are below 8; JPEG at quality 30 costs 2, a crop by 5 % 8."""
NEAR_COLOUR, LOOK_COLOUR = 0.065, 0.035
"""Root mean square difference of two thumbnails, of 1, up to which either counts. Copies had 0.06 at most, and 0.03;
pairs that are no copies 0.07 or more, and 0.04."""


def check_copies(pictures: Sequence[PictureFacts]) -> list[Finding]:
    """One finding for each picture that copies an earlier one; the copy of a copy names the first."""
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
    """(copy, first of its like, whether mirrored) by row, in order of the copies."""
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
        first[row], turned[row] = first[best], turned[best] ^ flipped
        found.append((row, first[row], turned[row]))
    return found


def _packed(hashes: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint64]:
    """[N, T] each hash as one number: all pairs of 2,000 pictures take a quarter of the time."""
    return np.packbits(np.stack(hashes), axis=2).view(np.uint64)[..., 0]


def _copies(
    row: int,
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    colours: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """[row] the difference of each earlier picture, infinite where it is no copy.

    The whole of either is compared with every trim of the other, hashes [N, T] and thumbnails [N, T, S, S, 3].
    Of the trims whose hashes are near, the one counts whose colours are nearest.
    """
    trims = hashes.shape[1]
    ways = [(0, trim) for trim in range(trims)] + [(trim, 0) for trim in range(1, trims)]
    mine, its = [one for one, _ in ways], [other for _, other in ways]
    bits: NDArray[np.uint8] = np.bitwise_count(hashes[row, mine] ^ others[:row][:, its])
    result = np.full(row, np.inf)
    near: list[int] = np.flatnonzero(bits.min(axis=1) <= LOOK).tolist()
    for at in near:
        gaps = thumbnails[row, mine].astype(np.float64) - colours[at, its]
        differences = np.sqrt(np.mean(gaps**2, axis=(1, 2, 3))) / 255
        difference = float(differences[bits[at] <= LOOK].min())
        if difference <= (NEAR_COLOUR if int(bits[at].min()) <= NEAR else LOOK_COLOUR):
            result[at] = difference
    return result
