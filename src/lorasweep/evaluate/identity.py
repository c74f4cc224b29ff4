"""I: is it this person? 0 is whoever the base model draws, 1 as alike as the person's own photos are among themselves.

Likeness beyond that is not rewarded: raw similarity is highest for copies. Photos that were not trained on are the
measure; fixed thresholds do not carry over from one embedder or person to the next.
"""

from dataclasses import dataclass

import numpy as np

from lorasweep.data.records import Evidence, Features, Floats
from lorasweep.evaluate.company import subject_first
from lorasweep.evaluate.judged import Judged, asked, has_face, recognisable, unjudged

ENOUGH_FACES = 5
"""Real photos with a face below which the scale's upper end is a guess."""
ENOUGH_HELD_OUT = 2
SMALLEST_GAP = 0.15
"""Cosine between the two ends of the scale below which noise would be measured."""
LOWEST, HIGHEST = -0.5, 1.25
"""Bounds of one picture's share: real photos scatter around 1, strangers around 0."""


@dataclass(frozen=True)
class Likeness:
    """The person's own scale of similarity."""

    center: Floats
    """[D] mean of the reference photos' vectors: a dot product with it is the mean cosine to them."""
    floor: float
    """Mean cosine of the base model's samples to the references."""
    ceiling: float
    """Median, over real photos, of the mean cosine to the other references."""

    def shares(self, features: Features) -> Floats:
        """[N] 0 at the floor, 1 at the ceiling."""
        share = (features.face @ self.center - self.floor) / (self.ceiling - self.floor)
        return np.clip(share, LOWEST, HIGHEST)


def likeness(evidence: Evidence) -> Likeness | str:
    """The scale, or the reason why this person cannot be measured."""
    train = evidence.train.face[recognisable(evidence.train)]
    held_out = evidence.held_out.face[recognisable(evidence.held_out)]
    if len(train) + len(held_out) < ENOUGH_FACES:
        return f"identity is not measurable: {len(train) + len(held_out)} photos show a face, {ENOUGH_FACES} are needed"
    apart = len(held_out) >= ENOUGH_HELD_OUT
    references = held_out if apart else train
    total = references.sum(axis=0)
    among = (references @ total - 1) / (len(references) - 1)
    across = train @ total / len(references) if apart else among
    ceiling = float(np.median(np.concatenate([across, among]) if apart else among))
    center = total / len(references)
    strangers = evidence.base.face[asked(evidence, face=True) & recognisable(evidence.base)]
    floor = float((strangers @ center).mean()) if len(strangers) else 0.0
    if ceiling - floor < SMALLEST_GAP:
        return (
            f"identity is not measurable: the photos are {ceiling:.2f} alike among themselves and {floor:.2f} alike to "
            f"the base model's strangers, and a gap of {SMALLEST_GAP} is needed"
        )
    return Likeness(center, floor, ceiling)


def identity(features: Features, evidence: Evidence) -> Judged:
    """No face where one is asked for counts as 0; a face too small to judge does not count."""
    rows = asked(evidence, face=True)
    if not rows.any():
        return unjudged(features, "identity is not judged: no prompt asks for a photo of the subject's face")
    scale = likeness(evidence)
    if isinstance(scale, str):
        return unjudged(features, scale)
    features = subject_first(features, evidence, scale.center)
    shares = np.where(recognisable(features), scale.shares(features), np.nan)
    shares = np.where(has_face(features), shares, 0.0)
    return Judged(shares=np.where(rows, shares, np.nan))
