"""Prompts that ask for the subject and a companion: which of the two faces is the subject's?

The larger one need not be. The face nearer to the subject counts as the subject; the companion must stay a stranger.
"""

from dataclasses import replace

import numpy as np

from lorasweep.evaluate.shares import recognisable
from lorasweep.records import Bools, Evidence, Features, Floats


def subject_first(features: Features, evidence: Evidence, center: Floats) -> Features:
    """Return the features with ``face`` nearer to ``center`` [D] than ``other_face`` in images of two people.

    Images of prompts for one person stay as they are: there, a second face is a fault or a passer-by.
    """
    two = in_company(features, evidence)
    if not two.any():
        return features
    # The finder lists the larger face first, which says who stands in front and not who is meant.
    swap = (two & (features.other_face @ center > features.face @ center))[:, None]
    face = np.where(swap, features.other_face, features.face)
    return replace(features, face=face, other_face=np.where(swap, features.face, features.other_face))


def companions(features: Features, evidence: Evidence, center: Floats) -> Features:
    """Return the features with the companion's face in place of the subject's; zero without a companion."""
    two = in_company(features, evidence)[:, None]
    if not two.any():
        return replace(features, face=np.zeros_like(features.face))
    return replace(features, face=np.where(two, subject_first(features, evidence, center).other_face, 0.0))


def in_company(features: Features, evidence: Evidence) -> Bools:
    """Return [N] whether an image's prompt asks for the subject's face and another one, and both were found."""
    asked = np.repeat(
        [prompt.subject and prompt.face and prompt.people > 1 for prompt in evidence.prompts], len(evidence.seeds)
    )
    if not asked.any() or features.other_face.shape != features.face.shape:
        return np.zeros(len(features.keys), dtype=np.bool_)
    return asked & recognisable(features) & features.other_face.any(axis=1)
