"""What every component returns, and which images it may judge."""

from dataclasses import dataclass

import numpy as np

from lorasweep.records import Bools, Evidence, Features, Floats, Note, Veto

SMALLEST_FACE = 0.08
"""Side of a face as a share of the image's shorter side below which nobody could recognise it."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One component over the N images of a sheet."""

    shares: Floats
    """[N] about 0 (bad) to 1 (good), NaN if not judged; the component is their mean, cut to [0, 1]."""
    notes: tuple[Note, ...] = ()
    veto: Veto | None = None


def asked(evidence: Evidence, *, subject: bool = True, face: bool = False, photo: bool = True) -> Bools:
    """Return [N] whether an image's prompt has this ``subject`` and, if asked for, a ``face`` and is a ``photo``."""
    fits = [
        prompt.subject == subject and (prompt.photo or not photo) and (prompt.face or not face)
        for prompt in evidence.prompts
    ]
    return np.repeat(np.array(fits, dtype=np.bool_), len(evidence.seeds))


def has_face(features: Features) -> Bools:
    """Return [N] whether any face was found."""
    return features.face_count > 0


def face_expected(evidence: Evidence) -> Bools:
    """Return [N] whether most of the base model's images of that prompt show a face."""
    # Behind a closed visor or a turned head nobody finds a face: prompt or framing are to blame, not the training.
    prompts = len(evidence.prompts)
    drawn = [part for part in (evidence.base, evidence.spare) if part is not None]
    found = np.concatenate([has_face(part).reshape(prompts, -1) for part in drawn], axis=1)
    return np.repeat(found.mean(axis=1) > 0.5, len(evidence.seeds))


def recognisable(features: Features) -> Bools:
    """Return [N] whether a face is large enough to say whose it is; True if whole images tell the subject."""
    if features.whole is not None:
        return np.ones(len(features.keys), dtype=np.bool_)
    return has_face(features) & (features.face_size >= SMALLEST_FACE)


def unjudged(features: Features, note: Note) -> Judged:
    """Return shares that are all NaN, and why."""
    return Judged(shares=np.full(len(features.keys), np.nan), notes=(note,))


def robust_spread(values: Floats) -> Floats:
    """Return the standard deviation over axis 0, estimated from the median absolute deviation."""
    # 1.4826 makes the two agree for a normal distribution.
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
