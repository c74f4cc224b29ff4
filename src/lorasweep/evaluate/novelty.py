"""N: does it draw new images, or the training photos again, or always the same one?

An image copies if its face or scene is nearer to some training photo, or its mirror image, than held-out photos of the
same person are. A near scene alone proves nothing, since the prompt asks for it and the person's hair and skin are in
it: it counts as far as the face too is as near to that photo as held-out photos come. Diversity is how much two seeds
of one prompt differ, relative to the base model. A twentieth of the base model's is enough: if the prompt names all of
the scene, the base model's strangers still differ by who they are, and one person hardly does. With one seed it is how
much the scenes of two prompts differ: previews that converge show one pose before one backdrop under all words.
"""

from typing import Any, cast

import numpy as np
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from lorasweep.evaluate.shares import Judged, asked, recognisable, unjudged
from lorasweep.outcomes import NoteKind, VetoKind
from lorasweep.records import Bools, Evidence, Features, Floats, Note, Veto

SLACK = 0.35
"""Share of the way from the nearest held-out photo to an exact copy that is not yet suspicious: samples are typical
faces."""
FULL = 0.75
"""Share of that way at which an image is wholly a copy: decoding and cropping keep copies from reaching 1."""
SMALLEST_WAY = {"face": 0.10, "whole": 0.10, "scene": 0.03}
"""Cosine; an embedder to which all photos of a subject look equal must not call likeness a copy."""
SPACES = {"face": ("face", "scene"), "image": ("whole", "scene"), "none": ("scene",)}
"""Vectors in which copies are sought, by what tells the subject."""
ENOUGH_DIVERSITY, NO_DIVERSITY = 0.05, 0.01
"""Shares of the base model's diversity that cost nothing and that cost all. The best checkpoints of their runs have 0.1
to 0.2, as the oracle sees it (people 601 and 602 of the trajectories); asking for a quarter cost them half their
novelty."""
ENOUGH_BETWEEN, NONE_BETWEEN = 0.6, 0.2
"""The same between prompts: 99 % of good checkpoints of the trajectories have 0.83 of the base model's and more."""
LEAST_DOUBT = 0.02
"""Cosine; least width of the range of face likeness over which a scene's likeness comes to count."""
HIGHEST = 1.25
"""Bound of one image's diversity."""
LEAST_BASE_DIVERSITY = 0.01
"""Mean cosine distance between seeds below which the base model itself always draws the same."""
COPY_VETO, COPY_CHANCE = 0.2, 0.01
"""A checkpoint is ruled out if its mean share of copying is above the first and the rank test below the second."""
LITTLE_DIVERSITY = 0.75
"""Share of what is enough below which a note says so, as with artifacts."""


def novelty(features: Features, evidence: Evidence) -> Judged:
    """Return how new and how varied each image is.

    Without held-out photos the training photos are compared among themselves, which cannot rule copies out.
    """
    rows = asked(evidence)
    if not rows.any() or len(evidence.train.keys) < 2:
        return unjudged(features, Note(NoteKind.NOTHING_TO_COPY))
    copied, chance = copying(features, evidence)
    varied = _diversity(features, evidence, rows)
    fresh, diversity = 1 - copied, float(np.mean(varied[rows]))
    level, slope = float(np.clip(diversity, 0, 1)), float(0 < diversity < 1)
    # The component is the product of two means; to first order each image gets its part, and the mean stays exact.
    shares = fresh * level + float(fresh[rows].mean()) * slope * (varied - diversity)
    share = float(copied[rows].mean())
    veto = Veto(VetoKind.COPIES, share) if share > COPY_VETO and chance < COPY_CHANCE else None
    alike = NoteKind.SEEDS_ALIKE if len(evidence.seeds) > 1 else NoteKind.PROMPTS_ALIKE
    notes = [Note(alike)] if diversity < LITTLE_DIVERSITY else []
    notes += [Note(NoteKind.NO_HELD_OUT)] if len(evidence.held_out.keys) < 2 else []
    return Judged(shares=np.where(rows, shares, np.nan), notes=tuple(notes), veto=veto)


def copying(features: Features, evidence: Evidence) -> tuple[Floats, float]:
    """Return [N] how much each image copies, 0 to 1, and the chance that mere likeness brings them as near."""
    rows = asked(evidence)
    amounts, chances = [np.zeros(len(features.keys))], [1.0]
    for space in SPACES[evidence.told_by]:
        genuine = _genuine(evidence, space)
        if not len(genuine):
            continue
        near, base = _likeness(features, evidence, space), _likeness(evidence.base, evidence, space)
        usual = np.maximum(_usual(genuine), base.max(axis=1, keepdims=True))
        way = np.maximum(1 - usual, SMALLEST_WAY[space])
        amount = np.clip(((near - usual) / way - SLACK) / (FULL - SLACK), 0, 1)
        if space == "scene" and evidence.told_by == "face":
            amount = amount * _same_face(features, evidence)
        amounts.append(amount.max(axis=1))
        chances.append(rank_test(near.max(axis=1)[rows], genuine.max(axis=1)))
    return np.max(amounts, axis=0), min(1.0, 2 * min(chances))  # Bonferroni: up to two spaces were tested


def _same_face(features: Features, evidence: Evidence) -> Floats:
    """Return [N, K] 0 to 1, 1 for a face as near to a training photo's as held-out photos come, or for none at all."""
    genuine = _genuine(evidence, "face").max(axis=1, initial=-1.0)
    if not len(genuine):
        return np.ones((len(features.keys), len(evidence.train.keys)))
    middle = float(np.median(genuine))
    low = min(float(genuine.min()), middle - LEAST_DOUBT)
    sure = np.clip((_likeness(features, evidence, "face") - low) / (middle - low), 0, 1)
    return np.where(_comparable(features, "face")[:, None], sure, 1.0)


def _usual(genuine: Floats) -> Floats:
    """Return [K] how near a held-out photo may come to each training photo."""
    # By training photo, since a held-out photo from the same moment excuses nearness to that one and to no other. With
    # one bar for all, a sheet of exact copies kept a novelty of 0.83 on one of the drawn people.
    return np.maximum(genuine.max(axis=0), np.median(genuine.max(axis=1)))


def _likeness(features: Features, evidence: Evidence, space: str) -> Floats:
    """Return [N, K] the larger cosine to each training photo or its mirror image; -1 without a face to compare."""
    seen: Floats = getattr(features, space)
    alike = np.full((len(features.keys), len(evidence.train.keys)), -1.0)
    if not alike.size:  # vectors of no images may have no columns, which the product below would refuse
        return alike
    for photos in (evidence.train, evidence.mirrored):
        if photos is not None:
            shown = seen @ getattr(photos, space).T
            alike = np.maximum(alike, np.where(_comparable(photos, space), shown, -1.0))
    return np.where(_comparable(features, space)[:, None], alike, -1.0)


def _comparable(features: Features, space: str) -> Bools:
    return recognisable(features) if space == "face" else np.ones(len(features.keys), dtype=np.bool_)


def _genuine(evidence: Evidence, space: str) -> Floats:
    """Return [H, K] likeness of held-out photos to training photos; without them, of training photos to each other."""
    held_out = _likeness(evidence.held_out, evidence, space)[_comparable(evidence.held_out, space)]
    if len(held_out) >= 2:
        return held_out
    known = _comparable(evidence.train, space)
    vectors: Floats = getattr(evidence.train, space)
    among = np.where(known, vectors @ vectors.T, -1.0)
    np.fill_diagonal(among, -1.0)
    return among[known] if known.sum() >= 2 else np.zeros((0, len(known)))


def rank_test(values: Floats, genuine: Floats) -> float:
    """Return the one-sided Mann-Whitney p-value that ``values`` lie above ``genuine``."""
    # Normal approximation with correction for ties, which are common: a face that was not found is -1 in every space.
    compared = cast("Any", stats).mannwhitneyu(values, genuine, alternative="greater", method="asymptotic")
    return float(compared.pvalue)


def _diversity(features: Features, evidence: Evidence, rows: np.ndarray) -> Floats:
    """Return [N] 1 for enough of the base model's mean diversity, 0 for none."""
    if len(evidence.seeds) > 1:
        sheet = (len(evidence.prompts), len(evidence.seeds), -1)
        seen, usual = (_unlike(part.image.reshape(sheet)).ravel() for part in (features, evidence.base))
        enough, none = ENOUGH_DIVERSITY, NO_DIVERSITY
    elif rows.sum() > 1:
        # Without the face, which is to be the same everywhere.
        seen, usual = np.full((2, len(rows)), np.nan)
        seen[rows], usual[rows] = (_unlike(part.scene[None, rows])[0] for part in (features, evidence.base))
        enough, none = ENOUGH_BETWEEN, NONE_BETWEEN
    else:
        return np.ones(len(rows))
    typical = float(np.mean(usual[rows]))
    if typical < LEAST_BASE_DIVERSITY:
        return np.ones(len(rows))
    return np.clip((seen / typical - none) / (enough - none), 0, HIGHEST)


def _unlike(groups: Floats) -> Floats:
    """Return [G, M] the mean of 1 - cosine of each unit vector [G, M, E] to the others of its group."""
    alike = np.einsum("pse,pte->pst", groups, groups)
    others = alike.sum(axis=2) - np.einsum("pss->ps", alike)
    return 1 - others / (groups.shape[1] - 1)
