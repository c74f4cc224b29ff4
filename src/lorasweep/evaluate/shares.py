"""What every component gives back, and which pictures it may judge."""

from dataclasses import dataclass

import numpy as np

from lorasweep.records import Bools, Evidence, Features, Floats

SMALLEST_FACE = 0.08
"""Side of a face as a share of the picture's shorter side below which nobody could recognise it."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One component over the N pictures of a sheet."""

    shares: Floats
    """[N] about 0 (bad) to 1 (good), NaN where not judged; the component is their mean, cut to [0, 1]."""
    note: str = ""
    """Why it could not be judged, or what weakens it."""
    veto: str = ""
    """Why the checkpoint must not be picked."""


def asked(evidence: Evidence, *, subject: bool = True, face: bool = False, photo: bool = True) -> Bools:
    """[N] whether a picture's prompt has this ``subject``, and is a photo and asks for a face where these are True."""
    fits = [
        prompt.subject == subject and (prompt.photo or not photo) and (prompt.face or not face)
        for prompt in evidence.prompts
    ]
    return np.repeat(np.array(fits, dtype=np.bool_), len(evidence.seeds))


def has_face(features: Features) -> Bools:
    return features.face_count > 0


def recognisable(features: Features) -> Bools:
    """[N] a face large enough to say whose it is; every picture where the whole of it tells the subject."""
    if features.whole is not None:
        return np.ones(len(features.keys), dtype=np.bool_)
    return has_face(features) & (features.face_size >= SMALLEST_FACE)


def unjudged(features: Features, note: str = "") -> Judged:
    return Judged(shares=np.full(len(features.keys), np.nan), note=note)


def robust_spread(values: Floats) -> Floats:
    """Standard deviation estimated from the median absolute deviation, over axis 0."""
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
