"""One training as its configuration and seed define it: which images each step sees, and every row made from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lorasweep.data.buckets import BucketRow, Placement, bucket_rule, bucket_table, place_pictures
from lorasweep.data.captions import loose_clauses, shuffled
from lorasweep.data.prompts import fill_prompts
from lorasweep.models import IMAGE_UNITS
from lorasweep.records import Dataset, Photo
from lorasweep.train.cache import LatentCache, TextCache
from lorasweep.train.randomness import normal, stream
from lorasweep.train.schedules import checkpoint_steps
from lorasweep.train.step import Rows

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig

Bucket = tuple[int, int]
"""Width and height in pixels of the images of a batch."""


@dataclass(frozen=True)
class Pictures:
    """The images of one optimiser step, all of one size."""

    bucket: Bucket
    items: tuple[int, ...]


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
        """All images that are trained on: the subject's photos, then those that keep the class from being forgotten."""
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
        """Return how photos, trained on or not, get to a size that is trained at; raise UserError if one fits none."""
        model = self.config.model
        rule = bucket_rule(self.config.data, model.resolution, IMAGE_UNITS.get(model.family, 8))
        sizes = [(photo.width, photo.height) for photo in photos]
        return place_pictures(sizes, rule, [str(photo.path) for photo in photos])

    @cached_property
    def buckets(self) -> Mapping[Bucket, tuple[int, ...]]:
        """Size to the indices of its images, in the order of sizes."""
        sizes = sorted({placed.bucket for placed in self.placements})
        return {size: tuple(n for n, placed in enumerate(self.placements) if placed.bucket == size) for size in sizes}

    @property
    def table(self) -> tuple[BucketRow, ...]:
        """What becomes of the images in an epoch, size by size."""
        return bucket_table(self.placements, self.repeats, self.rows)

    @cached_property
    def sequence(self) -> tuple[Bucket, ...]:
        """Size of every step of an epoch, the same in all epochs."""
        return bucket_sequence(self.buckets, self.repeats, self.rows)

    @property
    def pattern(self) -> tuple[Bucket, ...]:
        """What trials side by side must have in common: their one size, or the whole sequence of sizes."""
        # with one size every step fits every other, so that epochs of different lengths may train side by side
        return tuple(self.buckets) if len(self.buckets) == 1 else self.sequence

    @property
    def key(self) -> tuple[object, ...]:
        """Trials with equal keys can be trained side by side."""
        return (*cohort_key(self.config), self.pattern)

    def place(self, step: int) -> int:
        """Return the position in ``pattern`` after ``step`` steps; trials side by side are at the same one."""
        return step % len(self.pattern)

    @cached_property
    def rows(self) -> int:
        """Images an optimiser step."""
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
        """Return which of ``pictures`` step ``step`` (0 is the first) is trained on; all are of one size."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = epoch_batches(self.buckets, self.repeats, self.rows, self.config.seed, epoch)
        return self._epochs[epoch][place].items

    @cached_property
    def _epochs(self) -> dict[int, tuple[Pictures, ...]]:
        """The epoch that is being trained, so that it is not shuffled anew at every step."""
        return {}


def bucket_sequence(buckets: Mapping[Bucket, tuple[int, ...]], repeats: Sequence[int], rows: int) -> tuple[Bucket, ...]:
    """Return the sizes of an epoch's steps: the same in every epoch and for every seed, each size spread evenly.

    Args:
        buckets: image size to the indices of its photos.
        repeats: how often each photo is seen in an epoch, by its index.
        rows: images a step: batch size times gradient accumulation.
    """
    places = []
    for bucket, items in buckets.items():
        count = -(-sum(repeats[item] for item in items) // rows)
        places += [((i + 0.5) / count, bucket) for i in range(count)]
    return tuple(bucket for _, bucket in sorted(places))


def epoch_batches(
    buckets: Mapping[Bucket, tuple[int, ...]], repeats: Sequence[int], rows: int, seed: int, epoch: int
) -> tuple[Pictures, ...]:
    """Return the steps of one epoch, a pure function of (seed, epoch).

    Every pass over a bucket shows each of its photos that has repeats left once, in an order of its own. The last
    step of a bucket is filled up from the front of the epoch's first pass, so that all steps have ``rows`` images.
    """
    queues = {bucket: _shuffled(bucket, items, repeats, rows, seed, epoch) for bucket, items in buckets.items()}
    batches = []
    for bucket in bucket_sequence(buckets, repeats, rows):
        queue = queues[bucket]
        batches.append(Pictures(bucket, tuple(queue[:rows])))
        del queue[:rows]
    return tuple(batches)


def _shuffled(
    bucket: Bucket, items: tuple[int, ...], repeats: Sequence[int], rows: int, seed: int, epoch: int
) -> list[int]:
    generator = stream(seed, f"order/{bucket[0]}x{bucket[1]}", epoch=epoch)
    queue: list[int] = []
    for number in range(max(repeats[item] for item in items)):
        left = [item for item in items if repeats[item] > number]
        queue += [left[i] for i in generator.permutation(len(left))]
    missing = -len(queue) % rows
    # fewer photos than rows: the pass is repeated as often as one step needs
    return (queue * (2 + missing // max(1, len(queue))))[: len(queue) + missing]


def micro_batch(trial: Trial, latents: LatentCache, step: int, part: int) -> Rows:
    """Return the rows of one forward pass: part ``part`` of a step's gradient accumulation.

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
        # one number a channel: moves the mean brightness, which independent noise hardly does
        offset = normal(stream(config.seed, "noise offset", **place), (shape[0], 1, 1))
        noise = noise + config.optim.noise_offset * offset
    sampled = mean + std * normal(stream(config.seed, "posterior", **place), shape).to(mean.device)
    # a place in [0, 1): which timestep that is, the family's distribution says
    uniform = float(stream(config.seed, "timestep", **place).random())
    caption = _caption(config, photo.caption, place)
    mask = latents.mask(photo, placement, config.data, mirrored=mirrored)
    # sd-scripts' prior_loss_weight
    weight = 1.0 if item < len(trial.dataset.train) else config.data.regularisation_weight
    crop = crop_of(placement, mirrored=mirrored)
    return sampled, noise, uniform, caption, crop, config.optim.guidance, mask, weight


def is_mirrored(config: "RunConfig", place: Mapping[str, int]) -> bool:
    """Return whether the image at a place (epoch, step, item) of a training is shown mirrored."""
    return config.data.flip and stream(config.seed, "flip", **place).random() < 0.5


def crop_of(placement: Placement, *, mirrored: bool = False) -> tuple[int, ...]:
    """Return photo (height, width), corner (top, left) of the centred crop after scaling, image (height, width)."""
    (left, top), (across, down) = placement.corner, placement.size
    if mirrored:
        left = placement.resized[0] - placement.bucket[0] - left  # as if the mirror image had been cropped
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
    """Put all that a trial will ask of the encoders into the caches, so that they are not used while it trains."""
    config, photos = trial.config, trial.pictures
    for photo, placement in zip(photos, trial.placements, strict=True):
        for mirrored in (False, True) if config.data.flip else (False,):
            latents(photo, placement, mirrored=mirrored)
            latents.mask(photo, placement, config.data, mirrored=mirrored)
    # a trained encoder, and shuffled captions, change the embeddings at every step: nothing to encode ahead
    if config.lora.text_encoder or config.data.shuffle_captions:
        return
    prompts = fill_prompts(config.sample, config.data) if config.sample.prompts else ()
    sheet = (text for prompt in prompts for text in (prompt.text, prompt.negative))
    for text in dict.fromkeys([*(photo.caption for photo in photos), "", *sheet]):
        texts([text], config.sample.clip_skip)


def cohort_key(config: "RunConfig") -> tuple[object, ...]:
    """Return what trials side by side must have in common: the base model, the targets and the shape of a step.

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
