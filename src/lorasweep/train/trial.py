"""One training as its configuration and seed define it: what every row of every step is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lorasweep.data.prompts import fill_prompts
from lorasweep.data.records import Dataset, Photo
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
    def buckets(self) -> Mapping[Bucket, tuple[int, ...]]:
        """Picture size to photos; one square size for now."""
        side = self.config.model.resolution
        return {(side, side): tuple(range(len(self.dataset.train)))}

    @cached_property
    def rows(self) -> int:
        """Pictures an optimiser step."""
        return self.config.optim.batch_size * self.config.optim.gradient_accumulation

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        return len(bucket_sequence(self.buckets, self.dataset.repeats, self.rows))

    @cached_property
    def saved_steps(self) -> frozenset[int]:
        """Steps (1-based) after which a checkpoint is written."""
        return frozenset(checkpoint_steps(self.config))

    def photos(self, step: int) -> tuple[Bucket, list[Photo]]:
        """What step ``step`` (0 is the first) is trained on."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = epoch_batches(self.buckets, self.dataset.repeats, self.rows, self.config.seed, epoch)
        batch = self._epochs[epoch][place]
        return batch.bucket, [self.dataset.train[item] for item in batch.items]

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


def micro_batch(trial: Trial, latents: LatentCache, step: int, part: int) -> Rows:
    """The rows of one forward pass: part ``part`` of a step's gradient accumulation.

    Every number is a function of (seed, epoch, step, row) and of what it is for.
    """
    bucket, photos = trial.photos(step)
    size = trial.config.optim.batch_size
    numbers = range(part * size, (part + 1) * size)
    rows = [_row(trial, latents(photos[n], bucket), photos[n], bucket, step, n) for n in numbers]
    return Rows(*(list(column) for column in zip(*rows, strict=True)))


def _row(
    trial: Trial, moments: tuple[Tensor, Tensor], photo: Photo, bucket: Bucket, step: int, row: int
) -> tuple[Tensor, Tensor, float, str, tuple[int, ...], float]:
    config, (mean, std) = trial.config, moments
    place = {"epoch": step // trial.steps_per_epoch, "step": step, "item": row}
    shape = tuple(mean.shape)
    noise = normal(stream(config.seed, "noise", **place), shape)
    if config.optim.noise_offset:
        offset = normal(stream(config.seed, "noise offset", **place), (shape[0], 1, 1))
        noise = noise + config.optim.noise_offset * offset
    sampled = mean + std * normal(stream(config.seed, "posterior", **place), shape).to(mean.device)
    uniform = float(stream(config.seed, "timestep", **place).random())
    caption = _caption(trial, photo.caption, place)
    return sampled, noise, uniform, caption, crop_of(photo, bucket), config.optim.guidance


def crop_of(photo: Photo, bucket: Bucket) -> tuple[int, ...]:
    """Photo (height, width), corner (top, left) of the centred crop after scaling, picture (height, width)."""
    width, height = bucket
    scale = max(width / photo.width, height / photo.height)
    left, top = round(photo.width * scale - width) // 2, round(photo.height * scale - height) // 2
    return photo.height, photo.width, top, left, height, width


def _caption(trial: Trial, caption: str, place: Mapping[str, int]) -> str:
    data = trial.config.data
    if data.caption_dropout and stream(trial.config.seed, "caption dropout", **place).random() < data.caption_dropout:
        return ""
    if not data.shuffle_captions:
        return caption
    first, *rest = [clause.strip() for clause in caption.split(",")]
    order = stream(trial.config.seed, "caption order", **place).permutation(len(rest))
    return ", ".join([first, *(rest[i] for i in order)])


def encode_ahead(trial: Trial, latents: LatentCache, texts: TextCache) -> None:
    """Put all that a trial will ask of the encoders into the caches, so that they are not used while it trains.

    Captions that are shuffled, and those that a trained encoder reads, are made anew at every step all the same.
    """
    config, photos = trial.config, trial.dataset.train
    for bucket, items in trial.buckets.items():
        for item in items:
            latents(photos[item], bucket)
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
    )


def cohort_key(config: "RunConfig") -> tuple[object, ...]:
    """Trials with equal keys can be trained side by side: the base, the targets and the shape of a step are shared.

    Learning rates, schedules, ranks, alphas, seeds, data and lengths may differ.
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
