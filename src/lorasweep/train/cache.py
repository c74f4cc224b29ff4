"""What the frozen base model makes of photos and captions, made once.

A photo is kept as the mean and standard deviation of its latents and sampled anew at every step: keeping one sample
would lose the encoder's own randomness.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

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


class LatentCache:
    """Photo and size to mean and standard deviation, each [c, h, w] on the family's device.

    Entries are keyed by content: the photo's sha256, the size and the base model. Each photo is encoded alone, so
    that its latents do not depend on what was encoded beside it.
    """

    def __init__(self, family: Family, folder: Path | None = None) -> None:
        self._family = family
        self._folder = folder
        self._memory: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, photo: Photo, bucket: Bucket) -> tuple[Tensor, Tensor]:
        key = hashlib.sha256(f"{photo.sha256}/{bucket}/{self._family.model_hash}".encode()).hexdigest()
        if key not in self._memory:
            self._memory[key] = self._from_disk(key) or self._encoded(key, photo, bucket)
        return self._memory[key]

    def _encoded(self, key: str, photo: Photo, bucket: Bucket) -> tuple[Tensor, Tensor]:
        pixels = torch.tensor(load_pixels(photo.path, *bucket)).permute(2, 0, 1)
        mean, std = self._family.encode_pictures(pixels[None].float() / 127.5 - 1)
        if self._folder is not None:
            tensors = {"mean": mean[0].cpu().contiguous(), "std": std[0].cpu().contiguous()}
            write_atomically(self._folder / f"{key}.safetensors", safetensors_bytes(tensors, {}))
        return mean[0], std[0]

    def _from_disk(self, key: str) -> tuple[Tensor, Tensor] | None:
        path = self._folder / f"{key}.safetensors" if self._folder else None
        if path is None or not path.is_file():
            return None
        try:
            tensors = load(path.read_bytes())
            return tensors["mean"].to(self._family.device), tensors["std"].to(self._family.device)
        except (SafetensorError, KeyError):  # damaged: it is made anew
            return None


class TextCache:
    """Prompts to text embeddings of the bare base model."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._memory: dict[tuple[str, int], Text] = {}

    def __call__(self, texts: Sequence[str], clip_skip: int) -> Text:
        """One row a prompt. Each prompt is encoded alone, as in ``LatentCache``."""
        for text in texts:
            if (text, clip_skip) not in self._memory:
                with torch.no_grad():
                    self._memory[text, clip_skip] = self._family.encode_prompts([text], clip_skip)
        rows = [self._memory[text, clip_skip] for text in texts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
