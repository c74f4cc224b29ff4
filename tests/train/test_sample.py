"""Sheets of pictures: the same noise every time, from the file that was written, and training never notices."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.family import stirred
from contracts.tiny import SIDE, tiny_run
from PIL import Image

from lorasweep.config.schema import LoraConfig, SampleConfig
from lorasweep.data.atomic import DAY
from lorasweep.models.lora.file import write_lora
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.records import Checkpoint, Dataset, Prompt, Step
from lorasweep.train.cohort import Cohort
from lorasweep.train.sample import Sheet, draw_adapter, draw_checkpoint, draw_checkpoints
from lorasweep.train.trial import Trial


def prompt(key: str, text: str) -> Prompt:
    return Prompt(key=key, text=text, negative="", score_text=text, face=True, subject=True, photo=True)


def sheet(**look: Any) -> Sheet:
    """Two prompts, two seeds, batches of three."""
    settings = SampleConfig(**{"steps": 2, "guidance": 3.0, "batch_size": 3, **look})
    prompts = (prompt("plain", "s1lv10 person"), prompt("hat", "s1lv10 person in a hat"))
    return Sheet(prompts=prompts, seeds=(0, 1), look=settings, resolution=SIDE)


@pytest.fixture
def checkpoint(family: Any, tmp_path: Path) -> Any:
    """Makes checkpoints: checkpoint(step) holds an adapter of its own."""

    def make(step: int) -> Checkpoint:
        path = tmp_path / f"anna-{step}.safetensors"
        adapter = stirred(initial_adapter(family, LoraConfig(rank=4), 0), step, 0.3)
        return Checkpoint(trial="anna", step=step, epoch=1.0, path=path, sha256=write_lora(path, adapter, family, {}))

    return make


BASE = Checkpoint(trial="anna", step=0, epoch=0.0, path=None, sha256=None)


def pixels(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]).astype(int)


def test_a_sheet_is_prompt_major_and_lies_under_its_step(family: Any, checkpoint: Any, tmp_path: Path) -> None:
    drawn = draw_checkpoint(family, checkpoint(100), sheet(), tmp_path / "samples")
    assert [(s.prompt, s.seed) for s in drawn.samples] == [("plain", 0), ("plain", 1), ("hat", 0), ("hat", 1)]
    assert drawn.samples[2].path == tmp_path / "samples" / "step-000100" / "hat-0.png"
    assert (drawn.trial, drawn.step, drawn.fresh) == ("anna", 100, False)
    assert Image.open(drawn.samples[0].path).size == (SIDE, SIDE)
    assert len({s.sha256 for s in drawn.samples}) == 4


def test_drawing_again_keeps_what_is_there_and_fills_in_what_is_missing(
    family: Any, checkpoint: Any, tmp_path: Path
) -> None:
    first = draw_checkpoint(family, checkpoint(100), sheet(), tmp_path)
    kept, lost = first.samples[0].path, first.samples[1].path
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    (lost.parent / f".{lost.name}.1.tmp").write_bytes(b"half")
    again = draw_checkpoint(family, checkpoint(100), sheet(), tmp_path)
    assert again == first
    assert kept.stat().st_mtime_ns == stamp
    assert not list(lost.parent.glob(".*"))


@pytest.mark.parametrize(("adapters", "most"), [(1, 3), (2, 2), (4, 4)])
def test_no_more_pictures_are_drawn_at_once_than_asked_for_but_one_of_each_adapter(
    adapters: int, most: int, family: Any, checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = type(family).draw

    def counted(self: Any, text: Any, negative: Any, noise: torch.Tensor, *rest: Any) -> torch.Tensor:
        drawn.append(len(noise))
        return draw(self, text, negative, noise, *rest)

    monkeypatch.setattr(type(family), "draw", counted)
    checkpoints = [checkpoint(step) for step in range(1, adapters + 1)]
    draw_checkpoints(family, checkpoints, sheet(), [tmp_path / str(c.step) for c in checkpoints])
    assert max(drawn) == most
    assert sum(drawn) == 4 * adapters


def test_the_lora_and_its_strength_change_the_picture_and_zero_strength_is_the_base(
    family: Any, checkpoint: Any, tmp_path: Path
) -> None:
    draw_checkpoint(family, BASE, sheet(), tmp_path / "base")
    base = pixels(tmp_path / "base" / "step-000000")
    for strength in (0.0, 0.5, 1.0):
        draw_checkpoint(family, checkpoint(7), sheet(strength=strength), tmp_path / str(strength))
    none, half, full = (pixels(tmp_path / str(strength) / "step-000007") for strength in (0.0, 0.5, 1.0))
    assert np.abs(none - base).max() <= 1
    assert 0 < np.abs(half - base).mean() < np.abs(full - base).mean()


def test_checkpoints_drawn_together_are_what_each_is_alone(family: Any, checkpoint: Any, tmp_path: Path) -> None:
    checkpoints = [checkpoint(1), checkpoint(2)]
    together = draw_checkpoints(family, checkpoints, sheet(), [tmp_path / "a", tmp_path / "b"])
    assert [drawn.step for drawn in together] == [1, 2]
    for one, place in zip(checkpoints, ("a", "b"), strict=True):
        name = f"step-{one.step:06d}"
        draw_checkpoint(family, one, sheet(), tmp_path / "alone")
        assert np.abs(pixels(tmp_path / place / name) - pixels(tmp_path / "alone" / name)).max() <= 1


def test_the_base_sheet_is_drawn_once_for_all_runs_and_anew_for_other_settings(
    family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = draw_checkpoint(family, BASE, sheet(), tmp_path / "one", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1

    def never(*args: Any) -> None:
        raise AssertionError("drawn again")

    with monkeypatch.context() as patched:
        patched.setattr("lorasweep.train.sample._draw_chunk", never)
        second = draw_checkpoint(family, BASE, sheet(), tmp_path / "two", tmp_path / "cache")
    assert [s.sha256 for s in first.samples] == [s.sha256 for s in second.samples]
    assert second.samples[0].path.is_relative_to(tmp_path / "two")
    draw_checkpoint(family, BASE, sheet(guidance=2.0), tmp_path / "three", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_another_worker_is_writing_into_a_shared_sheet_is_left_alone(family: Any, tmp_path: Path) -> None:
    draw_checkpoint(family, BASE, sheet(), tmp_path / "one", tmp_path / "cache")
    (shared,) = (tmp_path / "cache").iterdir()
    live, dead = shared / ".p-0.png.0123456789abcdef.tmp", shared / ".p-1.png.0123456789abcdef.tmp"
    for temporary in (live, dead):
        temporary.write_bytes(b"half a picture")
    yesterday = time.time() - DAY - 60
    os.utime(dead, (yesterday, yesterday))
    draw_checkpoint(family, BASE, sheet(), tmp_path / "two", tmp_path / "cache")
    assert live.is_file()
    assert not dead.exists()


def test_drawing_does_not_disturb_training(family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    found = []
    for drawing in (False, True):
        cohort = Cohort(family, 1)
        cohort.admit(Trial("anna", tiny_run(model_folder, steps=4), dataset, tmp_path / str(drawing)))
        losses: list[float] = []
        while cohort.busy:
            for event in cohort.run_interval(lambda step, losses=losses: losses.append(step.loss)):
                if drawing:
                    assert isinstance(event, Checkpoint)
                    draw_checkpoint(family, event, sheet(sampler="euler_a"), tmp_path / "samples")
                    torch.rand(3)
        found.append(losses)
    assert found[0] == found[1]


def test_an_adapter_in_memory_draws_what_its_file_draws(family: Any, checkpoint: Any, tmp_path: Path) -> None:
    adapter = stirred(initial_adapter(family, LoraConfig(rank=4), 0), 5, 0.3)
    taken = Step(trial="anna", step=5, epoch=0, loss=0.1, lr=1e-3, effective_lr=1e-3, grad_norm=1.0)
    in_memory = draw_adapter(family, adapter, taken, sheet(), tmp_path / "memory")
    from_file = draw_checkpoint(family, checkpoint(5), sheet(), tmp_path / "file")
    assert [s.sha256 for s in in_memory.samples] == [s.sha256 for s in from_file.samples]
    assert (in_memory.trial, in_memory.step, in_memory.fresh) == ("anna", 5, False)
