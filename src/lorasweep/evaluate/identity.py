"""I: is it this subject? 0 is whatever the base model draws, 1 as alike as the photos are among themselves.

Likeness beyond that is not rewarded: raw similarity is highest for copies. Photos that were not trained on are the
measure; fixed thresholds do not carry over from one embedder or subject to the next.

A person is told by the face; a thing or a drawn character, for which there is no finder, by the whole picture. Then
the background counts too: of a good checkpoint's new scenes the component stays below 1, for all checkpoints alike.
"""

from dataclasses import dataclass

import numpy as np

from lorasweep.evaluate.companion import subject_first
from lorasweep.evaluate.shares import Judged, asked, has_face, recognisable, unjudged
from lorasweep.records import Bools, Evidence, Features, Floats

ENOUGH_FACES = 5
"""Real photos with a face below which the scale's upper end is a guess."""
ENOUGH_PICTURES = 4
"""The same of whole pictures, none of which is lost to a finder; DreamBooth's subjects have 4 to 6."""
ENOUGH_HELD_OUT = 2
SMALLEST_GAP = 0.15
"""Cosine between the two ends of the scale below which noise would be measured."""
SURE_GAP = 3.0
"""The same for whole pictures, in standard errors of the gap: cosines crowd near 1 in one network and spread in the
next, so that no cosine is large or small in itself."""
ROUNDING = 1e-3
"""Cosine that half precision makes or loses."""
LOWEST, HIGHEST = -0.5, 1.25
"""Bounds of one picture's share: real photos scatter around 1, strangers around 0."""
NO_PICK = (
    "nothing measures how well a style is met (evaluate.subject is none), so there is no automatic pick: "
    "look at the sheet"
)


@dataclass(frozen=True)
class Likeness:
    """The subject's own scale of similarity."""

    center: Floats
    """[D] mean of the reference photos' vectors: a dot product with it is the mean cosine to them."""
    floor: float
    """Mean cosine of the base model's samples to the references."""
    ceiling: float
    """Median, over real photos, of the mean cosine to the other references."""

    def shares(self, features: Features) -> Floats:
        """[N] 0 at the floor, 1 at the ceiling."""
        share = (features.subject @ self.center - self.floor) / (self.ceiling - self.floor)
        return np.clip(share, LOWEST, HIGHEST)


def likeness(evidence: Evidence) -> Likeness | str:
    """The scale, or the reason why this subject cannot be measured."""
    if evidence.told_by == "none":
        return NO_PICK
    train = evidence.train.subject[recognisable(evidence.train)]
    held_out = evidence.held_out.subject[recognisable(evidence.held_out)]
    too_few = _too_few(len(train) + len(held_out), evidence)
    if too_few:
        return too_few
    apart = len(held_out) >= ENOUGH_HELD_OUT
    references = held_out if apart else train
    total = references.sum(axis=0)
    among = (references @ total - 1) / (len(references) - 1)
    across = train @ total / len(references) if apart else among
    own = np.concatenate([across, among]) if apart else among
    ceiling = float(np.median(own))
    center = total / len(references)
    strangers = evidence.base.subject[_rows(evidence) & recognisable(evidence.base)] @ center
    floor = float(strangers.mean()) if len(strangers) else 0.0
    needed, what = (SMALLEST_GAP, "") if evidence.told_by == "face" else _least_gap(own, strangers)
    if ceiling - floor < needed:
        others = "the base model's strangers" if evidence.told_by == "face" else "what the base model draws"
        return (
            f"identity is not measurable: the photos are {ceiling:.2f} alike among themselves and {floor:.2f} alike to "
            f"{others}, and a gap of {needed:.2g}{what} is needed"
        )
    return Likeness(center, floor, ceiling)


def _too_few(count: int, evidence: Evidence) -> str:
    """Why so many photos make no scale, or nothing."""
    if evidence.told_by == "face":
        few = count < ENOUGH_FACES
        return f"identity is not measurable: {count} photos show a face, {ENOUGH_FACES} are needed" if few else ""
    few = count < ENOUGH_PICTURES
    return f"identity is not measurable: there are {count} photos, {ENOUGH_PICTURES} are needed" if few else ""


def _least_gap(own: Floats, strangers: Floats) -> tuple[float, str]:
    """Between the mean cosines of real photos and of the base model's pictures: SURE_GAP standard errors, in words."""
    parts = [part.var(ddof=1) / len(part) for part in (own, strangers) if len(part) > 1]
    return max(ROUNDING, SURE_GAP * float(np.sqrt(sum(parts)))), f" ({SURE_GAP:g} standard errors)"


def _rows(evidence: Evidence) -> Bools:
    """[N] the pictures that must show the subject as photos do."""
    return asked(evidence, face=evidence.told_by == "face")


def identity(features: Features, evidence: Evidence) -> Judged:
    """No face where one is asked for counts as 0; a face too small to judge does not count."""
    if evidence.told_by == "none":
        return unjudged(features, NO_PICK)
    rows = _rows(evidence)
    if not rows.any():
        of = "subject's face" if evidence.told_by == "face" else "subject"
        return unjudged(features, f"identity is not judged: no prompt asks for a photo of the {of}")
    scale = likeness(evidence)
    if isinstance(scale, str):
        return unjudged(features, scale)
    features = subject_first(features, evidence, scale.center)
    shares = np.where(recognisable(features), scale.shares(features), np.nan)
    if evidence.told_by == "face":
        shares = np.where(has_face(features), shares, 0.0)
    return Judged(shares=np.where(rows, shares, np.nan))
