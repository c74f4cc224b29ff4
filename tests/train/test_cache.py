"""What the base model makes of photos and captions is made once."""

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import tiny_run
from PIL import Image

from lorasweep.config.schema import HardwareConfig, PromptConfig
from lorasweep.data.atomic import DAY
from lorasweep.data.buckets import square_placement
from lorasweep.data.hashes import file_sha256
from lorasweep.errors import UserError
from lorasweep.records import Dataset, Step
from lorasweep.train import cache as cache_module
from lorasweep.train.cache import LatentCache, TextCache, cache_folder
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial

SQUARE = square_placement((32, 32), 32)


def test_a_photo_is_encoded_once_and_found_again_on_disk(
    family: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = dataset.train[0]
    mean, std = LatentCache(family, tmp_path)(photo, SQUARE)
    assert mean.shape == (4, 8, 8)
    assert (std > 0).all()

    monkeypatch.setattr(cache_module, "encode", never)
    again = LatentCache(family, tmp_path)(photo, SQUARE)
    assert torch.equal(again[0], mean)
    assert torch.equal(again[1], std)


def test_photos_sizes_and_damage_do_not_mix(family: Any, dataset: Dataset, tmp_path: Path) -> None:
    cache = LatentCache(family, tmp_path)
    first, second = (cache(photo, SQUARE)[0] for photo in dataset.train[:2])
    assert not torch.equal(first, second)
    assert cache(dataset.train[0], square_placement((32, 32), 16))[0].shape == (4, 4, 4)
    for path in tmp_path.iterdir():
        path.write_bytes(b"broken")
    assert torch.equal(LatentCache(family, tmp_path)(dataset.train[0], SQUARE)[0], first)


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
            for owner, encoder in ((type(family), "encode_prompts"), (cache_module, "encode")):
                monkeypatch.setattr(owner, encoder, lambda *_: pytest.fail("encoded while it trains"))
            cohort.texts(["s1lv10 in a hat", "blurry", ""], 0)
        steps: list[Step] = []
        while cohort.busy:
            cohort.run_interval(steps.append)
        found.append([step.loss for step in steps])
    assert found[0] == found[1]
    assert not (tmp_path / "plain" / "cache").exists()


def never(vae: Any, images: torch.Tensor) -> None:
    raise AssertionError("encoded again")


def test_latents_are_kept_apart_by_photo_place_mirror_image_and_model(
    family: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, cache = dataset.train[0], LatentCache(family, tmp_path)
    cache(photo, SQUARE)
    monkeypatch.setattr(cache_module, "encode", never)
    cache(photo, SQUARE)
    moved = dataclasses.replace(photo, path=tmp_path / "elsewhere.png", caption="c", repeats=9)
    cache(moved, SQUARE)  # found by content: the file need not be there
    others: list[tuple[Any, Any, Any, bool]] = [
        (family, dataset.train[1], SQUARE, False),
        (family, photo, SQUARE, True),
        (family, photo, dataclasses.replace(SQUARE, resized=(40, 32)), False),
        (family, photo, dataclasses.replace(SQUARE, bucket=(16, 32)), False),
        (dataclasses.replace(family, hashes={**family.hashes, "vae": "another"}), photo, SQUARE, False),
    ]
    for model, picture, placement, mirrored in others:
        with pytest.raises(AssertionError, match="encoded again"):
            LatentCache(model, tmp_path)(picture, placement, mirrored=mirrored)


def test_a_photo_that_was_edited_after_it_was_read_is_not_kept_under_its_old_hash(
    family: Any, dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(dataset.train[1].path.read_bytes())
    stale = dataclasses.replace(dataset.train[0], path=path)
    with pytest.raises(UserError, match=r"0\.png was changed after the run began; start a new run, or put the file"):
        LatentCache(family, tmp_path / "cache")(stale, SQUARE)
    assert not (tmp_path / "cache").exists()


def test_a_file_cut_short_anywhere_is_made_anew(
    family: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = dataset.train[0]
    mean, std = LatentCache(family, tmp_path)(photo, SQUARE)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    monkeypatch.setattr(cache_module, "encode", lambda *_: (mean[None] + 1, std[None]))
    for length in {0, 1, 7, 8, 9, 60, *range(0, len(whole), 131), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert torch.equal(LatentCache(family, tmp_path)(photo, SQUARE)[0], mean + 1), length
    path.write_bytes(whole)
    assert torch.equal(LatentCache(family, tmp_path)(photo, SQUARE)[0], mean)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_read(
    family: Any, dataset: Dataset, tmp_path: Path
) -> None:
    """At the moment when all bytes are written and none is forced to disk yet."""
    photo = dataset.train[0]
    child = os.fork()
    if child == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        LatentCache(family, tmp_path)(photo, SQUARE)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    left.write_bytes(b"broken")
    mean = LatentCache(family)(photo, SQUARE)[0]
    assert torch.equal(LatentCache(family, tmp_path)(photo, SQUARE)[0], mean)


def test_a_run_sweeps_what_a_killed_one_left_in_the_shared_folder(family: Any, tmp_path: Path) -> None:
    for name, age in ((".old.1.tmp", DAY + 60), (".live.2.tmp", 0.0)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    LatentCache(family, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".live.2.tmp"]


def test_a_mask_is_kept_by_its_content_and_its_floor(family: Any, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.new("L", (32, 32), 255).save(path)
    photo = dataclasses.replace(dataset.train[0], mask=path, mask_sha256=file_sha256(path))
    data = tiny_run(tmp_path).data
    cache = LatentCache(family, tmp_path / "cache")
    assert cache.mask(photo, SQUARE, data) is None
    files = dataclasses.replace(data, masks="files")
    assert cache.mask(dataset.train[0], SQUARE, files) is None
    mask = cache.mask(photo, SQUARE, files)
    assert mask is not None
    assert (mask.shape, mask.min()) == ((8, 8), 1.0)
    path.unlink()
    again = LatentCache(family, tmp_path / "cache").mask(photo, SQUARE, files)
    assert again is not None
    assert torch.equal(again, mask)
    with pytest.raises(FileNotFoundError):  # another floor is made anew
        cache.mask(photo, SQUARE, dataclasses.replace(files, mask_floor=0.5))
    assert cache.mask(photo, SQUARE, dataclasses.replace(data, masks="alpha")) is not None  # of the photo itself
