"""What the base model makes of photos and captions is made once."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lorasweep.data.records import Dataset
from lorasweep.train.cache import LatentCache, TextCache


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
