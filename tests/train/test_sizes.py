"""Pictures of several sizes: what is trained on, and who may train beside whom."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.tiny import SIDE, tiny_run
from PIL import Image

from lorasweep.config.schema import DataConfig, HardwareConfig, ModelConfig
from lorasweep.data.buckets import bucket_rule
from lorasweep.errors import UserError
from lorasweep.models.autoencoder import encode, latent_shape
from lorasweep.models.lora.header import read_header
from lorasweep.records import Checkpoint, Dataset, Photo, Step
from lorasweep.train.cohort import Cohort
from lorasweep.train.state import widths_met
from lorasweep.train.trial import Trial, crop_of, encode_ahead, micro_batch

SHAPES = ((32, 32), (100, 60), (60, 100), (64, 64), (50, 30))
WIDE, SQUARE, TALL = (40, 24), (32, 32), (24, 40)


def write_photo(path: Path, size: tuple[int, int], repeats: int = 2) -> Photo:
    """A smooth random picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(int(path.stem)).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    caption = f"s1lv10 person, scene {path.stem}"
    return Photo(path=path, caption=caption, width=size[0], height=size[1], sha256=sha256, repeats=repeats)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five photos of three shapes, each seen twice an epoch."""
    folder = tmp_path_factory.mktemp("shapes") / "2_s1lv10 person"
    photos = tuple(write_photo(folder / f"{n}.png", size) for n, size in enumerate(SHAPES))
    words = {"trigger": "s1lv10", "class_noun": "person", "fingerprint": "shapes"}
    return Dataset(path=folder.parent, train=photos, held_out=(), **words)


@pytest.fixture
def trial(model_folder: Path, shapes: Dataset, tmp_path: Path) -> Any:
    """Makes trials on three shapes: trial(name, **changes of the run)."""

    def make(called: str = "anna", place: str = "", dataset: Dataset = shapes, **changes: Any) -> Trial:
        return Trial(called, tiny_run(model_folder, **changes), dataset, tmp_path / (place or called))

    return make


def train(cohort: Cohort, stop_after: int = 10**9) -> dict[str, list[Step]]:
    """Run a cohort until it is empty, or until any trial has taken so many more steps."""
    steps: dict[str, list[Step]] = {}

    def enough() -> bool:
        return max(map(len, steps.values()), default=0) >= stop_after

    while cohort.busy and not cohort.stopped:
        cohort.run_interval(lambda step: steps.setdefault(step.trial, []).append(step), enough)
    cohort.stopped = False
    return steps


def losses(steps: list[Step]) -> list[float]:
    return [step.loss for step in steps]


def shas(folder: Path) -> dict[int, str]:
    manifest = json.loads((folder / "checkpoints" / "manifest.json").read_text())
    return {line["step"]: line["sha256"] for line in manifest["checkpoints"]}


def alone(family: Any, trial: Trial) -> list[Step]:
    cohort = Cohort(family, 1)
    cohort.admit(trial)
    return train(cohort)[trial.name]


def test_every_step_has_one_size_and_every_picture_its_own(family: Any, trial: Any) -> None:
    run = trial()
    assert run.buckets == {TALL: (2,), SQUARE: (0, 3), WIDE: (1, 4)}
    assert run.steps_per_epoch == len(run.sequence) == 5
    cohort = Cohort(family, 1)
    for step in range(10):
        width, height = run.sequence[step % 5]
        rows = micro_batch(run, cohort.latents, step, 0)
        assert {tuple(latents.shape) for latents in rows.latents} == {(4, height // 4, width // 4)}
        assert {size[4:] for size in rows.sizes} == {(height, width)}


def test_sdxl_is_told_the_photos_size_the_crops_corner_and_the_size_it_is_trained_at(trial: Any) -> None:
    run = trial()
    assert run.placements[1].resized == (40, 24)
    assert crop_of(run.placements[1]) == (60, 100, 0, 0, 24, 40)
    square = dataclasses.replace(run.config, data=DataConfig(path="photos", buckets="square"))
    assert crop_of(dataclasses.replace(run, config=square).placements[1]) == (60, 100, 0, 10, 32, 32)


def test_two_side_by_side_lose_what_each_loses_alone(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 2)
    for name, seed in (("anna", 0), ("bert", 7)):
        cohort.admit(trial(name, lr=1e-3, seed=seed, steps=15, count=1))
    together = train(cohort)
    for name, seed in (("anna", 0), ("bert", 7)):
        expected = alone(family, trial(name, place=f"{name} alone", lr=1e-3, seed=seed, steps=15, count=1))
        assert losses(together[name]) == pytest.approx(losses(expected), abs=1e-5)
    assert losses(together["anna"]) != pytest.approx(losses(together["bert"]), abs=1e-3)


@pytest.mark.parametrize("stop", [1, 3, 7])
def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_bit_equal(family: Any, trial: Any, stop: int) -> None:
    whole = alone(family, trial("anna", place="whole", steps=12, count=1))
    first = Cohort(family, 1)
    first.admit(trial("anna", place="pieces", steps=12, count=1))
    before = train(first, stop)["anna"]
    assert len(before) == stop
    after = alone(family, trial("anna", place="pieces", steps=12, count=1))
    assert losses(before + after) == losses(whole)
    assert shas(trial(place="pieces").folder) == shas(trial(place="whole").folder)


def test_a_trial_that_comes_in_the_middle_of_an_epoch_begins_at_its_end(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 2)
    cohort.admit(trial("early", steps=15, count=1))
    train(cohort, 3)
    cohort.admit(trial("late", steps=5, count=1, seed=7))
    assert (cohort.free_slots, cohort.trials) == (0, ("early", "late"))
    told: list[tuple[str, int]] = []
    kept: list[Step] = []

    def hear(step: Step) -> None:
        told.append((step.trial, step.step))
        kept.append(step)

    cohort.run_interval(hear)
    assert told[:4] == [("early", 4), ("early", 5), ("early", 6), ("late", 1)]
    expected = alone(family, trial("late", place="late alone", steps=5, count=1, seed=7))
    assert losses([step for step in kept if step.trial == "late"]) == pytest.approx(losses(expected), abs=1e-5)
    assert cohort.trials == ("early",)


def test_runs_that_stopped_at_different_places_are_aligned_when_they_go_on(family: Any, trial: Any) -> None:
    stops = {"anna": 3, "bert": 1, "carl": 8}
    for name, stop in stops.items():
        cohort = Cohort(family, 1)
        cohort.admit(trial(name, steps=12, count=1))
        train(cohort, stop)
    cohort = Cohort(family, 3)
    assert [cohort.admit(trial(name, steps=12, count=1)) for name in stops] == list(stops.values())
    told: list[Step] = []
    while cohort.busy:
        cohort.run_interval(told.append)
    assert [(step.trial, step.step) for step in told[:9]] == [
        *(("anna", 4), ("carl", 9)),  # 3 and 8 are the same place of an epoch of 5
        *(("anna", 5), ("carl", 10)),
        *(("anna", 6), ("carl", 11)),
        *(("anna", 7), ("carl", 12), ("bert", 2)),
    ]
    expected = losses(alone(family, trial("whole", steps=12, count=1)))
    for name, stop in stops.items():
        found = losses([step for step in told if step.trial == name])
        assert found == pytest.approx(expected[stop:], abs=1e-5)


def test_who_waits_can_be_looked_at_taken_out_and_handed_back(
    family: Any, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort(family, 4)
    for name in ("anna", "bert"):
        cohort.admit(trial(name, steps=9, count=1))
    train(cohort, 2)
    for name in ("carl", "dora"):
        cohort.admit(trial(name, steps=9, count=1))
    assert all(not weights.up.any() for weights in cohort.adapter("carl").values())
    cohort.evict("dora")
    assert widths_met(trial("dora").folder) == ()
    assert cohort.trials == ("anna", "bert", "carl")
    real, full = cohort._losses, [True]

    def tight(part: int) -> torch.Tensor:
        if full:
            full.clear()
            raise torch.OutOfMemoryError("full")
        return real(part)

    monkeypatch.setattr(cohort, "_losses", tight)
    train(cohort)
    assert [run.name for run in cohort.returned] == ["bert", "carl"]


def test_trials_on_other_sizes_are_no_neighbours(family: Any, trial: Any, shapes: Dataset) -> None:
    other = dataclasses.replace(shapes, train=shapes.train[:3])
    cohort = Cohort(family, 2)
    cohort.admit(trial("anna"))
    assert trial("bert", dataset=other).key != trial("anna").key
    with pytest.raises(UserError, match="bert cannot be trained beside anna: their cohort keys differ"):
        cohort.admit(trial("bert", dataset=other))
    squares = [dataclasses.replace(shapes, train=(shapes.train[n],)) for n in (0, 3)]
    assert trial("carl", dataset=squares[0]).key == trial("dora", dataset=squares[1]).key  # one size, the same


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_every_family_learns_from_pictures_that_are_not_square(
    family_of: Any, model_of: Any, tmp_path: Path, kind: str
) -> None:
    sizes = ((20, 80), (80, 20), (40, 40), (60, 100))
    photos = tuple(write_photo(tmp_path / f"{n}.png", size) for n, size in enumerate(sizes))
    words = {"trigger": "s1lv10", "class_noun": "person", "fingerprint": kind}
    dataset = Dataset(path=tmp_path, train=photos, held_out=(), **words)
    run = tiny_run(model_of(kind), steps=6, count=1, lora={"targets": "linear"})
    run.model = ModelConfig(family=kind, path=str(model_of(kind)), resolution=SIDE)
    made = Trial(kind, run, dataset, tmp_path / "run")
    fourth = SQUARE if kind == "flux" else TALL  # whose sides 16 does not divide
    assert {placed.bucket for placed in made.placements} == {(16, 64), (64, 16), SQUARE, fourth}
    steps = alone(family_of(kind), made)
    assert len(steps) == 6
    assert all(0 < step.loss < 100 and step.grad_norm > 0 for step in steps)


def test_the_drawn_people_can_be_trained_at_every_size_there_is() -> None:
    from lorasweep.models import load_family

    family: Any = load_family(ModelConfig(path="portraits", resolution=64), HardwareConfig(device="cpu"))
    sizes = bucket_rule(DataConfig(path="photos"), 64).sizes
    assert len(sizes) >= 5
    for width, height in sizes:
        mean, _ = encode(family.vae, torch.zeros(1, 3, height, width))
        assert tuple(mean.shape[1:]) == latent_shape(family.vae, width, height)
        answer = family.denoise(
            mean, family.objective.timesteps(torch.rand(1, dtype=torch.float64)), family.encode_prompts(["a"])
        )
        assert answer.shape == mean.shape and answer.isfinite().all()


def test_pictures_of_others_are_trained_on_and_encoded_beside_the_subjects(
    family: Any, trial: Any, shapes: Dataset, tmp_path: Path
) -> None:
    others = tuple(write_photo(tmp_path / "others" / f"1{n}.png", (64, 64), repeats=n) for n in (3, 2))
    run = trial(dataset=dataclasses.replace(shapes, regularisation=others))
    assert run.pictures == (*shapes.train, *others)
    assert run.buckets[SQUARE] == (0, 3, 5, 6)
    shown = [item for step in range(run.steps_per_epoch) for item in run.items(step)]
    assert [shown.count(item) for item in range(7)] == pytest.approx([2, 2, 2, 2, 2, 3, 2], abs=1)
    cohort = Cohort(family, 1)
    encode_ahead(run, cohort.latents, cohort.texts)
    assert len(cohort.latents._store._memory) == 7


def test_a_header_tells_sizes_and_folders_as_kohya_does_and_a_private_one_does_not(
    family: Any, trial: Any, shapes: Dataset, tmp_path: Path
) -> None:
    others = (write_photo(tmp_path / "1_person" / "9.png", (64, 64), repeats=4),)
    header: dict[str, dict[str, str]] = {}
    for metadata in ("full", "private"):
        run = trial(place=metadata, steps=2, count=1, dataset=dataclasses.replace(shapes, regularisation=others))
        run.config.save.metadata = metadata
        cohort = Cohort(family, 1)
        cohort.admit(run)
        (event,) = cohort.run_interval(lambda step: None)
        assert isinstance(event, Checkpoint) and event.path
        header[metadata] = read_header(event.path)
    full = header["full"]
    assert json.loads(full["ss_bucket_info"])["buckets"] == {
        "0": {"resolution": [24, 40], "count": 2},
        "1": {"resolution": [32, 32], "count": 8},
        "2": {"resolution": [40, 24], "count": 4},
    }
    assert json.loads(full["ss_bucket_info"])["mean_img_ar_error"] == pytest.approx(0, abs=0.01)
    assert json.loads(full["ss_dataset_dirs"]) == {"2_s1lv10 person": {"n_repeats": 2, "img_count": 5}}
    assert json.loads(full["ss_reg_dataset_dirs"]) == {"1_person": {"n_repeats": 4, "img_count": 1}}
    assert (full["ss_num_train_images"], full["ss_num_reg_images"]) == ("10", "4")
    assert not {"ss_bucket_info", "ss_dataset_dirs", "ss_reg_dataset_dirs"} & set(header["private"])
