"""What the base model makes of photos and captions is made once."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import tiny_run

from lorasweep.config.schema import HardwareConfig, PromptConfig
from lorasweep.data.records import Dataset, Step
from lorasweep.train.cache import LatentCache, TextCache, cache_folder
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial


def test_a_photo_is_encoded_once_and_found_again_on_disk(
    family: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = dataset.train[0]
    mean, std = LatentCache(family, tmp_path)(photo, (32, 32))
    assert mean.shape == (4, 8, 8)
    assert (std > 0).all()

    def never(self: Any, pictures: torch.Tensor) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(type(family), "encode_pictures", never)
    again = LatentCache(family, tmp_path)(photo, (32, 32))
    assert torch.equal(again[0], mean)
    assert torch.equal(again[1], std)


def test_photos_sizes_and_damage_do_not_mix(family: Any, dataset: Dataset, tmp_path: Path) -> None:
    cache = LatentCache(family, tmp_path)
    first, second = (cache(photo, (32, 32))[0] for photo in dataset.train[:2])
    assert not torch.equal(first, second)
    assert cache(dataset.train[0], (16, 16))[0].shape == (4, 4, 4)
    for path in tmp_path.iterdir():
        path.write_bytes(b"broken")
    assert torch.equal(LatentCache(family, tmp_path)(dataset.train[0], (32, 32))[0], first)


def test_a_prompts_embedding_does_not_depend_on_its_neighbours(family: Any) -> None:
    cache = TextCache(family)
    together = cache(["a hat", "", "a long coat"], 0)["states"]
    assert torch.equal(together[1:2], TextCache(family)([""], 0)["states"])
    assert torch.equal(together[:1], family.encode_prompts(["a hat"])["states"])
    assert not torch.equal(cache(["a hat"], 1)["states"], together[:1])


def test_a_prompt_is_encoded_once_and_found_again_on_disk(
    family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = TextCache(family, tmp_path)(["a hat", ""], 1)
    assert torch.equal(first["states"], TextCache(family)(["a hat", ""], 1)["states"])
    real = type(family).encode_prompts

    def never(self: Any, texts: Any, clip_skip: int = 0) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(type(family), "encode_prompts", never)
    assert torch.equal(TextCache(family, tmp_path)(["a hat", ""], 1)["states"], first["states"])
    with pytest.raises(AssertionError, match="encoded again"):
        TextCache(family, tmp_path)(["a hat"], 0)
    other = dataclasses.replace(family, hashes={**family.hashes, "kept": "fp8"})
    with pytest.raises(AssertionError, match="encoded again"):  # of another model
        TextCache(other, tmp_path)(["a hat"], 1)
    with pytest.raises(AssertionError, match="encoded again"):  # in another precision
        TextCache(dataclasses.replace(family, dtype=torch.bfloat16), tmp_path)(["a hat"], 1)
    monkeypatch.setattr(type(family), "encode_prompts", real)
    for path in tmp_path.iterdir():
        path.write_bytes(b"broken")
    assert torch.equal(TextCache(family, tmp_path)(["a hat", ""], 1)["states"], first["states"])


def test_what_is_encoded_ahead_and_kept_on_disk_trains_the_same_without_the_encoders(
    family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[float]] = []
    for name, hardware in (("plain", {}), ("ahead", {"cache": "disk", "unload_encoders": True})):
        run = tiny_run(model_folder, steps=4, count=1)
        run.hardware = HardwareConfig(device="cpu", **hardware)
        run.track.root = str(tmp_path / name)
        run.sample.prompts = {"p1": PromptConfig(text="{trigger} in a hat", negative="blurry")}
        cohort = Cohort(family, 1, cache_folder=cache_folder(run))
        cohort.admit(Trial(name, run, dataset, tmp_path / name))
        if hardware:
            for method in ("encode_prompts", "encode_pictures"):
                monkeypatch.setattr(type(family), method, lambda *_: pytest.fail("encoded while it trains"))
            cohort.texts(["s1lv10 in a hat", "blurry", ""], 0)
        steps: list[Step] = []
        while cohort.busy:
            cohort.run_interval(steps.append)
        found.append([step.loss for step in steps])
    assert found[0] == found[1]
    assert not (tmp_path / "plain" / "cache").exists()
