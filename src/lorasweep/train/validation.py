"""The loss on fixed rows: photos, noise and timesteps that stay the same, so that only the weights can change it.

The rows depend on the photos alone, not on the run's seed: the base model, every checkpoint and every run on the same
photos are measured on the same ones, and a difference between two losses is no noise of the draw. The loss is the plain
mean squared error of the family's own target, on its own timesteps: without min-SNR weights, masks, mirroring or
dropout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lorasweep.data.buckets import Placement
from lorasweep.errors import UserError
from lorasweep.models.family import Family
from lorasweep.models.lora.layer import Adapter, AdapterBank, adapted
from lorasweep.records import Photo
from lorasweep.train.cache import LatentCache, TextCache
from lorasweep.train.randomness import normal, stream
from lorasweep.train.step import Batch, Rows, slot_losses
from lorasweep.train.trial import Trial, crop_of

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig


@dataclass(frozen=True)
class FixedRow:
    """One photo at one noise level."""

    photo: Photo
    placement: Placement
    place: float
    """In (0, 1): which quantile of the family's timesteps."""
    item: int
    """Which of the rows; noise differs between two rows of one photo."""


def fixed_rows(trial: Trial, photos: Sequence[Photo], count: int) -> tuple[FixedRow, ...]:
    """Return ``count`` rows of up to as many photos; none without photos. A photo that fits no bucket is left out.

    Noise levels are the middles of ``count`` equal strata, dealt out over the photos in turn, in the order of the
    photos' hashes, so that all levels are there however many photos there are.
    """
    chosen: list[tuple[Photo, Placement]] = []
    # by hash, not by name: a renamed photo keeps its noise level, and the loss stays comparable
    for photo in sorted(photos, key=lambda each: each.sha256):
        placement = _placed(trial, photo)
        if placement is not None and len(chosen) < count:
            chosen.append((photo, placement))
    if not chosen:
        return ()
    return tuple(FixedRow(*chosen[item % len(chosen)], (item + 0.5) / count, item) for item in range(count))


def _placed(trial: Trial, photo: Photo) -> Placement | None:
    try:
        return trial.placed([photo])[0]
    except UserError:  # too small for a bucket: no reason to stop a run that does not train on it
        return None


class FixedLoss:
    """Measures adapters on fixed rows, on the bare base model and beside any training; runs of a cohort share one."""

    def __init__(self, family: Family, latents: LatentCache, texts: TextCache) -> None:
        self._family = family
        self._latents = latents
        self._texts = texts
        self._bank: AdapterBank | None = None
        self._carrier = family

    def encode(self, rows: Sequence[FixedRow], config: "RunConfig") -> None:
        """Put what the rows need into the caches, so that the encoders are not used while a run trains."""
        for row in rows:
            self._latents(row.photo, row.placement)
            self._texts([row.photo.caption], config.sample.clip_skip)

    @torch.no_grad()
    def __call__(self, adapter: Adapter, rows: Sequence[FixedRow], config: "RunConfig") -> float:
        """Return the mean loss of the rows; NaN without rows. An empty adapter is the base model."""
        if not rows:
            return float("nan")
        carrier = self._carrying(adapter) if adapter else self._family
        return self.side_by_side(carrier, [rows], config, trained=config.lora.text_encoder and bool(adapter))[0]

    @torch.no_grad()
    def side_by_side(
        self, carrier: Family, rows: Sequence[Sequence[FixedRow]], config: "RunConfig", *, trained: bool = False
    ) -> list[float]:
        """Return the mean loss of each slot's own rows.

        Args:
            rows: of each slot of ``carrier``; the same number of rows of each size.
            trained: encode the captions with the carrier, if its text encoders have adapters too.
        """
        chunks = zip(*(_chunks(of_slot, config.optim.batch_size) for of_slot in rows), strict=True)
        errors = [self._errors(carrier, chunk, config, trained) for chunk in chunks]
        return torch.cat(errors, dim=1).double().mean(1).tolist()

    def _carrying(self, adapter: Adapter) -> Family:
        # kept between calls: cloning SDXL's modules takes up to a second, more than measuring a few rows
        if self._bank is not None and self._bank.fits([adapter]):
            self._bank.load([adapter])
        else:
            self._bank = AdapterBank([adapter], self._family.device)
            self._carrier = adapted(self._family, self._bank)
        return self._carrier

    def _errors(
        self, carrier: Family, rows: Sequence[Sequence[FixedRow]], config: "RunConfig", trained: bool
    ) -> Tensor:
        """Loss of each row, [C, B]."""
        batch = Batch.of([self._inputs(of_slot, config.optim.guidance) for of_slot in rows], self._family.device)
        encode = carrier.encode_prompts if trained else self._texts
        text = encode(batch.texts, config.sample.clip_skip)
        # no optim: with a run's own timesteps and weights, the losses of two runs could not be compared
        return slot_losses(carrier, batch, text, [None] * len(rows))

    def _inputs(self, rows: Sequence[FixedRow], guidance: float) -> Rows:
        latents, noise = zip(*(self._picture(row) for row in rows), strict=True)
        return Rows(
            latents=list(latents),
            noise=list(noise),
            uniforms=[row.place for row in rows],
            texts=[row.photo.caption for row in rows],
            sizes=[crop_of(row.placement) for row in rows],
            guidance=[guidance] * len(rows),
            masks=[None] * len(rows),
            weights=[1.0] * len(rows),
        )

    def _picture(self, row: FixedRow) -> tuple[Tensor, Tensor]:
        """Return a sample of the photo's latents and its noise, functions of the photo and the row."""
        mean, std = self._latents(row.photo, row.placement)
        shape, photo = tuple(mean.shape), row.photo.sha256
        drawn = normal(stream(0, f"validation posterior/{photo}", item=row.item), shape)
        return mean + std * drawn.to(mean.device), normal(stream(0, f"validation/{photo}", item=row.item), shape)


def _chunks(rows: Sequence[FixedRow], most: int) -> list[list[FixedRow]]:
    """Split rows by size, with no more at once than a training step takes: that much memory there is."""
    sizes = sorted({row.placement.bucket for row in rows})
    groups = [[row for row in rows if row.placement.bucket == size] for size in sizes]
    return [group[start : start + most] for group in groups for start in range(0, len(group), most)]
