"""G: is there a face where one was asked for, and are its five landmarks where a face has them?

A detector's confidence says nothing of deformation (it stays near 1 on a swirled face); the landmarks' shape does.
Shapes are compared after taking out place, size and tilt (Procrustes), each with the nearest one of the person's
photos and of the base model's samples, so that neither a pose nor another person's proportions count as damage.
"""

import numpy as np

from lorasweep.evaluate.shares import Judged, asked, has_face, recognisable, unjudged
from lorasweep.records import Evidence, Features, Floats

SMALLEST_TOLERANCE = 0.03
"""Procrustes distance that benign changes of view reach (0.02 to 0.04 with MTCNN)."""
CLEARLY_DEFORMED = 0.04
"""Distance beyond the tolerance that costs half of a picture's share: a swirl that MTCNN sees clearly is 0.06 away, one
that ruins the face 0.12."""
FEW_SHAPES = 4
FACELESS_VETO = 0.10
"""A share of pictures without a face this much above the base model's rules a checkpoint out."""


def geometry(features: Features, evidence: Evidence) -> Judged:
    """A picture without a face counts 0, unless the base model failed at the same prompt and seed too."""
    if evidence.told_by != "face":
        return unjudged(features, "geometry is not judged: no face was looked for")
    rows = asked(evidence, face=True)
    if not rows.any():
        return unjudged(features, "geometry is not judged: no prompt asks for a photo of the subject's face")
    missing, excused = ~has_face(features), ~has_face(evidence.base)
    shares = np.where(missing, 0.0, _well_formed(features, evidence))
    shares = np.where(missing & excused, np.nan, shares)
    excess = float(missing[rows].mean() - excused[rows].mean())
    veto = f"{missing[rows].mean():.0%} of its pictures show no face" if excess > FACELESS_VETO else ""
    return Judged(shares=np.where(rows, shares, np.nan), veto=veto)


def _well_formed(features: Features, evidence: Evidence) -> Floats:
    """[N] 1 within the range of undamaged faces, 0.5 at CLEARLY_DEFORMED beyond it; NaN for too small a face."""
    known = [_shapes(part.landmarks[recognisable(part)]) for part in (evidence.train, evidence.held_out, evidence.base)]
    references = np.concatenate(known)
    judged = recognisable(features)
    shares = np.where(judged, 1.0, np.nan)
    if len(references) < FEW_SHAPES:
        return shares
    among = _distances(references, references) + np.diag(np.full(len(references), np.inf))
    tolerance = max(SMALLEST_TOLERANCE, float(np.quantile(among.min(axis=1), 0.95)))
    nearest = _distances(_shapes(features.landmarks[judged]), references).min(axis=1)
    excess = np.clip(nearest - tolerance, 0, None) / CLEARLY_DEFORMED
    shares[judged] = 0.5 ** (excess**2)
    return shares


def _shapes(landmarks: Floats) -> Floats:
    """[N, 5] complex: points as x + iy, centred, of length 1. The turn that remains is taken out by ``_distances``."""
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    points = points - points.mean(axis=1, keepdims=True)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def _distances(shapes: Floats, references: Floats) -> Floats:
    """[N, M] Procrustes distance (Dryden & Mardia 1998, §4.1): 0 for equal shapes up to turn, place, size."""
    return np.sqrt(np.clip(2 - 2 * np.abs(shapes @ references.conj().T), 0, None))
