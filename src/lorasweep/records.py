"""The frozen nouns that flow between rooms: Dataset -> Checkpoint -> SampleSet -> Features -> Scores -> Pick."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COMPONENTS = ("identity", "prompt", "artifact", "geometry", "novelty")
"""What a checkpoint is judged on, in the order of every table."""
TEXTURE = (
    "mid_energy",
    "high_energy",
    "local_std",
    "flat_fraction",
    "block_peak",
    "histogram_entropy",
    "tail_weight",
    "overshoot",
    "saturation",
    "contrast",
    "clipped",
    "grain",
    "blocking",
)
"""Columns of ``Features.texture``; ``lorasweep.vision.texture`` says what each one is."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A picture on disk that was read once and found whole."""

    path: Path
    caption: str
    width: int
    height: int
    sha256: str
    """Of the file's bytes."""
    repeats: int = 1
    """How often it is seen in an epoch."""
    mask: Path | None = None
    """A gray picture, white where the loss counts. None counts everywhere, or reads the photo's own transparency."""
    mask_sha256: str = ""
    """Of the mask file's bytes, '' without one."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The photos of one subject, split into those that train and those that only judge."""

    path: Path
    train: tuple[Photo, ...]
    held_out: tuple[Photo, ...]
    trigger: str
    class_noun: str
    fingerprint: str
    """sha256 over contents, captions, repeats and masks in order; independent of where the folder lies."""
    regularisation: tuple[Photo, ...] = ()
    """Pictures of others of the class, trained on beside the subject's. Their repeats add up to the subject's."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A line of the sheet, ready to draw: trigger and class noun filled in."""

    key: str
    text: str
    negative: str
    score_text: str
    face: bool
    subject: bool
    photo: bool
    people: int = 1
    """2 where the subject and somebody else are asked for."""


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
    """A LoRA file, whole on disk. Step 0 is the base model and has no file."""

    trial: str
    step: int
    epoch: float
    path: Path | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that could not go on; its earlier checkpoints stay good."""

    trial: str
    step: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture that was drawn."""

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
    """Whether it was drawn on the finalists' seeds."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the embedders saw in N pictures. Rows without a face are zero (face) or NaN (landmarks).

    Where no face is looked for, no picture has one and ``face`` has no columns.
    """

    keys: tuple[str, ...]
    """'prompt/seed' of a sample or the file name of a photo."""
    face: Floats
    """[N, D] unit vectors of the largest face."""
    face_count: NDArray[np.int64]
    """[N] faces found."""
    face_size: Floats
    """[N] side of the largest face's box as a share of the picture's shorter side, 0 without one."""
    landmarks: Floats
    """[N, 5, 2] left eye, right eye, nose, mouth left, mouth right, as shares of width and height."""
    image: Floats
    """[N, E] unit vectors in the CLIP scorer's space."""
    scene: Floats
    """[N, E] the same with the face masked to grey: background, clothes, framing."""
    texture: Floats
    """[N, K] the columns named by ``TEXTURE``."""
    other_face: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """[N, D] unit vectors of the second largest face, zero without one; [0, 0] where nobody looked for it."""
    whole: Floats | None = None
    """[N, F] unit vectors of the whole picture by the network that tells the subject; None where that is not asked."""

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
    """The base model's samples, prompt-major like every sample set."""
    mirrored: Features | None = None
    """The training photos mirrored: a mirrored copy is a copy. None leaves that untested."""
    told_by: str = "face"
    """What tells the subject: face, image (the whole picture) or none (as for a style)."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One checkpoint, judged. Components are in [0, 1], 1 = good; a component that does not apply is NaN."""

    trial: str
    step: int
    components: Mapping[str, float]
    """identity, prompt, artifact, geometry, novelty."""
    score: float
    low: float
    high: float
    """Bootstrap interval of ``score``, clustered by prompt."""
    by_prompt: Floats
    """[P, S, C] each picture's share in each of ``components``, NaN where not judged.

    A component is the mean of its column, cut to [0, 1]. Shares themselves may lie a little outside: that keeps the
    mean unbiased.
    """
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Exponents of the weighted geometric mean, by component; empty means all alike."""
    notes: tuple[str, ...] = ()
    """What a reader must know: which component could not be judged and why."""
    vetoes: tuple[str, ...] = ()
    """Reasons why this checkpoint must not be picked whatever its score."""
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class AtStrength:
    """A finalist, drawn on fresh seeds at another strength than the run's own, and judged."""

    strength: float
    samples: SampleSet
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The loss of one checkpoint on photos, noise and timesteps that are the same for all. Evidence; it picks nothing.

    Step 0 is the base model. Losses are mean squared errors of the denoiser, low = good.
    """

    trial: str
    step: int
    held_out: float
    """On photos that were not trained on; NaN where none are held out."""
    train: float
    """On photos that were."""


@dataclass(frozen=True, kw_only=True)
class FixedBatch:
    """The loss of a small batch of training photos with fixed noise and timesteps, measured as training goes on."""

    trial: str
    step: int
    """Optimiser steps taken; 0 is before the first."""
    loss: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a careful human would say of one checkpoint."""

    step: int
    word: str
    """base, under, good, over or uncertain."""
    cause: str
    """The component that fell or lags, '' where none does."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The chosen checkpoint, and why."""

    trial: str
    step: int | None
    """None where no checkpoint is usable or the likeness cannot be measured, as that of a style never can."""
    best_step: int | None
    runner_up: int | None
    eligible: tuple[int, ...]
    score: float
    """Of the picked checkpoint on fresh seeds; NaN before the re-score."""
    confidence: float
    """Share of bootstrap replicates that pick within one checkpoint of it."""
    verdicts: tuple[Verdict, ...]
    run_verdict: str
    """fine, train longer, learning rate too high or save more often, no usable checkpoint, not measurable, look at the
    sheet (no pick is made for a style), or taken by hand."""
    reason: str
    """Why this checkpoint and this strength, in a sentence or two."""
    strength: float = 1.0
    """At which to apply the file."""
    steady: float = math.nan
    """The pick's fresh score averaged with those of the checkpoints next to it; NaN where none was drawn again."""

    @property
    def worth(self) -> float:
        """By this are runs compared: ``steady``, or ``score`` without it; 0 where nothing is picked or known."""
        known = (value for value in (self.steady, self.score) if not math.isnan(value))
        return 0.0 if self.step is None else next(known, 0.0)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A picture of one prompt and seed, before and after, in one component."""

    prompt: str
    """Key of its Prompt."""
    seed: int
    share: float
    """At the checkpoint asked about."""
    before: float
    """At the one that it is compared with."""
    effect: float
    """Its part of the component's change of log(score)."""


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one component did to the difference between two scores."""

    component: str
    weight: float
    """Exponent of the geometric mean; 0 where neither checkpoint was judged on it."""
    value: float
    """At the checkpoint asked about, 0 to 1; NaN where not judged."""
    before: float
    """At the one that it is compared with."""
    change: float
    """Part of log(score / score before); the parts of all components add up to it exactly."""
    text: str
    """In plain words, without a full stop; '' where it was judged at neither."""
    pictures: tuple[Moved, ...] = ()
    """Those that moved it most, the largest effect first."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why one checkpoint scores what it does, compared with another on the same prompts and seeds."""

    step: int
    against: int
    score: float
    before: float
    """Score of ``against``."""
    change: float
    """log(score / before)."""
    contributions: tuple[Contribution, ...]
    """In the order of COMPONENTS."""
    text: str
    """A sentence: what mattered most first."""


JsonDict = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """All that is remembered of one run, read back from its journal; what a report is made from."""

    name: str
    folder: Path
    status: str
    """running, finished, failed, stopped, or killed where the process is gone without a word."""
    config: JsonDict
    """The resolved configuration."""
    provenance: JsonDict
    train: tuple[Photo, ...] = ()
    held_out: tuple[Photo, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    samples: tuple[SampleSet, ...] = ()
    """Step 0 is the base model; sheets drawn on fresh seeds are among them."""
    scores: tuple[Scores, ...] = ()
    """Ordered by step; those made on fresh seeds follow."""
    strengths: tuple[AtStrength, ...] = ()
    """The finalists at other strengths, by step and strength."""
    pick: Pick | None = None
    steps: tuple[Step, ...] = ()
    validation: tuple[Validation, ...] = ()
    """Losses on fixed noise, by step; the base model first. Empty where they were not measured."""
    fixed_batch: tuple[FixedBatch, ...] = ()
    dvar_step: int | None = None
    """Where DVAR would have stopped the training, by ``fixed_batch``; None where it would not."""
    notes: tuple[str, ...] = ()
    error: str = ""
    parent: str = ""
    """Name of the multirun it belongs to."""
    source: Path | None = None
    """The folder of files that another trainer made, of a run that only judges them: there are no losses."""

    def file_name(self, path: Path) -> str:
        """How to call a checkpoint's file: by its path within ``source``, else by its name."""
        inside = self.source is not None and path.is_relative_to(self.source)
        return path.relative_to(self.source).as_posix() if inside and self.source else path.name
