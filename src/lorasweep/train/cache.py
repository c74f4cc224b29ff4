"""What the frozen base model makes of photos and captions, made once.

A photo is kept as the mean and standard deviation of its latents and sampled anew at every step: keeping one sample
would lose the encoder's own randomness.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lorasweep.data.atomic import write_atomically
from lorasweep.data.pictures import load_pixels
from lorasweep.data.records import Photo
from lorasweep.models.family import Family, Text
from lorasweep.models.lora_header import safetensors_bytes
from lorasweep.train.order import Bucket

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig


def cache_folder(run: "RunConfig") -> Path | None:
    """Where a run keeps what the encoders made; None is in memory. Runs under one root share it."""
    return Path(run.track.root) / "cache" if run.hardware.cache == "disk" else None


class LatentCache:
    """Photo and size to mean and standard deviation, each [c, h, w] on the family's device.

    Entries are keyed by content: the photo's sha256, the size and the base model. Each photo is encoded alone, so
    that its latents do not depend on what was encoded beside it.
    """

    def __init__(self, family: Family, folder: Path | None = None) -> None:
        self._family = family
        self._store = _Store(family.device, folder)

    def __call__(self, photo: Photo, bucket: Bucket) -> tuple[Tensor, Tensor]:
        key = hashlib.sha256(f"{photo.sha256}/{bucket}/{self._family.model_hash}".encode()).hexdigest()
        found = self._store.get(key, lambda: self._encoded(photo, bucket))
        return found["mean"], found["std"]

    def _encoded(self, photo: Photo, bucket: Bucket) -> Mapping[str, Tensor]:
        pixels = torch.tensor(load_pixels(photo.path, *bucket)).permute(2, 0, 1)
        mean, std = self._family.encode_pictures(pixels[None].float() / 127.5 - 1)
        return {"mean": mean[0], "std": std[0]}


class TextCache:
    """Prompts to text embeddings of the bare base model, keyed by content as in ``LatentCache``."""

    def __init__(self, family: Family, folder: Path | None = None) -> None:
        self._family = family
        self._store = _Store(family.device, folder)

    def __call__(self, texts: Sequence[str], clip_skip: int) -> Text:
        """One row a prompt. Each prompt is encoded alone."""
        rows = [self._row(text, clip_skip) for text in texts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _row(self, text: str, clip_skip: int) -> Text:
        content = json.dumps([text, clip_skip, self._family.model_hash, str(self._family.dtype)])
        return self._store.get(hashlib.sha256(content.encode()).hexdigest(), lambda: self._encoded(text, clip_skip))

    @torch.no_grad()
    def _encoded(self, text: str, clip_skip: int) -> Text:
        return self._family.encode_prompts([text], clip_skip)


class _Store:
    """Named tensors by key, made once: in memory, or in a folder, from where every call reads its own anew."""

    def __init__(self, device: torch.device, folder: Path | None) -> None:
        self._device = device
        self._folder = folder
        self._memory: dict[str, Mapping[str, Tensor]] = {}

    def get(self, key: str, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        if self._folder is None:
            if key not in self._memory:
                self._memory[key] = make()
            return self._memory[key]
        path = self._folder / f"{key}.safetensors"
        return self._read(path) or self._write(path, make())

    def _write(self, path: Path, made: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in made.items()}
        write_atomically(path, safetensors_bytes(tensors, {}))
        return made

    def _read(self, path: Path) -> Mapping[str, Tensor] | None:
        if not path.is_file():
            return None
        try:
            return {name: tensor.to(self._device) for name, tensor in load(path.read_bytes()).items()}
        except SafetensorError:  # damaged: it is made anew
            return None
