"""A: is there damage: clay or blur, mosaic, posterised tones, harsh edges or noise, burnt colours?

The texture of a single image proves little, so the sheet's mean is compared with the photos and with what the base
model draws for the same prompts and seeds. The smaller of the two differences counts, and only in the direction of
damage: soft photos excuse soft images, a flat base model flat ones.
"""

from dataclasses import dataclass

import numpy as np

from lorasweep.evaluate.shares import Judged, asked, robust_spread, unjudged
from lorasweep.records import TEXTURE, Bools, Evidence, Features, Floats, Note, NoteKind

FAULTS: dict[str, tuple[tuple[str, float], ...]] = {
    "blurred": (("high_energy", -0.3), ("mid_energy", -0.25)),
    "like clay": (("flat_fraction", 0.2),),
    "like mosaic": (("block_peak", 0.7),),
    "posterised": (("histogram_entropy", -1.2),),
    "harsh or noisy": (("high_energy", 0.22), ("local_std", 0.45), ("grain", 0.8)),
    "blocky, as a bad JPEG is": (("blocking", 0.3),),
    "burnt": (("saturation", 0.08), ("contrast", 0.04), ("clipped", 0.1)),
}
"""What damage does to texture: a column, and the signed change that the eye just notices on a sheet."""
FREE = 1.0
"""Just noticeable changes that cost nothing."""
SCATTER = 0.5
"""Share of the photos' own spread within which a sheet's mean does not differ from them."""
CLEARLY_DAMAGED = 2.0
"""Just noticeable changes beyond FREE that halve the component."""
NOTED = 0.75
"""Value of the component below which the worst fault is named."""


@dataclass(frozen=True)
class Damage:
    """The worst fault of a sheet."""

    fault: str
    """Key of FAULTS."""
    amounts: Floats
    """[N] in just noticeable changes; the sheet's amount is their mean."""


def artifact(features: Features, evidence: Evidence) -> Judged:
    """Return how sound each image is. Only photos are judged: a pencil sketch is all harsh edges."""
    rows = asked(evidence, photo=True) | asked(evidence, subject=False, photo=True)
    if not rows.any():
        return unjudged(features, Note(NoteKind.PHOTO_NOT_ASKED))
    damage = worst_damage(features, evidence, rows)
    level = float(damage.amounts[rows].mean())
    share, slope = _soundness(level)
    # A first-order expansion around the sheet's level gives each image its part and keeps their mean exact.
    shares = share + slope * (damage.amounts - level)
    notes = (Note(NoteKind.DAMAGED, {"fault": damage.fault}),) if share < NOTED else ()
    return Judged(shares=np.where(rows, shares, np.nan), notes=notes)


def worst_damage(features: Features, evidence: Evidence, rows: Bools) -> Damage:
    """Return the fault with the largest mean amount over ``rows``."""
    # Held-out photos too: texture is no secret of the subject, and more photos know better what is usual.
    photos = np.concatenate([evidence.train.texture, evidence.held_out.texture])
    usual: Floats | None = np.stack([np.median(photos, axis=0), robust_spread(photos)]) if len(photos) else None
    found = [
        Damage(fault, _amounts(features, evidence, rows, usual, name, step))
        for fault, signs in FAULTS.items()
        for name, step in signs
    ]
    return max(found, key=lambda damage: float(damage.amounts[rows].mean()))


def _amounts(
    features: Features, evidence: Evidence, rows: Bools, usual: Floats | None, name: str, step: float
) -> Floats:
    """Return [N] amounts of one sign of damage, against the reference that excuses more of it.

    ``usual`` is [2, K]: the photos' median and spread by column; None without photos.
    """
    column = TEXTURE.index(name)
    seen = features.texture[:, column]
    from_base = (seen - evidence.base.texture[:, column]) / step
    if usual is None:
        return from_base
    middle, spread = usual[:, column]
    from_photos = (seen - middle) / (np.sign(step) * max(abs(step), SCATTER * float(spread)))
    # Chosen by the sheet's mean, so that all images of a column are measured against one reference.
    return from_photos if from_photos[rows].mean() < from_base[rows].mean() else from_base


def _soundness(level: float) -> tuple[float, float]:
    """Return the component for a mean amount, 1 up to FREE and 0.5 at CLEARLY_DAMAGED beyond, and its slope there."""
    excess = max(0.0, level - FREE) / CLEARLY_DAMAGED
    share = 0.5 ** (excess**2)
    return share, -2 * np.log(2) * excess * share / CLEARLY_DAMAGED
