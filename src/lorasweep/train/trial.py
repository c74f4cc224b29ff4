"""One training as its configuration and seed define it: what every row of every step is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lorasweep.data.buckets import BucketRow, Placement, bucket_rule, bucket_table, place_pictures
from lorasweep.data.captions import loose_clauses, shuffled
from lorasweep.data.prompts import fill_prompts
from lorasweep.models import PICTURE_UNITS
from lorasweep.records import Dataset, Photo
from lorasweep.train.cache import LatentCache, TextCache
from lorasweep.train.order import Bucket, Pictures, bucket_sequence, epoch_batches
from lorasweep.train.randomness import normal, stream
from lorasweep.train.schedules import checkpoint_steps

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig


@dataclass(frozen=True)
class Trial:
    """A run to be trained."""

    name: str
    config: "RunConfig"
    dataset: Dataset
    folder: Path
    """Everything it leaves lies under here: ``checkpoints/`` and ``state/``."""

    @cached_property
    def pictures(self) -> tuple[Photo, ...]:
        """All that is trained on: the subject's photos, then those that keep the class from being forgotten."""
        return (*self.dataset.train, *self.dataset.regularisation)

    @property
    def repeats(self) -> tuple[int, ...]:
        """How often each of ``pictures`` is seen in an epoch."""
        return tuple(photo.repeats for photo in self.pictures)

    @cached_property
    def placements(self) -> tuple[Placement, ...]:
        """How each of ``pictures`` gets to the size that it is trained at."""
        return self.placed(self.pictures)

    def placed(self, photos: Sequence[Photo]) -> tuple[Placement, ...]:
        """How photos, trained on or not, get to a size that is trained at; UserError where one fits none."""
        model = self.config.model
        rule = bucket_rule(self.config.data, model.resolution, PICTURE_UNITS.get(model.family, 8))
        sizes = [(photo.width, photo.height) for photo in photos]
        return place_pictures(sizes, rule, [str(photo.path) for photo in photos])

    @cached_property
    def buckets(self) -> Mapping[Bucket, tuple[int, ...]]:
        """Size to the indices of its pictures, in the order of sizes."""
        sizes = sorted({placed.bucket for placed in self.placements})
        return {size: tuple(n for n, placed in enumerate(self.placements) if placed.bucket == size) for size in sizes}

    @property
    def table(self) -> tuple[BucketRow, ...]:
        """What becomes of the pictures in an epoch, size by size."""
        return bucket_table(self.placements, self.repeats, self.rows)

    @cached_property
    def sequence(self) -> tuple[Bucket, ...]:
        """Size of every step of an epoch, the same in all epochs."""
        return bucket_sequence(self.buckets, self.repeats, self.rows)

    @property
    def pattern(self) -> tuple[Bucket, ...]:
        """What trials side by side must share of their sizes: the one that there is, or the whole sequence."""
        return tuple(self.buckets) if len(self.buckets) == 1 else self.sequence

    @property
    def key(self) -> tuple[object, ...]:
        """Trials with equal keys can be trained side by side."""
        return (*cohort_key(self.config), self.pattern)

    def place(self, step: int) -> int:
        """Where in ``pattern`` the step after ``step`` steps stands; trials side by side stand at one place."""
        return step % len(self.pattern)

    @cached_property
    def rows(self) -> int:
        """Pictures an optimiser step."""
        return self.config.optim.batch_size * self.config.optim.gradient_accumulation

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        return len(self.sequence)

    @cached_property
    def saved_steps(self) -> frozenset[int]:
        """Steps (1-based) after which a checkpoint is written."""
        return frozenset(checkpoint_steps(self.config))

    def items(self, step: int) -> tuple[int, ...]:
        """Which of ``pictures`` step ``step`` (0 is the first) is trained on; all are of one size."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = epoch_batches(self.buckets, self.repeats, self.rows, self.config.seed, epoch)
        return self._epochs[epoch][place].items

    @cached_property
    def _epochs(self) -> dict[int, tuple[Pictures, ...]]:
        """The epoch that is being trained; only so that it is not shuffled anew at every step."""
        return {}


@dataclass(frozen=True)
class Rows:
    """The inputs of some rows, before the model: lists of one entry a row."""

    latents: list[Tensor]
    noise: list[Tensor]
    uniforms: list[float]
    texts: list[str]
    sizes: list[tuple[int, ...]]
    guidance: list[float]
    masks: list[Tensor | None]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """The rows of all slots, slot-major."""

    latents: Tensor
    noise: Tensor
    uniforms: Tensor
    """[N] in [0, 1), on the CPU in fp64."""
    texts: list[str]
    sizes: list[tuple[int, ...]]
    """Photo (height, width), corner of the crop (top, left), picture (height, width), as SDXL was told in training."""
    guidance: list[float]
    masks: list[Tensor | None]
    """[h, w] how much each latent counts; None where all count alike."""
    weights: Tensor
    """[N] how much each row counts."""


def micro_batch(trial: Trial, latents: LatentCache, step: int, part: int) -> Rows:
    """The rows of one forward pass: part ``part`` of a step's gradient accumulation.

    Every number is a function of (seed, epoch, step, row) and of what it is for.
    """
    items, size = trial.items(step), trial.config.optim.batch_size
    rows = [_row(trial, latents, items[n], step, n) for n in range(part * size, (part + 1) * size)]
    return Rows(*(list(column) for column in zip(*rows, strict=True)))


def _row(
    trial: Trial, latents: LatentCache, item: int, step: int, row: int
) -> tuple[Tensor, Tensor, float, str, tuple[int, ...], float, Tensor | None, float]:
    config, photo, placement = trial.config, trial.pictures[item], trial.placements[item]
    place = {"epoch": step // trial.steps_per_epoch, "step": step, "item": row}
    mirrored = is_mirrored(config, place)
    mean, std = latents(photo, placement, mirrored=mirrored)
    shape = tuple(mean.shape)
    noise = normal(stream(config.seed, "noise", **place), shape)
    if config.optim.noise_offset:
        offset = normal(stream(config.seed, "noise offset", **place), (shape[0], 1, 1))
        noise = noise + config.optim.noise_offset * offset
    sampled = mean + std * normal(stream(config.seed, "posterior", **place), shape).to(mean.device)
    uniform = float(stream(config.seed, "timestep", **place).random())
    caption = _caption(config, photo.caption, place)
    mask = latents.mask(photo, placement, config.data, mirrored=mirrored)
    weight = 1.0 if item < len(trial.dataset.train) else config.data.regularisation_weight
    crop = crop_of(placement, mirrored=mirrored)
    return sampled, noise, uniform, caption, crop, config.optim.guidance, mask, weight


def is_mirrored(config: "RunConfig", place: Mapping[str, int]) -> bool:
    """Whether the picture at a place (epoch, step, item) of a training is shown mirrored."""
    return config.data.flip and stream(config.seed, "flip", **place).random() < 0.5


def crop_of(placement: Placement, *, mirrored: bool = False) -> tuple[int, ...]:
    """Photo (height, width), corner (top, left) of the centred crop after scaling, picture (height, width)."""
    (left, top), (across, down) = placement.corner, placement.size
    if mirrored:
        left = placement.resized[0] - placement.bucket[0] - left
    return down, across, top, left, placement.bucket[1], placement.bucket[0]


def _caption(config: "RunConfig", caption: str, place: Mapping[str, int]) -> str:
    data = config.data
    if data.caption_dropout and stream(config.seed, "caption dropout", **place).random() < data.caption_dropout:
        return ""
    if not data.shuffle_captions:
        return caption
    loose = loose_clauses(caption, data.keep_clauses)
    order = stream(config.seed, "caption order", **place).permutation(loose).tolist()
    return shuffled(caption, data.keep_clauses, order)


def encode_ahead(trial: Trial, latents: LatentCache, texts: TextCache) -> None:
    """Put all that a trial will ask of the encoders into the caches, so that they are not used while it trains.

    Captions that are shuffled, and those that a trained encoder reads, are made anew at every step all the same.
    """
    config, photos = trial.config, trial.pictures
    for photo, placement in zip(photos, trial.placements, strict=True):
        for mirrored in (False, True) if config.data.flip else (False,):
            latents(photo, placement, mirrored=mirrored)
            latents.mask(photo, placement, config.data, mirrored=mirrored)
    if config.lora.text_encoder or config.data.shuffle_captions:
        return
    prompts = fill_prompts(config.sample, config.data) if config.sample.prompts else ()
    sheet = (text for prompt in prompts for text in (prompt.text, prompt.negative))
    for text in dict.fromkeys([*(photo.caption for photo in photos), "", *sheet]):
        texts([text], config.sample.clip_skip)


def stacked(parts: Sequence[Rows], device: torch.device) -> Batch:
    """The rows of all slots as one batch, slot-major."""
    return Batch(
        latents=torch.stack([row for part in parts for row in part.latents]),
        noise=torch.stack([row for part in parts for row in part.noise]).to(device),
        uniforms=torch.tensor([number for part in parts for number in part.uniforms], dtype=torch.float64),
        texts=[text for part in parts for text in part.texts],
        sizes=[size for part in parts for size in part.sizes],
        guidance=[guidance for part in parts for guidance in part.guidance],
        masks=[mask for part in parts for mask in part.masks],
        weights=torch.tensor([weight for part in parts for weight in part.weights], device=device),
    )


def cohort_key(config: "RunConfig") -> tuple[object, ...]:
    """Trials that train side by side have equal keys: the base, the targets and the shape of a step are shared.

    Learning rates, schedules, ranks, alphas, seeds, data and lengths may differ, as long as ``Trial.pattern`` does not.
    """
    model, hardware, optim = config.model, config.hardware, config.optim
    return (
        (model.family, str(model.path), model.revision, model.config),
        (model.resolution, model.prediction, model.zero_terminal_snr),
        (hardware.device, hardware.precision, hardware.gradient_checkpointing, hardware.memory_gb),
        (hardware.base, hardware.offload, hardware.cache, hardware.unload_encoders),
        (config.lora.targets, config.lora.text_encoder),
        (optim.batch_size, optim.gradient_accumulation),
        (config.sample.clip_skip, config.data.shuffle_captions),
    )
