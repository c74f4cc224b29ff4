"""A: is there damage: clay or blur, mosaic, posterised tones, harsh edges or noise, burnt colours?

The texture of a single image proves little, so a sheet is compared with what the base model draws for the same
prompts: the mean difference of each number of texture, in units of what another seed alone would change, squared and
added up. That is a paired Hotelling T² with a diagonal covariance: training moves all numbers a little, damage moves
some of them far beyond chance, in whatever direction. What lies on the way to the subject's own photos is no damage.

A sheet's mean cannot see one destroyed prompt among sound ones, so each image and each prompt stands for itself too.
"""

from dataclasses import dataclass

import numpy as np

from lorasweep.evaluate.shares import Judged
from lorasweep.outcomes import NoteKind, VetoKind
from lorasweep.records import TEXTURE, Bools, Evidence, Features, Floats, Note, Veto

NOTICEABLE: dict[str, float] = {
    **{"mid_energy": 0.25, "high_energy": 0.22, "local_std": 0.45, "flat_fraction": 0.2, "block_peak": 0.7},
    **{"histogram_entropy": 1.2, "tail_weight": 0.3, "overshoot": 0.2, "saturation": 0.08, "contrast": 0.04},
    **{"clipped": 0.1, "grain": 0.8, "blocking": 0.3, "lattice": 1.0},
}
"""The change of each number that the eye just notices on a sheet."""
FAULTS: dict[str, tuple[tuple[str, int], ...]] = {
    "blurred": (("high_energy", -1), ("mid_energy", -1)),
    "like clay": (("flat_fraction", 1),),
    "like mosaic": (("block_peak", 1),),
    "posterised": (("histogram_entropy", -1),),
    "harsh or noisy": (("high_energy", 1), ("local_std", 1), ("grain", 1)),
    "blocky, as a bad JPEG is": (("blocking", 1),),
    "striped or woven": (("lattice", 1),),
    "burnt": (("saturation", 1), ("contrast", 1), ("clipped", 1)),
    "washed out": (("saturation", -1), ("contrast", -1)),
}
"""What a person would call damage: the numbers that it moves, and in which direction."""
HALF, STEEP = 36.0, 4.0
"""T² at which the component is 0.5, and how steeply it falls there.

Chosen on the drawn people that are for choosing: 98 % of their good checkpoints stay below 21, and 95 % of those that
have half the soundness lie above 31. Another person than the base model's strangers brings 10 to 15 by nature."""
DESTROYED, STEEP_ALONE = 135.0, 8.0
"""The same for one image or one prompt by itself, whose T² is far noisier.

99 % of images of good checkpoints stay below 75, half of the destroyed ones lie above 400. Steep, so that it says
nothing of what is not destroyed."""
FARTHEST = 2.0
"""Most spreads that one number of texture counts for in the second way to the photos.

Grain and JPEG blocks, which belong to a photo's camera and file and which no model draws, lie 13 to 18 spreads away,
and make of the way to the photos a way to grain on which nothing else is excused."""
FAINTEST = 0.1
"""Least standard deviation of a number of texture, in noticeable changes; a number that is always 0 would make every
change infinitely strange."""
BETWEEN, AMONG_PHOTOS = 0.25, 0.1
"""Shares of the variance between the base model's images, and of that among the photos, that another seed of the same
prompt is expected to bring before any such pair was seen."""
EXPECTED_FROM = 8.0
"""Pairs of seeds that this expectation counts for."""
DAMAGED_VETO = 0.5
"""A checkpoint is ruled out below this: at 8 images and more, no acceptable checkpoint of the trajectories lies there.

Of a face alone: how far a drawn character or a thing may move was not measured."""
NOTED = 0.75
"""Value of the component below which the worst fault is named."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What undamaged images of the sheet's prompts look like."""

    usual: Floats
    """[P, K] mean texture of the base model's images of each prompt."""
    spread: Floats
    """[K] standard deviation that another seed brings."""
    measured: Bools
    """[K] False for a number that older records lack."""
    towards_photos: Floats
    """[K] from the base model's mean texture to the photos', in units of ``spread``; zero without photos."""
    doubt: float
    """Variance of a prompt's ``usual``, in units of one image's."""


def artifact(features: Features, evidence: Evidence) -> Judged:
    """Return how sound each image is, compared with the base model's images of the same prompt."""
    known = reference(evidence)
    prompts, seeds = len(evidence.prompts), len(evidence.seeds)
    texture = features.texture.reshape(prompts, seeds, -1)
    moved = np.where(known.measured, (texture - known.usual[:, None]) / known.spread, 0.0)
    photo = np.array([prompt.photo for prompt in evidence.prompts])
    if photo.any():  # photos excuse what is to look like a photo; they say nothing of a sketch
        moved[photo] -= excused(moved[photo].mean(axis=(0, 1)), known.towards_photos)
    moved = moved.reshape(prompts * seeds, -1)
    mean = moved.mean(axis=0)
    # What chance alone makes of T², at most 5 with four images, costs nothing by ``STEEP`` and is not taken off:
    # clipped at 0, sound checkpoints would all be equal.
    level = float(mean @ mean)
    share, slope = _soundness(level, HALF, STEEP)
    # A first-order expansion around the sheet's level gives each image its part and keeps their mean exact.
    shares = share + slope * (moved @ mean - level)
    alone = np.maximum(_strangeness(moved, 1, known.doubt), _strangeness(moved, seeds, known.doubt))
    shares = np.minimum(shares, _soundness(alone, DESTROYED, STEEP_ALONE)[0])
    sound = float(np.clip(shares.mean(), 0, 1))
    notes = (Note(NoteKind.DAMAGED, {"fault": worst_fault(mean * known.spread)}),) if sound < NOTED else ()
    ruled_out = sound < DAMAGED_VETO and evidence.told_by == "face"
    return Judged(shares=shares, notes=notes, veto=Veto(VetoKind.DAMAGED, 1 - sound) if ruled_out else None)


def _strangeness(moved: Floats, together: int, doubt: float) -> Floats:
    """Return [N] T² of each image's group of ``together`` neighbours, in units of what chance makes of its mean."""
    mean = moved.reshape(-1, together, moved.shape[1]).mean(axis=1)
    # No more than two seeds count: a face before another backdrop than the base model's is a change of its own size,
    # which the certainty of four seeds makes look like destruction.
    return np.repeat((mean**2).sum(axis=1) / (1 / min(together, 2) + doubt), together)


def reference(evidence: Evidence) -> Reference:
    """Return what the base model's images say of undamaged texture; the photos add what it cannot say."""
    prompts = len(evidence.prompts)
    drawn = evidence.base.texture.reshape(prompts, len(evidence.seeds), -1)
    if evidence.spare is not None:
        drawn = np.concatenate([drawn, evidence.spare.texture.reshape(prompts, -1, drawn.shape[2])], axis=1)
    # Held-out photos too: texture is no secret of the subject, and more photos know better what is usual.
    photos = np.concatenate([evidence.train.texture, evidence.held_out.texture])
    expected = BETWEEN * drawn.reshape(-1, drawn.shape[2]).var(axis=0, ddof=min(1, prompts - 1))
    expected = expected + (AMONG_PHOTOS * photos.var(axis=0, ddof=1) if len(photos) > 1 else 0.0)
    # Few seeds tell a variance badly, one tells none: the expectation stands in for those that were not drawn.
    pairs = prompts * (drawn.shape[1] - 1)
    within = ((drawn - drawn.mean(axis=1, keepdims=True)) ** 2).sum(axis=(0, 1))
    variance = (within + EXPECTED_FROM * expected) / (pairs + EXPECTED_FROM)
    least = FAINTEST * np.array([NOTICEABLE[name] for name in TEXTURE])
    measured = ~np.isnan(variance)
    spread = np.maximum(np.sqrt(np.where(measured, variance, 0.0)), least)
    ways = (photos.mean(axis=0) - drawn.mean(axis=(0, 1))) / spread if len(photos) else np.zeros(len(spread))
    return Reference(
        usual=drawn.mean(axis=1),
        spread=spread,
        measured=measured,
        towards_photos=np.where(measured, ways, 0.0),
        doubt=1 / drawn.shape[1],
    )


def excused(mean: Floats, towards_photos: Floats) -> Floats:
    """Return [K] the part of a sheet's ``mean`` change that lies on the way to the photos, at most the whole way.

    It is taken along one direction: number by number, every fault finds something that excuses it. There are two such
    ways, the one as it is and the one on which no number counts for more than FARTHEST; the one that explains more
    is taken.
    """
    capped = towards_photos.clip(-FARTHEST, FARTHEST)
    return min(
        (_along(mean, way) for way in (towards_photos, capped)), key=lambda part: float(((mean - part) ** 2).sum())
    )


def _along(mean: Floats, way: Floats) -> Floats:
    length = float(way @ way)
    return way * float(np.clip(mean @ way / length, 0, 1)) if length > 0 else 0 * way


def worst_fault(change: Floats) -> str:
    """Return the key of FAULTS whose most moved number of texture moved most; ``change`` is [K], in their own units."""
    noticed = {name: float(v) / NOTICEABLE[name] for name, v in zip(TEXTURE, change, strict=True)}
    return max(FAULTS, key=lambda fault: max(sign * noticed[name] for name, sign in FAULTS[fault]))


def _soundness(level: Floats | float, half: float, steep: float) -> tuple[Floats, Floats]:
    """Return the share for a T², 1 at 0 and 0.5 at ``half``, and its slope there."""
    # Not an exponential: its tail is so near 0 that checkpoints which are all broken would be ordered by rounding.
    odds = (np.asarray(level) / half) ** steep
    share = 1 / (1 + odds)
    return share, -steep / half * (np.asarray(level) / half) ** (steep - 1) * share**2
