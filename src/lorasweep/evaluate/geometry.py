"""G: is there a face where one was asked for, and are its five landmarks where a face has them?

A detector's confidence stays near 1 on a swirled face; the shape of its landmarks does not. Each shape is compared,
less its place, size and turn (Procrustes), with the nearest one of the photos and of the base model's samples, so that
neither a pose nor another person's proportions count as damage.
"""

from typing import Any, cast

import numpy as np
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from lorasweep.evaluate.shares import Judged, asked, face_expected, has_face, recognisable, unjudged
from lorasweep.outcomes import NoteKind, VetoKind
from lorasweep.records import Evidence, Features, Floats, Note, Veto

SMALLEST_TOLERANCE = 0.03
"""Procrustes distance that a mere change of view reaches (0.02 to 0.04 with MTCNN)."""
CLEARLY_DEFORMED = 0.04
"""Distance beyond the tolerance that halves an image's share: a swirl that MTCNN clearly sees is 0.06 away, one that
ruins the face 0.12."""
FEW_SHAPES = 4
"""Reference faces below which shapes are not compared."""
FACELESS_VETO, FACELESS_CHANCE = 0.10, 0.1
"""A checkpoint is ruled out if its share of images without a face is shown to be this much above the base model's: if
so many would come with less than this chance. Of six faces a finder misses one now and then; that one used to cost hot
runs of half A their only good checkpoints."""


def geometry(features: Features, evidence: Evidence) -> Judged:
    """Return how well formed each face is; 0 without a face, NaN if the base model draws none there either."""
    if evidence.told_by != "face":
        return unjudged(features, Note(NoteKind.FACES_NOT_SOUGHT))
    rows = asked(evidence, face=True)
    if not rows.any():
        return unjudged(features, Note(NoteKind.FACE_NOT_ASKED, {"component": "geometry"}))
    missing, expected = ~has_face(features), face_expected(evidence)
    shares = np.where(missing, np.where(expected, 0.0, np.nan), _well_formed(features, evidence))
    faceless, usual = (float(part[rows].mean()) for part in (missing, ~has_face(evidence.base)))
    excused = min(1.0, usual + FACELESS_VETO)
    chance = float(cast("Any", stats).binom.sf(missing[rows].sum() - 1, rows.sum(), excused))
    veto = Veto(VetoKind.NO_FACE, faceless) if faceless > excused and chance < FACELESS_CHANCE else None
    return Judged(shares=np.where(rows, shares, np.nan), veto=veto)


def _well_formed(features: Features, evidence: Evidence) -> Floats:
    """Return [N] 1 within the range of undamaged faces, 0.5 at CLEARLY_DEFORMED beyond it; NaN for too small a face."""
    known = [_shapes(part.landmarks[recognisable(part)]) for part in (evidence.train, evidence.held_out, evidence.base)]
    if evidence.shapes is not None:
        known.append(_shapes(evidence.shapes))
    references = np.concatenate(known)
    # A face turned the other way is as sound, and photos of one person rarely show both sides.
    references = np.concatenate([references, _mirrored(references)])
    judged = recognisable(features)
    shares = np.where(judged, 1.0, np.nan)
    if len(references) < FEW_SHAPES:
        return shares
    # How far a face that nothing ails lies from its nearest neighbour, itself left out.
    among = _distances(references, references)
    halves = np.arange(len(references)) % (len(references) // 2)
    among[halves[:, None] == halves] = np.inf  # its own mirror image too
    # 0.95: one odd photo, such as a profile, must not make deformation normal.
    tolerance = max(SMALLEST_TOLERANCE, float(np.quantile(among.min(axis=1), 0.95)))
    nearest = _distances(_shapes(features.landmarks[judged]), references).min(axis=1)
    excess = np.clip(nearest - tolerance, 0, None) / CLEARLY_DEFORMED
    shares[judged] = 0.5 ** (excess**2)
    return shares


def _shapes(landmarks: Floats) -> Floats:
    """Return [N, 5] complex points x + iy, centred and of length 1; ``_distances`` takes out the turn."""
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    points = points - points.mean(axis=1, keepdims=True)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def _mirrored(shapes: Floats) -> Floats:
    """Return the shapes of the mirror images: x is turned round, and left and right points change places."""
    return -shapes[:, [1, 0, 2, 4, 3]].conj()


def _distances(shapes: Floats, references: Floats) -> Floats:
    """Return [N, M] Procrustes distances, 0 for equal shapes up to turn, place and size (Dryden & Mardia 1998, 4.1)."""
    return np.sqrt(np.clip(2 - 2 * np.abs(shapes @ references.conj().T), 0, None))
