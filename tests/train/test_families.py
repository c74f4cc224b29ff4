"""Every family trains, draws from the file that was written, goes on where it stopped, and shares its base."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from contracts.family import batch, stirred
from contracts.tiny import SIDE, tiny_run
from contracts.tiny_models import load_tiny_kind
from PIL import Image

from lorasweep.config.schema import LoraConfig, SampleConfig
from lorasweep.models.lora.file import read_lora, write_lora
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import AdapterBank, adapted
from lorasweep.records import Checkpoint, Dataset, Prompt, Step
from lorasweep.train.cache import LatentCache
from lorasweep.train.cohort import Cohort
from lorasweep.train.sample import Sheet, draw_checkpoint
from lorasweep.train.trial import Trial, micro_batch

Of = Callable[[str], Any]
KINDS = ("sd15", "sdxl", "flux")
WAYS = ("folder", "file")
CHANGES = {
    "sd15": {"lora": {"targets": "convolution", "text_encoder": True}, "timesteps": "shift", "noise_offset": 0.05},
    "sdxl": {"lora": {"targets": "convolution", "text_encoder": True, "dropout": 0.1}, "min_snr_gamma": 5.0},
    "flux": {"lora": {"targets": "linear", "text_encoder": True}, "timesteps": "resolution_shift", "guidance": 1.0},
}


@pytest.fixture(scope="session")
def loaded(family_of: Of, file_of: Of, model_of: Of) -> Callable[[str, str], Any]:
    """A tiny model, read from its folder or from one file."""
    from_file = cache(lambda kind: load_tiny_kind(kind, file_of(kind), config=str(model_of(kind))))
    return lambda kind, way: from_file(kind) if way == "file" else family_of(kind)


def make_trial(folder: Path, dataset: Dataset, model: Path, kind: str, called: str = "anna", **changes: Any) -> Trial:
    """A trial of four steps with two checkpoints."""
    settings: dict[str, Any] = {**CHANGES[kind], "steps": 4, "count": 2, "lr": 1e-2, "batch_size": 1, **changes}
    run = tiny_run(model, **settings)
    run.model.family = kind
    return Trial(called, run, dataset, folder)


@pytest.fixture
def trial(dataset: Dataset, model_of: Of, tmp_path: Path) -> Callable[..., Trial]:
    """Makes trials of four steps with two checkpoints: trial(kind, name)."""

    def make(kind: str, called: str = "anna", place: str = "", **changes: Any) -> Trial:
        return make_trial(tmp_path / (place or called), dataset, model_of(kind), kind, called, **changes)

    return make


class Trained(NamedTuple):
    """A trial, and what its training told."""

    trial: Trial
    losses: list[float]
    checkpoints: list[Checkpoint]


@pytest.fixture(scope="module")
def plain(
    loaded: Of, dataset: Dataset, model_of: Of, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Trained]:
    """Trains a trial once, to be read only: plain(kind, way)."""
    root = tmp_path_factory.mktemp("plain")

    @cache
    def trained(kind: str, way: str, **changes: Any) -> Trained:
        folder = root / "-".join([kind, way, *changes])
        one = make_trial(folder, dataset, model_of(kind), kind, **changes)
        steps, checkpoints = train(loaded(kind, way), one)
        return Trained(one, losses(steps["anna"]), checkpoints)

    return trained


def train(family: Any, *trials: Trial, **how: Any) -> tuple[dict[str, list[Step]], list[Checkpoint]]:
    cohort = Cohort(family, len(trials))
    for each in trials:
        cohort.admit(each)
    steps: dict[str, list[Step]] = {}
    events: list[Any] = []
    while cohort.busy and not cohort.stopped:
        events += cohort.run_interval(lambda step: steps.setdefault(step.trial, []).append(step), **how)
    assert all(isinstance(event, Checkpoint) for event in events)
    return steps, events


def shas(trial: Trial) -> dict[int, str]:
    manifest = json.loads((trial.folder / "checkpoints" / "manifest.json").read_text())
    return {line["step"]: line["sha256"] for line in manifest["checkpoints"]}


def losses(steps: list[Step]) -> list[float]:
    return [step.loss for step in steps]


def sheet() -> Sheet:
    prompt = Prompt(key="p", text="s1lv10 person", negative="bad", score_text="", face=True, subject=True, photo=True)
    look = SampleConfig(steps=2, guidance=3.0, batch_size=2)
    return Sheet(prompts=(prompt,), seeds=(0, 1), look=look, resolution=SIDE)


def pixels(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))]).astype(int)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_and_what_is_drawn_is_drawn_from_the_file(
    kind: str, way: str, loaded: Of, plain: Callable[..., Trained], tmp_path: Path
) -> None:
    family = loaded(kind, way)
    _, found, checkpoints = plain(kind, way)
    assert [checkpoint.step for checkpoint in checkpoints] == [2, 4]
    assert len(set(found)) == 4
    first, last = (read_lora(checkpoint.path, family) for checkpoint in checkpoints)
    start = initial_adapter(family, LoraConfig(rank=4, alpha=2.0, **CHANGES[kind]["lora"]), 0)
    assert set(last) == set(start)
    moved = {name for name in last if not torch.equal(last[name].up, first[name].up)}
    unread = {name for name in last if "text_encoder" in name and ".layers.1." in name} if kind == "sdxl" else set()
    assert set(last) - moved <= unread  # SDXL reads the first encoder's last layer but one; all else has learnt
    again = read_lora(checkpoints[1].path, family)
    for checkpoint in (checkpoints[0], checkpoints[1]):
        draw_checkpoint(family, checkpoint, sheet(), tmp_path / str(checkpoint.step))
    early, late = (pixels(tmp_path / str(step)) for step in (2, 4))
    assert np.abs(early - late).max() > 0
    write_lora(tmp_path / "copy.safetensors", again, family, {})
    copy = Checkpoint(trial="anna", step=4, epoch=1.0, path=tmp_path / "copy.safetensors", sha256="")
    draw_checkpoint(family, copy, sheet(), tmp_path / "copy")
    assert np.array_equal(pixels(tmp_path / "copy"), late)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_trains_to_the_same_weights_as_its_folder(
    kind: str, loaded: Of, plain: Callable[..., Trained]
) -> None:
    found = []
    for way in WAYS:
        _, told, checkpoints = plain(kind, way)
        found.append((told, read_lora(checkpoints[-1].path, loaded(kind, way))))
    (folder_losses, folder), (file_losses, file) = found
    assert folder_losses == file_losses
    assert all(torch.equal(folder[name].down, file[name].down) for name in folder)
    assert all(torch.equal(folder[name].up, file[name].up) for name in folder)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_goes_on_bit_equal(
    kind: str, way: str, loaded: Of, trial: Callable[..., Trial], plain: Callable[..., Trained]
) -> None:
    family = loaded(kind, way)
    whole = plain(kind, way)
    found: list[Step] = []
    for stop_at in (1, 3, 99):
        cohort = Cohort(family, 1)
        assert cohort.admit(trial(kind, place="pieces")) == len(found)
        while cohort.busy and not cohort.stopped:
            cohort.run_interval(found.append, should_stop=lambda stop_at=stop_at: len(found) == stop_at)
    assert losses(found) == whole.losses
    assert shas(trial(kind, place="pieces")) == shas(whole.trial)


@pytest.mark.parametrize("kind", KINDS)
def test_two_side_by_side_are_what_each_is_alone(kind: str, loaded: Of, trial: Callable[..., Trial]) -> None:
    family = loaded(kind, "folder")
    rates = {"anna": 1e-3, "bert": 1e-2}
    ranks = {"anna": 2, "bert": 4}
    pair = [trial(kind, name, lr=rates[name], lora={**CHANGES[kind]["lora"], "rank": ranks[name]}) for name in rates]
    together, checkpoints = train(family, *pair)
    assert len(checkpoints) == 4
    for each in pair:
        alone, _ = train(family, Trial(each.name, each.config, each.dataset, each.folder / "alone"))
        assert losses(together[each.name]) == pytest.approx(losses(alone[each.name]), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_encoders_learn_at_their_own_rate(
    kind: str, loaded: Of, trial: Callable[..., Trial], plain: Callable[..., Trained]
) -> None:
    family = loaded(kind, "folder")
    _, still = train(family, trial(kind, text_encoder_lr=1e-12))
    trainings = {1e-12: still, 1e-2: plain(kind, "folder").checkpoints}
    found = {rate: read_lora(checkpoints[-1].path, family) for rate, checkpoints in trainings.items()}
    encoders = {name.split(".")[0] for name in found[1e-2] if name.startswith("text")}
    assert encoders == ({"text_encoder", "text_encoder_2"} if kind == "sdxl" else {"text_encoder"})
    for encoder in encoders:
        sizes = {
            rate: max(w.up.abs().max().item() for name, w in adapter.items() if name.startswith(f"{encoder}."))
            for rate, adapter in found.items()
        }
        assert sizes[1e-12] < 1e-9
        assert sizes[1e-2] > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_activations_give_the_same_training(
    kind: str, loaded: Of, trial: Callable[..., Trial], plain: Callable[..., Trained]
) -> None:
    kept, one = plain(kind, "folder"), trial(kind)
    assert not kept.trial.config.hardware.gradient_checkpointing
    one.config.hardware.gradient_checkpointing = True
    forgotten = train(loaded(kind, "folder"), one)[0]["anna"]
    assert kept.losses == pytest.approx(losses(forgotten), abs=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_follows_full_precision(
    kind: str, precision: str, trial: Callable[..., Trial], plain: Callable[..., Trained], file_of: Of, model_of: Of
) -> None:
    half = load_tiny_kind(kind, file_of(kind), precision=precision, config=str(model_of(kind)))
    full, one = plain(kind, "file", lr=1e-3), trial(kind, lr=1e-3)
    assert full.trial.config.hardware.precision == "fp32"
    one.config.hardware.precision = precision
    found = losses(train(half, one)[0]["anna"])
    assert found == pytest.approx(full.losses, rel=0.03)
    assert found != full.losses


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_an_offset_a_channel_and_nothing_else_of_the_step_changes(
    kind: str, loaded: Of, trial: Callable[..., Trial]
) -> None:
    latents = LatentCache(loaded(kind, "folder"))
    plain, offset = (micro_batch(trial(kind, noise_offset=size), latents, 1, 0) for size in (0.0, 0.1))
    change = offset.noise[0] - plain.noise[0]
    torch.testing.assert_close(change, change.mean((1, 2), keepdim=True).expand_as(change))
    assert 0.01 < change.mean((1, 2)).std() < 0.3
    assert torch.equal(plain.latents[0], offset.latents[0])
    assert plain.uniforms == offset.uniforms


def test_sdxl_is_told_how_a_photo_was_cropped(loaded: Of, trial: Callable[..., Trial]) -> None:
    rows = micro_batch(trial("sdxl"), LatentCache(loaded("sdxl", "folder")), 0, 0)
    assert rows.sizes == [(SIDE, SIDE, 0, 0, SIDE, SIDE)]
    assert loaded("sdxl", "folder").training_text({}, rows.sizes, [1.0])["sizes"].tolist() == [[32, 32, 0, 0, 32, 32]]


def test_a_file_that_changes_the_second_text_encoder_alone_is_drawn_with_it(loaded: Of, tmp_path: Path) -> None:
    family = loaded("sdxl", "folder")
    whole = stirred(initial_adapter(family, LoraConfig(rank=4, targets="linear", text_encoder=True), 0), 0, 0.5)
    adapter = {name: weights for name, weights in whole.items() if name.startswith("text_encoder_2.")}
    write_lora(tmp_path / "a.safetensors", adapter, family, {})
    base = Checkpoint(trial="a", step=0, epoch=0.0, path=None, sha256=None)
    file = Checkpoint(trial="a", step=1, epoch=0.0, path=tmp_path / "a.safetensors", sha256="")
    for checkpoint, place in ((base, "base"), (file, "file")):
        draw_checkpoint(family, checkpoint, sheet(), tmp_path / place)
    assert np.abs(pixels(tmp_path / "base") - pixels(tmp_path / "file")).max() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_changes_the_answer_of_the_model_it_is_put_on(
    kind: str, loaded: Of, plain: Callable[..., Trained]
) -> None:
    family = loaded(kind, "folder")
    last = plain(kind, "folder").checkpoints[-1]
    learnt = adapted(family, AdapterBank([read_lora(last.path, family)]))
    latents, timesteps, text = batch(family, 2)
    assert not torch.allclose(learnt.denoise(latents, timesteps, text), family.denoise(latents, timesteps, text))
