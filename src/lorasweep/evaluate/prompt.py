"""P: does it still follow the prompt? 1 is what the base model makes of the same words, seed and noise; 0 is chance.

Half of it is how much nearer an image is to its own text than to the sheet's other texts, half is the rank of its own
text among them. Images of prompts without the trigger must not turn into the subject (leakage); if the prompt asks for
another person beside the subject, only one of the two may be the subject.
"""

import numpy as np

from lorasweep.evaluate.companion import companions, in_company, subject_first
from lorasweep.evaluate.identity import Likeness, likeness
from lorasweep.evaluate.shares import Judged, asked, recognisable, unjudged
from lorasweep.outcomes import NoteKind
from lorasweep.records import Bools, Evidence, Features, Floats, Note

SAME_TEXT = 0.999
"""Cosine from which two texts say the same, so that neither can lose to the other."""
LEAST_CONTRAST = 0.004
"""Mean cosine by which the base model's images must prefer their own text."""
LEAST_RANK = 0.6
"""Mean share of other texts that they must prefer it to; 0.5 is chance."""
LOWEST, HIGHEST = -0.5, 1.25
"""Bounds of one image's share before leakage is subtracted."""
CHANCE = 0.1
"""Share of the base model's strangers that look this much like the subject without a leak."""


def prompt(features: Features, evidence: Evidence) -> Judged:
    """Return how well each image follows its prompt.

    It takes at least two different texts, and a base model whose images the scorer can tell apart by them.
    """
    rivals = evidence.texts @ evidence.texts.T < SAME_TEXT
    if not rivals.any():
        return unjudged(features, Note(NoteKind.ONE_TEXT))
    contrast, rank = _preference(features, evidence, rivals)
    base_contrast, base_rank = _preference(evidence.base, evidence, rivals)
    usual_contrast, usual_rank = float(np.nanmean(base_contrast)), float(np.nanmean(base_rank))
    if usual_contrast < LEAST_CONTRAST or usual_rank < LEAST_RANK:
        return unjudged(features, Note(NoteKind.BASE_IGNORES_TEXT))
    # Both halves are differences to the base model at the same prompt and seed, so that hard prompts cost nobody.
    kept = 1 - (base_contrast - contrast) / usual_contrast
    ranked = 1 - (base_rank - rank) / (usual_rank - 0.5)
    shares = np.clip(0.5 * kept + 0.5 * ranked, LOWEST, HIGHEST)
    return Judged(shares=shares - _leakage(features, evidence))


def _preference(features: Features, evidence: Evidence, rivals: Bools) -> tuple[Floats, Floats]:
    """Return [N] cosines to the own text less the mean to its rivals, and [N] shares of rivals that it beats."""
    match = features.image @ evidence.texts.T
    own_prompt = np.repeat(np.arange(len(evidence.prompts)), len(evidence.seeds))
    own = match[np.arange(len(match)), own_prompt]
    against = rivals[own_prompt]
    count = np.where(against.any(axis=1), against.sum(axis=1), np.nan)
    # A tie is half a win, as in the Mann-Whitney statistic.
    wins = (match < own[:, None]) + 0.5 * (match == own[:, None])
    return own - (match * against).sum(axis=1) / count, (wins * against).sum(axis=1) / count


def _leakage(features: Features, evidence: Evidence) -> Floats:
    """Return [N] how far images of prompts without the trigger moved from a stranger to the subject, 0 to 1."""
    scale = likeness(evidence)
    both = recognisable(features) & recognisable(evidence.base)
    if isinstance(scale, Note):
        return np.zeros(len(features.keys))
    moved = scale.shares(features) - scale.shares(evidence.base)
    # What the base model drew there is the zero: a stranger may happen to look like the subject.
    alone = np.where(asked(evidence, subject=False) & both, np.clip(moved, 0, 1), 0.0)
    return alone + _leakage_in_company(features, evidence, scale)


def _leakage_in_company(features: Features, evidence: Evidence, scale: Likeness) -> Floats:
    """Return [N] how far the companion moved to the subject, 0 to 1.

    What chance does is no leak: the likeness of the nearer one of the two strangers that the base model draws there, or
    that which only CHANCE of all its strangers reach, if that is more.
    """
    shown = in_company(features, evidence)
    if not shown.any():
        return np.zeros(len(shown))
    strangers = scale.shares(evidence.base)[asked(evidence, face=True) & recognisable(evidence.base)]
    usual = float(np.quantile(strangers, 1 - CHANCE)) if len(strangers) else 0.0
    nearer = scale.shares(subject_first(evidence.base, evidence, scale.center))
    excused = np.where(in_company(evidence.base, evidence), np.maximum(nearer, usual), usual)
    moved = scale.shares(companions(features, evidence, scale.center)) - np.clip(excused, 0, None)
    return np.where(shown, np.clip(moved, 0, 1), 0.0)
