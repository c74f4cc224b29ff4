"""Are all photos of one person the same way round, or are some mirrored, as selfies are? Arithmetic on face crops.

What tells the sides of a face apart is a mark on one cheek. A dark spot is dark against all of its surroundings: the
smaller eigenvalue of the Hessian of the logarithm of luma sees it, and sees neither light from one side (a slope), nor
an outline, a wrinkle or a beard's edge (curved across, not along). The antisymmetric part of the map of spots changes
its sign in a mirrored photo, so that two photos agree, or disagree, by the product of theirs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorasweep.data.pictures import Pixels
from lorasweep.records import Floats

WIDTH, HEIGHT = 96, 46
"""Pixels of a crop: the face below the eyes, its middle in the middle."""
UNIT = 32.0
"""Pixels of a crop that an average face's eyes are apart."""
TOP = 2.0
"""Rows of a crop above the line through the eyes."""
INNER, OUTER = 0.4, 1.2
"""In units from the middle of the face: cheeks begin beside the nose and end before the ears."""
UPPER, LOWER = 0.35, 1.0
"""In units from the line through the eyes: below lids and glasses, above the corners of the mouth."""
SPOT = 1.2
"""Standard deviation, in pixels, of the blur that a spot is looked for after; marks are twice to six times as wide."""
ELSEWHERE = 2.0
"""Standard deviation, in pixels, of where landmarks put the same mark."""
DARK = 8.0
"""Added to luma (0 to 255) before its logarithm: noise in the dark is no mark."""
# fixed: a floor relative to the set made unmarked faces look mixed
FAINT = 0.1
"""Strength of spots at which a photo counts half. Drawn moles have 0.25 to 0.45, what else is in a face 0.06 at most
nine times in ten."""
BARELY = 0.25
"""Share of the usual support: a photo that the others support less than this is on neither side."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How consistently a set of photos shows left and right."""

    score: float
    """0 if no photo contradicts the others or no face has a mark; towards 1 the more there are on both sides."""
    mirrored: tuple[int, ...]
    """Rows on the side of the fewer, of the two sides that the photos are best split into. Which of two halves is
    mirrored nobody can tell: then the side is named that the first photo is not on."""


def orientation(crops: Pixels) -> Orientation:
    """Look for two sides among photos of one person.

    Args:
        crops: [N, HEIGHT, WIDTH] luma of the face in each photo.

    Raises:
        ValueError: crops of another size.
    """
    if crops.ndim != 3 or crops.shape[1:] != (HEIGHT, WIDTH):
        raise ValueError(f"crops are {list(crops.shape)}; they must be [N, {HEIGHT}, {WIDTH}]")
    if len(crops) < 2:
        return Orientation(score=0.0, mirrored=())
    agreement = _agreement(sidedness(crops))
    sides = best_split(agreement)
    pairs = len(crops) * (len(crops) - 1)
    support = sides * (agreement @ sides)
    score = float(sides @ agreement @ sides - agreement.sum()) / pairs
    fewer = (sides < 0) & (support > BARELY * np.median(support))
    return Orientation(score=max(score, 0.0), mirrored=tuple(np.flatnonzero(fewer).tolist()))


def sidedness(crops: Pixels) -> Floats:
    """Return [N, D] the antisymmetric part of each crop's spots; a mirrored crop has the same with its sign turned."""
    where = _blurred(spots(crops) * _cheeks(), ELSEWHERE)
    half = (where - where[..., ::-1])[..., : WIDTH // 2]
    return half.reshape(len(crops), -1)


def spots(crops: Pixels) -> Floats:
    """Return [N, H, W] how much darker, in every direction, each place is than what is around it; 0 where it is not."""
    # of the logarithm, so that a spot in the shade counts as much as one in the light
    plane = _blurred(np.log(crops.astype(np.float64) + DARK), SPOT)
    down, across = np.gradient(plane, axis=(1, 2))
    down_down, down_across = np.gradient(down, axis=(1, 2))
    across_across = np.gradient(across, axis=2)
    mean, gap = (across_across + down_down) / 2, (across_across - down_down) / 2
    return SPOT**2 * np.maximum(mean - np.hypot(gap, down_across), 0)


def best_split(agreement: Floats) -> Floats:
    """Return [N] of 1 and -1, the more of them 1: the sides by which a symmetric ``agreement`` [N, N] is largest."""
    # begin with the signs of the leading eigenvector, then let one photo at a time change sides while that helps
    sides = np.where(np.linalg.eigh(agreement)[1][:, -1] >= 0, 1.0, -1.0)
    for _ in range(4 * len(sides)):
        support = sides * (agreement @ sides)
        worst = int(support.argmin())
        if support[worst] >= -1e-12:
            break
        sides[worst] = -sides[worst]
    total = sides.sum()
    return sides if total > 0 or (total == 0 and sides[0] > 0) else -sides


def _agreement(vectors: Floats) -> Floats:
    """Return [N, N] from -1 to 1, and 0 for a photo with itself."""
    # faint spots count less whatever the others are like, so that faces without a mark are not amplified
    weighed = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + FAINT)
    agreement: Floats = weighed @ weighed.T
    np.fill_diagonal(agreement, 0)
    return agreement


def _cheeks() -> NDArray[np.bool_]:
    """Return [HEIGHT, WIDTH] where marks are looked for, symmetric."""
    down = (np.arange(HEIGHT) - TOP) / UNIT
    aside = np.abs(np.arange(WIDTH) - (WIDTH - 1) / 2) / UNIT
    return ((down > UPPER) & (down < LOWER))[:, None] & ((aside > INNER) & (aside < OUTER))


def _blurred(planes: Floats, sigma: float) -> Floats:
    """Return [N, H, W] blurred by a Gaussian."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for _ in range(2):  # down, then across: the swap of axes turns the one into the other
        padded = np.pad(planes, ((0, 0), (reach, reach), (0, 0)), mode="edge")
        rows = planes.shape[1]
        planes = np.sum([weight * padded[:, shift : shift + rows] for shift, weight in enumerate(kernel)], axis=0)
        planes = planes.swapaxes(1, 2)
    return planes
