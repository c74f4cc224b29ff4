"""I: is it this subject? 0 is what the base model draws, 1 is as alike as the photos are among themselves.

Likeness beyond that earns nothing, since raw similarity is highest for copies. The scale comes from photos that were
not trained on: fixed thresholds do not carry over from one embedder or subject to the next.

The face tells a person; the whole image tells a thing or a drawn character, for which there is no face finder. The
background then counts too, so a good checkpoint's new scenes stay below 1, for all checkpoints alike.
"""

from dataclasses import dataclass

import numpy as np

from lorasweep.evaluate.companion import subject_first
from lorasweep.evaluate.shares import Judged, asked, face_expected, has_face, recognisable, unjudged
from lorasweep.outcomes import NoteKind
from lorasweep.records import Bools, Evidence, Features, Floats, Note

ENOUGH_FACES = 5
"""Photos with a face below which the scale's upper end is a guess."""
ENOUGH_PHOTOS = 4
"""The same for whole images, none of which the finder can miss; DreamBooth's subjects have 4 to 6."""
ENOUGH_HELD_OUT = 2
SMALLEST_GAP = 0.15
"""Cosine between the ends of the scale below which it would measure noise."""
SURE_GAP = 3.0
"""The same for whole images, in standard errors of the gap: cosines crowd near 1 in one network and spread in the next,
so no cosine is large or small in itself."""
ROUNDING = 1e-3
"""Cosine that half precision adds or loses."""
LOWEST, HIGHEST = -0.5, 1.25
"""Bounds of one image's share: photos scatter around 1, strangers around 0."""


@dataclass(frozen=True)
class Likeness:
    """The subject's own scale of similarity."""

    center: Floats
    """[D] mean of the reference photos' vectors: a dot product with it is the mean cosine to them."""
    floor: float
    """Mean cosine of the base model's samples to the references."""
    ceiling: float
    """Median over the photos of the mean cosine to the other references."""

    def shares(self, features: Features) -> Floats:
        """Return [N] shares, 0 at the floor and 1 at the ceiling."""
        share = (features.subject @ self.center - self.floor) / (self.ceiling - self.floor)
        return np.clip(share, LOWEST, HIGHEST)


def likeness(evidence: Evidence) -> Likeness | Note:
    """Return the scale, or why this subject cannot be measured."""
    if evidence.told_by == "none":
        return Note(NoteKind.STYLE)
    train = evidence.train.subject[recognisable(evidence.train)]
    held_out = evidence.held_out.subject[recognisable(evidence.held_out)]
    count, by_face = len(train) + len(held_out), evidence.told_by == "face"
    needed = ENOUGH_FACES if by_face else ENOUGH_PHOTOS
    if count < needed:
        return Note(NoteKind.FEW_FACES if by_face else NoteKind.FEW_PHOTOS, {"count": count, "needed": needed})
    # Held-out photos are the references if there are enough, else the training photos, each against the others.
    apart = len(held_out) >= ENOUGH_HELD_OUT
    references = held_out if apart else train
    total = references.sum(axis=0)
    among = (references @ total - 1) / (len(references) - 1)  # less the 1 that each photo is alike to itself
    across = train @ total / len(references) if apart else among
    own = np.concatenate([across, among]) if apart else among
    ceiling = float(np.median(own))  # not the mean: a photo in profile or with sunglasses is unlike all others
    center = total / len(references)
    strangers = evidence.base.subject[_rows(evidence) & recognisable(evidence.base)] @ center
    floor = float(strangers.mean()) if len(strangers) else 0.0
    gap = SMALLEST_GAP if by_face else _least_gap(own, strangers)
    if ceiling - floor < gap:
        ends = {"ceiling": ceiling, "floor": floor, "needed": gap}
        return (
            Note(NoteKind.STRANGERS_ALIKE, ends)
            if by_face
            else Note(NoteKind.IMAGES_ALIKE, {**ends, "errors": SURE_GAP})
        )
    return Likeness(center, floor, ceiling)


def _least_gap(own: Floats, strangers: Floats) -> float:
    """Return SURE_GAP standard errors of the gap between the mean cosines of photos and of the base model's images."""
    parts = [part.var(ddof=1) / len(part) for part in (own, strangers) if len(part) > 1]
    return max(ROUNDING, SURE_GAP * float(np.sqrt(sum(parts))))


def _rows(evidence: Evidence) -> Bools:
    """Return [N] which images must show the subject as photos do."""
    return asked(evidence, face=evidence.told_by == "face")


def identity(features: Features, evidence: Evidence) -> Judged:
    """Return each image's likeness to the subject; 0 without a face, NaN for a face too small to judge.

    NaN too if there is no face where the base model draws none either.
    """
    rows, by_face = _rows(evidence), evidence.told_by == "face"
    if evidence.told_by != "none" and not rows.any():
        face = Note(NoteKind.FACE_NOT_ASKED, {"component": "identity"})
        return unjudged(features, face if by_face else Note(NoteKind.SUBJECT_NOT_ASKED))
    scale = likeness(evidence)
    if isinstance(scale, Note):
        return unjudged(features, scale)
    # Two people in one image: only after this is ``face`` the one that the prompt's subject should be.
    features = subject_first(features, evidence, scale.center)
    shares = np.where(recognisable(features), scale.shares(features), np.nan)
    if by_face:
        shares = np.where(has_face(features), shares, np.where(face_expected(evidence), 0.0, np.nan))
    return Judged(shares=np.where(rows, shares, np.nan))
