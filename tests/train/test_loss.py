"""One number a row: masks, regularisation, mirror images."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import SIDE, tiny_run
from PIL import Image

from lorasweep.data.buckets import square_placement
from lorasweep.data.hashes import file_sha256
from lorasweep.records import Dataset, Photo, Step
from lorasweep.train.cache import LatentCache
from lorasweep.train.cohort import Cohort
from lorasweep.train.step import row_errors
from lorasweep.train.trial import Trial, crop_of, is_mirrored, micro_batch


def losses(trials: list[Trial], family: Any) -> dict[str, list[float]]:
    cohort = Cohort(family, len(trials))
    for trial in trials:
        cohort.admit(trial)
    steps: list[Step] = []
    while cohort.busy:
        cohort.run_interval(steps.append)
    return {trial.name: [step.loss for step in steps if step.trial == trial.name] for trial in trials}


def masked(photo: Photo, folder: Path, shade: int, box: tuple[int, ...]) -> Photo:
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", (photo.width, photo.height), 0)
    picture.paste(shade, box)
    path = folder / f"{photo.path.stem}-masklabel.png"
    picture.save(path)
    return dataclasses.replace(photo, mask=path, mask_sha256=file_sha256(path))


def with_masks(
    dataset: Dataset, folder: Path, *, shade: int = 255, box: tuple[int, ...] = (0, 0, SIDE, SIDE)
) -> Dataset:
    photos = tuple(masked(photo, folder, shade, box) for photo in dataset.train)
    return dataclasses.replace(dataset, train=photos)


def test_rows_without_a_mask_are_bit_equal_whatever_their_neighbours_have() -> None:
    squared = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) ** 2
    plain = row_errors(squared, [None, None, None])
    assert torch.equal(plain, squared.flatten(1).mean(1))
    beside = row_errors(squared, [None, torch.ones(8, 8), None])
    assert torch.equal(beside[[0, 2]], plain[[0, 2]])
    assert torch.allclose(beside, plain)


def test_a_masked_row_is_the_mean_over_what_counts_however_little_that_is() -> None:
    squared = torch.zeros(2, 4, 8, 8)
    squared[:, :, :2, :2] = 3.0
    mask = torch.zeros(8, 8)
    mask[:2, :4] = 0.5
    assert row_errors(squared, [mask, mask * 0.1]).tolist() == pytest.approx([1.5, 1.5])


def test_a_white_mask_trains_as_none_and_a_gray_one_as_a_white_one(
    family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    run = tiny_run(model_folder, steps=6, count=1)
    with_mask = dataclasses.replace(run, data=dataclasses.replace(run.data, masks="files"))
    white, gray = (with_masks(dataset, tmp_path / str(shade), shade=shade) for shade in (255, 51))
    half = with_masks(dataset, tmp_path / "half", box=(0, 0, SIDE, SIDE // 2))
    trials = [
        Trial("plain", run, dataset, tmp_path / "a"),
        Trial("white", with_mask, white, tmp_path / "b"),
        Trial("gray", with_mask, gray, tmp_path / "c"),
        Trial("half", with_mask, half, tmp_path / "d"),
    ]
    told = losses(trials, family)
    assert told["white"] == pytest.approx(told["plain"], rel=1e-5)
    assert told["gray"] == pytest.approx(told["plain"], rel=1e-5)
    assert told["half"] != pytest.approx(told["plain"], rel=1e-2)


def test_what_is_masked_out_changes_nothing(family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    """The gradient of what the mask hides is zero: only the denoiser's view of it remains."""
    squared = torch.rand(1, 4, 8, 8, requires_grad=True)
    mask = torch.zeros(8, 8)
    mask[:, :3] = 1
    (gradient,) = torch.autograd.grad(row_errors(squared, [mask]).sum(), squared)
    assert gradient[..., 3:].abs().max() == 0
    assert gradient[..., :3].min() > 0


def test_pictures_of_others_count_by_their_weight_and_double_the_steps_of_an_epoch(
    family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    subject, others = dataset.train[:3], tuple(dataclasses.replace(p, caption="person") for p in dataset.train[3:])
    others = tuple(dataclasses.replace(photo, repeats=3) for photo in others)
    both = dataclasses.replace(dataset, train=subject, regularisation=others)
    run = tiny_run(model_folder, steps=6, count=1, batch_size=1)
    half = dataclasses.replace(run, data=dataclasses.replace(run.data, regularisation_weight=0.5))
    trials = [Trial("one", run, both, tmp_path / "a"), Trial("half", half, both, tmp_path / "b")]
    alone = Trial("alone", run, dataclasses.replace(both, regularisation=()), tmp_path / "c")
    assert (alone.steps_per_epoch, trials[0].steps_per_epoch) == (6, 12)
    latents = LatentCache(family)
    seen = [(trials[1].items(step)[0], micro_batch(trials[1], latents, step, 0)) for step in range(12)]
    assert [rows.weights[0] for _, rows in seen] == [1.0 if item < 3 else 0.5 for item, _ in seen]
    assert {rows.texts[0] for item, rows in seen if item >= 3} <= {"person", ""}
    assert sum(item >= 3 for item, _ in seen) == 6
    told = losses(trials, family)
    first = next(step for step, (item, _) in enumerate(seen) if item >= 3)
    assert told["half"][:first] == told["one"][:first]
    assert told["half"][first] == pytest.approx(told["one"][first] / 2)


def test_mirror_images_come_by_chance_of_seed_and_place_and_not_unless_asked(
    family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    run = tiny_run(model_folder)
    flip = dataclasses.replace(run, data=dataclasses.replace(run.data, flip=True))
    places = [{"epoch": n // 50, "step": n, "item": item} for n in range(200) for item in range(2)]
    assert not any(is_mirrored(run, place) for place in places)
    chosen = [is_mirrored(flip, place) for place in places]
    assert chosen == [is_mirrored(flip, place) for place in places]
    assert 0.4 < sum(chosen) / len(chosen) < 0.6
    assert chosen != [is_mirrored(dataclasses.replace(flip, seed=1), place) for place in places]


def test_a_mirror_image_is_encoded_from_mirrored_pixels_with_its_mask(
    family: Any, dataset: Dataset, tmp_path: Path
) -> None:
    photo = masked(dataset.train[0], tmp_path, 255, (0, 0, 8, SIDE))
    mirror = tmp_path / "mirror.png"
    Image.open(photo.path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirror)
    other = dataclasses.replace(photo, path=mirror, sha256=file_sha256(mirror))
    cache, square = LatentCache(family), square_placement((SIDE, SIDE), SIDE)
    mean = cache(photo, square, mirrored=True)[0]
    assert torch.equal(mean, cache(other, square)[0])
    assert not torch.equal(mean, cache(photo, square)[0])
    data = dataclasses.replace(tiny_run(Path()).data, masks="files", mask_floor=0.25)
    mask, mirrored = (cache.mask(photo, square, data, mirrored=flip) for flip in (False, True))
    assert mask is not None
    assert mirrored is not None
    assert mask[0].tolist() == [1, 1] + [0.25] * 6
    assert torch.equal(mirrored, mask.flip(1))


def test_a_mirror_images_crop_is_mirrored() -> None:
    placement = square_placement((50, 32), 32)
    odd = dataclasses.replace(placement, resized=(51, 32))
    assert (crop_of(odd)[3], crop_of(odd, mirrored=True)[3]) == (9, 10)


def test_a_trial_with_masks_flips_and_regularisation_is_the_same_beside_others_and_resumed(
    family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    base = tiny_run(model_folder, steps=8, count=2)
    data = dataclasses.replace(base.data, masks="files", flip=True, mask_floor=0.1, regularisation_weight=0.7)
    run = dataclasses.replace(base, data=data)
    photos = with_masks(dataset, tmp_path / "masks", box=(4, 4, 20, 28))
    both = dataclasses.replace(photos, train=photos.train[:3], regularisation=dataset.train[3:])
    whole = losses([Trial("t", run, both, tmp_path / "whole")], family)["t"]
    cohort, steps = Cohort(family, 1), list[Step]()
    cohort.admit(Trial("t", run, both, tmp_path / "cut"))
    cohort.run_interval(steps.append)  # the first checkpoint, with its state
    again = Cohort(family, 1)
    assert again.admit(Trial("t", run, both, tmp_path / "cut")) == len(steps) == 4
    while again.busy:
        again.run_interval(steps.append)
    assert [step.loss for step in steps] == whole
    beside = losses([Trial("plain", base, dataset, tmp_path / "p"), Trial("t", run, both, tmp_path / "beside")], family)
    assert beside["t"] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_every_familys_latents_fit_their_masks(
    kind: str, family_of: Any, model_of: Any, dataset: Dataset, tmp_path: Path
) -> None:
    run = tiny_run(model_of(kind), steps=3, count=1)
    run.model.family = kind
    masked_run = dataclasses.replace(run, data=dataclasses.replace(run.data, masks="files"))
    white = with_masks(dataset, tmp_path / "masks")
    trials = [Trial("plain", run, dataset, tmp_path / "a"), Trial("white", masked_run, white, tmp_path / "b")]
    told = losses(trials, family_of(kind))
    assert told["white"] == pytest.approx(told["plain"], rel=1e-4)
