"""Losses on fixed rows: functions of the adapter and the photos, on every family, beside a training."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.family import stirred
from contracts.tiny import SIDE, tiny_run

from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import Adapter, AdapterBank, LoraWeights, adapted
from lorasweep.records import Dataset
from lorasweep.train.cache import LatentCache, TextCache
from lorasweep.train.trial import Trial, crop_of
from lorasweep.train.validation import FixedLoss, FixedRow, fixed_rows

KINDS = ("sd15", "sdxl", "flux")


@pytest.fixture
def split(dataset: Dataset) -> Dataset:
    """Three photos to train on and two held out."""
    return dataclasses.replace(dataset, train=dataset.train[:3], held_out=dataset.train[3:])


@pytest.fixture
def trial(split: Dataset, model_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., Trial]:
    def make(kind: str = "sd15", **changes: Any) -> Trial:
        run = tiny_run(model_of(kind), **{"lora": {"text_encoder": True}, **changes})
        run.model.family = kind
        return Trial("anna", run, split, tmp_path)

    return make


@pytest.fixture
def measured(family_of: Callable[[str], Any]) -> Callable[..., float]:
    def measure(trial: Trial, adapter: Adapter, rows: tuple[FixedRow, ...]) -> float:
        family = family_of(trial.config.model.family)
        return FixedLoss(family, LatentCache(family), TextCache(family))(adapter, rows, trial.config)

    return measure


def adapters(family: Any, trial: Trial, seed: int, size: float = 0.3) -> Adapter:
    return stirred(initial_adapter(family, trial.config.lora, 0), seed, size)


@pytest.mark.parametrize("kind", KINDS)
def test_slots_that_are_measured_in_one_pass_have_the_losses_they_have_alone(
    kind: str, split: Dataset, trial: Callable[..., Trial], family_of: Callable[[str], Any]
) -> None:
    one, family = trial(kind, lora={}), family_of(kind)
    loss = FixedLoss(family, LatentCache(family), TextCache(family))
    rows = [fixed_rows(one, photos, 4) for photos in (split.train, split.held_out, split.train[:1])]
    stirs = [adapters(family, one, seed) for seed in (1, 2, 3)]
    carrier = adapted(family, AdapterBank(stirs, family.device))
    together = loss.side_by_side(carrier, rows, one.config)
    alone = [loss(adapter, own, one.config) for adapter, own in zip(stirs, rows, strict=True)]
    assert together == pytest.approx(alone, rel=1e-4)
    assert len({round(value, 4) for value in alone}) == 3


@pytest.mark.parametrize(("photos", "levels"), [(2, (4, 4)), (3, (3, 3, 2)), (5, (2, 2, 2, 1, 1))])
def test_noise_levels_are_spread_evenly_and_dealt_out_over_the_photos(
    photos: int, levels: tuple[int, ...], dataset: Dataset, trial: Callable[..., Trial]
) -> None:
    rows = fixed_rows(trial(), dataset.train[:photos], 8)
    assert [row.place for row in rows] == [(n + 0.5) / 8 for n in range(8)]
    chosen = sorted(dataset.train[:photos], key=lambda photo: photo.sha256)
    assert tuple(sum(row.photo == photo for row in rows) for photo in chosen) == levels


def test_rows_are_the_same_for_every_seed_order_of_photos_and_number_of_steps(
    split: Dataset, trial: Callable[..., Trial]
) -> None:
    assert fixed_rows(trial(seed=0), split.train, 8) == fixed_rows(trial(seed=5, steps=7), split.train[::-1], 8)


def test_no_more_photos_are_taken_than_there_are_rows(dataset: Dataset, trial: Callable[..., Trial]) -> None:
    assert len({row.photo.sha256 for row in fixed_rows(trial(), dataset.train, 4)}) == 4
    assert fixed_rows(trial(), (), 4) == ()


def test_a_held_out_photo_that_fits_no_bucket_is_left_out_and_stops_nothing(
    dataset: Dataset, trial: Callable[..., Trial]
) -> None:
    own = trial()
    own.config.data.buckets, own.config.data.upscale = "kohya", False
    small = dataclasses.replace(dataset.train[0], width=2, height=2)
    rows = fixed_rows(own, (small, dataset.train[1]), 4)
    assert {row.photo for row in rows} == {dataset.train[1]}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_mean_squared_error_of_what_the_family_should_answer(
    kind: str, family_of: Callable[[str], Any], trial: Callable[..., Trial], measured: Callable[..., float]
) -> None:
    """Computed again row by row, with the seeds written out."""
    from lorasweep.train.randomness import normal, stream

    family, own = family_of(kind), trial(kind, min_snr_gamma=5.0 if kind != "flux" else None)
    rows = fixed_rows(own, own.dataset.held_out, 4)
    errors = []
    for row in rows:
        mean, std = LatentCache(family)(row.photo, row.placement)
        name, shape = row.photo.sha256, tuple(mean.shape)
        posterior = normal(stream(0, f"validation posterior/{name}", item=row.item), shape)
        noise = normal(stream(0, f"validation/{name}", item=row.item), shape)[None]
        latents = (mean + std * posterior)[None]
        time = family.objective.timesteps(torch.tensor([row.place], dtype=torch.float64), None, shape)
        with torch.no_grad():
            words = family.encode_prompts([row.photo.caption], 0)
            text = family.training_text(words, [crop_of(row.placement)], [own.config.optim.guidance])
            answer = family.denoise(family.objective.noised(latents, noise, time), time, text)
        errors.append(float((answer - family.objective.target(latents, noise, time)).square().mean()))
    assert measured(own, {}, rows) == pytest.approx(sum(errors) / 4, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_measured_as_it_is_and_one_that_changes_nothing_as_the_base_model(
    kind: str, family_of: Callable[[str], Any], trial: Callable[..., Trial], measured: Callable[..., float]
) -> None:
    family, own = family_of(kind), trial(kind)
    rows = fixed_rows(own, own.dataset.held_out, 8)
    base = measured(own, {}, rows)
    assert measured(own, initial_adapter(family, own.config.lora, 0), rows) == pytest.approx(base, rel=1e-6)
    changed = measured(own, adapters(family, own, 0), rows)
    assert abs(changed - base) > 1e-4 * base
    assert measured(own, adapters(family, own, 0), rows) == changed


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_go_through_a_trained_text_encoder(
    kind: str, family_of: Callable[[str], Any], trial: Callable[..., Trial], measured: Callable[..., float]
) -> None:
    family, own = family_of(kind), trial(kind)
    rows = fixed_rows(own, own.dataset.held_out, 4)
    texts = {n: w for n, w in adapters(family, own, 0, 0.5).items() if n.startswith("text")}
    assert texts
    assert abs(measured(own, texts, rows) - measured(own, {}, rows)) > 1e-7


def test_one_measurer_gives_each_adapter_what_a_new_one_gives_it(
    family_of: Callable[[str], Any], trial: Callable[..., Trial], measured: Callable[..., float]
) -> None:
    """The model that carries adapters is kept: other weights, another rank and another alpha all take effect."""
    family, own = family_of("sd15"), trial()
    rows = fixed_rows(own, own.dataset.train, 4)
    first, second = adapters(family, own, 0), adapters(family, own, 1)
    louder = {name: LoraWeights(w.down, w.up, w.alpha * 4) for name, w in second.items()}
    wider = adapters(family, trial(lora={"rank": 6, "text_encoder": True}), 2)
    shared = FixedLoss(family, LatentCache(family), TextCache(family))
    each = (first, second, louder, wider, {}, first)
    found = [shared(adapter, rows, own.config) for adapter in each]
    assert found == [measured(own, adapter, rows) for adapter in each]
    assert len(set(found)) == 5


def test_pictures_of_several_sizes_and_any_number_at_once_give_one_mean(
    split: Dataset, trial: Callable[..., Trial], measured: Callable[..., float]
) -> None:
    rows = fixed_rows(trial(), split.train, 6)
    wide = dataclasses.replace(rows[0].placement, bucket=(SIDE * 2, SIDE), resized=(SIDE * 2, SIDE * 2))
    mixed = (*rows[:3], *(dataclasses.replace(row, placement=wide) for row in rows[3:]))
    alone = [measured(trial(), {}, (row,)) for row in mixed]
    for size in (1, 2, 5):
        assert measured(trial(batch_size=size), {}, mixed) == pytest.approx(sum(alone) / 6, rel=1e-5)


def test_without_photos_there_is_no_loss(trial: Callable[..., Trial], measured: Callable[..., float]) -> None:
    assert math.isnan(measured(trial(), {}, ()))
