"""The frozen nouns that flow between rooms: Dataset -> Checkpoint -> SampleSet -> Features -> Scores -> Pick."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorasweep.outcomes import NoteKind, RunStatus, RunVerdict, VerdictWord, VetoKind

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COMPONENTS = ("identity", "prompt", "artifact", "geometry", "novelty")
"""What a checkpoint is judged on, in the order of every table."""
TEXTURE = (
    *("mid_energy", "high_energy", "local_std", "flat_fraction", "block_peak", "histogram_entropy", "tail_weight"),
    *("overshoot", "saturation", "contrast", "clipped", "grain", "blocking", "lattice"),
)
"""Columns of ``Features.texture`` and ``Features.skin``; ``lorasweep.vision.texture`` says what each one is."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo on disk that was read once and found whole."""

    path: Path
    caption: str
    width: int
    height: int
    sha256: str
    """Of the file's bytes."""
    repeats: int = 1
    """How often an epoch shows it."""
    mask: Path | None = None
    """A gray image, white where the loss counts. None: the photo's own transparency, or everywhere if it has none."""
    mask_sha256: str = ""
    """Of the mask file's bytes, '' without a mask."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The photos of one subject, split into those that train and those that only judge."""

    path: Path
    train: tuple[Photo, ...]
    held_out: tuple[Photo, ...]
    trigger: str
    class_noun: str
    fingerprint: str
    """sha256 over contents, captions, repeats and masks, in order; moving the folder does not change it."""
    regularisation: tuple[Photo, ...] = ()
    """Photos of others of the class. Their repeats add up to those of the subject's photos."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt of the sheet, with trigger and class noun filled in."""

    key: str
    text: str
    negative: str
    score_text: str
    face: bool
    """Whether a face is asked for that can be told."""
    subject: bool
    photo: bool
    people: int = 1
    """2 if the prompt asks for the subject and somebody else."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimiser step of one trial."""

    trial: str
    step: int
    """1-based: the number of optimiser steps taken."""
    epoch: int
    loss: float
    lr: float
    effective_lr: float
    """lr * alpha / rank."""
    grad_norm: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete LoRA file. Step 0 is the base model, which has no file."""

    trial: str
    step: int
    epoch: float
    path: Path | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that could not go on. Its earlier checkpoints stay usable."""

    trial: str
    step: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image drawn from a checkpoint."""

    prompt: str
    """Key of its Prompt."""
    seed: int
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """The sheet of one checkpoint, prompt-major: samples[p * len(seeds) + s]."""

    trial: str
    step: int
    samples: tuple[Sample, ...]
    fresh: bool = False
    """Whether it was drawn from the finalists' seeds."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the embedders saw in N images. A row without a face is zero in ``face`` and NaN in ``landmarks``."""

    keys: tuple[str, ...]
    """'prompt/seed' of a sample or the file name of a photo."""
    face: Floats
    """[N, D] unit vectors of the largest face; D is 0 if faces are not sought."""
    face_count: NDArray[np.int64]
    """[N] faces found."""
    face_size: Floats
    """[N] side of the largest face's box as a share of the image's shorter side, 0 without a face."""
    landmarks: Floats
    """[N, 5, 2] left eye, right eye, nose, mouth left, mouth right, as shares of width and height."""
    image: Floats
    """[N, E] unit vectors in the CLIP scorer's space."""
    scene: Floats
    """[N, E] the same with the face masked to grey: background, clothes, framing."""
    texture: Floats
    """[N, K] the columns named by ``TEXTURE``."""
    other_face: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """[N, D] unit vectors of the second largest face, zero without one; [0, 0] if it was not sought."""
    skin: Floats | None = None
    """[N, K] the same within the largest face, NaN without a face that is large enough; None if not measured."""
    whole: Floats | None = None
    """[N, F] unit vectors of the whole image by the network that tells the subject; None if faces tell it."""

    @property
    def subject(self) -> Floats:
        """[N, D] the vectors that tell who or what it is."""
        return self.face if self.whole is None else self.whole


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a score is made from, for one subject under one evaluation signature."""

    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    texts: Floats
    """[P, E] unit vectors of the prompts' score_text."""
    train: Features
    held_out: Features
    base: Features
    """The base model's samples, prompt-major as in every sample set."""
    spare: Features | None = None
    """More of them from other seeds, prompt-major, which tell what chance alone changes."""
    mirrored: Features | None = None
    """The training photos mirrored, since a mirrored copy is a copy. None leaves that untested."""
    shapes: Floats | None = None
    """[M, 5, 2] landmarks of other people's sound faces in all directions; None if the finder's are not known."""
    told_by: str = "face"
    """What tells the subject: ``face``, ``image`` (the whole image) or ``none`` (a style)."""


@dataclass(frozen=True)
class Note:
    """A fact about one component that a reader must know."""

    kind: NoteKind
    values: Mapping[str, float | str] = field(default_factory=dict[str, float | str])
    """The numbers and names of its sentence."""


@dataclass(frozen=True)
class Veto:
    """A reason to rule a checkpoint out."""

    kind: VetoKind
    share: float
    """Of its images that are at fault, or of its soundness that is lost; 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One checkpoint, judged. Components lie in [0, 1], 1 = good; one that does not apply is NaN."""

    trial: str
    step: int
    components: Mapping[str, float]
    """identity, prompt, artifact, geometry, novelty."""
    score: float
    low: float
    high: float
    """Bootstrap interval of ``score``, clustered by prompt."""
    by_prompt: Floats
    """[P, S, C] each image's share, NaN if not judged. A component is its column's mean, cut to [0, 1]."""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Exponents of the weighted geometric mean, by component; if empty, all are equal."""
    notes: tuple[Note, ...] = ()
    """Which components could not be judged or are weakened, and why."""
    vetoes: tuple[Veto, ...] = ()
    """Any one of them keeps this checkpoint from being picked, whatever its score."""
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class AtStrength:
    """The picked checkpoint, drawn from fresh seeds at another strength than the run's own, and judged."""

    strength: float
    samples: SampleSet
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The loss of one checkpoint on photos, noise and timesteps that all checkpoints share. Evidence; it picks nothing.

    Step 0 is the base model. Losses are mean squared errors of the denoiser, low = good.
    """

    trial: str
    step: int
    held_out: float
    """On photos that were not trained on; NaN if none are held out."""
    train: float
    """On photos that were."""


@dataclass(frozen=True, kw_only=True)
class FixedBatch:
    """The loss of one batch of training photos with fixed noise and timesteps, measured during training."""

    trial: str
    step: int
    """Optimiser steps taken; 0 is before the first."""
    loss: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a careful human would say of one checkpoint."""

    step: int
    word: VerdictWord
    cause: str
    """The one of COMPONENTS that fell or lags, '' if none does."""
    text: str


@dataclass(frozen=True, kw_only=True)
class StrengthRange:
    """Between which of the strengths that it was drawn at a file works."""

    low: float
    high: float
    too_weak: float | None
    """The next one below ``low``; None if none was drawn."""
    lost_below: str
    """The one of COMPONENTS that suffers most there, '' if none was drawn."""
    too_strong: float | None
    lost_above: str


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The chosen checkpoint, and why."""

    trial: str
    step: int | None
    """None if no checkpoint is usable or the likeness cannot be measured, which of a style it never can."""
    best_step: int | None
    runner_up: int | None
    eligible: tuple[int, ...]
    score: float
    """Of the picked checkpoint on fresh seeds, slightly lucky if these reversed the pick; NaN before they are drawn."""
    confidence: float
    """Share of bootstrap replicates that pick within one checkpoint of it."""
    verdicts: tuple[Verdict, ...]
    run_verdict: RunVerdict
    reason: str
    """Why this checkpoint and this strength, in a sentence or two."""
    strength: float = 1.0
    """To apply the file at."""
    strengths: StrengthRange | None = None
    """Between which it works; None if it was drawn at one only."""
    open_steps: tuple[int, ...] = ()
    """Checkpoints beyond the eligible ones that score as well, which so few pictures cannot show."""
    settled_by: int = 0
    """Pictures a checkpoint that would show it; 0 if nothing is open."""
    steady: float = math.nan
    """The pick's fresh score averaged with those of the checkpoints next to it; NaN if none was drawn again."""

    @property
    def worth(self) -> float:
        """What runs are compared by: ``steady``, else ``score``; 0 if nothing is picked or known."""
        known = (value for value in (self.steady, self.score) if not math.isnan(value))
        return 0.0 if self.step is None else next(known, 0.0)


JsonDict = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """All that the journal holds of one run; what a report is made from."""

    name: str
    folder: Path
    status: RunStatus
    config: JsonDict
    """The resolved configuration."""
    provenance: JsonDict
    train: tuple[Photo, ...] = ()
    held_out: tuple[Photo, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    samples: tuple[SampleSet, ...] = ()
    """Step 0 is the base model. Includes the sheets from fresh seeds."""
    scores: tuple[Scores, ...] = ()
    """Ordered by step; those on fresh seeds follow."""
    strengths: tuple[AtStrength, ...] = ()
    """The finalists at other strengths, by step and strength."""
    pick: Pick | None = None
    steps: tuple[Step, ...] = ()
    validation: tuple[Validation, ...] = ()
    """Losses on fixed noise, by step, the base model first; empty if they were not measured."""
    fixed_batch: tuple[FixedBatch, ...] = ()
    dvar_step: int | None = None
    """The step at which DVAR would have stopped, by ``fixed_batch``; None if it would not have."""
    notes: tuple[str, ...] = ()
    error: str = ""
    parent: str = ""
    """Name of the multirun it belongs to."""
    source: Path | None = None
    """The folder of another trainer's files if this run only judges them; it then has no losses."""

    def file_name(self, path: Path) -> str:
        """Return the name to show for a checkpoint's file: its path within ``source``, else its file name."""
        inside = self.source is not None and path.is_relative_to(self.source)
        return path.relative_to(self.source).as_posix() if inside and self.source else path.name
