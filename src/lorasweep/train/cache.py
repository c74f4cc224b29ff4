"""What the frozen base model makes of photos and captions, made once."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lorasweep.data.atomic import DAY, sweep_temporaries, write_atomically
from lorasweep.data.buckets import Placement
from lorasweep.data.hashes import read_unchanged
from lorasweep.data.masks import load_mask, mask_weights, require_some
from lorasweep.data.pictures import decode_picture, placed
from lorasweep.models.autoencoder import encode, latent_shape
from lorasweep.models.family import Family, Text, model_hash
from lorasweep.models.lora.header import safetensors_bytes
from lorasweep.records import Photo

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig
    from lorasweep.config.schema import RunConfig


def cache_folder(run: "RunConfig") -> Path | None:
    """Return where a run keeps what the encoders made; None is in memory. Runs under one root share it."""
    return Path(run.track.root) / "cache" if run.hardware.cache == "disk" else None


class LatentCache:
    """Photo and how it is placed to mean and standard deviation of its latents, each [c, h, w] on the family's device.

    Entries are keyed by content: the photo's sha256, its placement, whether it is mirrored, and the base model. A file
    that was edited after it was read raises UserError.
    """

    def __init__(self, family: Family, folder: Path | None = None) -> None:
        self._family = family
        self._store = _Store(family.device, folder)

    def __call__(self, photo: Photo, placement: Placement, *, mirrored: bool = False) -> tuple[Tensor, Tensor]:
        # mean and deviation, sampled anew at every step: one sample would lose the encoder's own randomness
        parts = ("latents", photo.sha256, placement, mirrored, model_hash(self._family))
        found = self._store.get(_key(*parts), lambda: self._encoded(photo, placement, mirrored))
        return found["mean"], found["std"]

    def mask(self, photo: Photo, placement: Placement, data: "DataConfig", *, mirrored: bool = False) -> Tensor | None:
        """Return how much each latent counts, [h, w] in fp32 from ``data.mask_floor`` to 1; None if all count alike."""
        if data.masks == "off" or (data.masks == "files" and photo.mask is None):
            return None
        shape = latent_shape(self._family.vae, *placement.bucket)
        source = photo.sha256 if data.masks == "alpha" else photo.mask_sha256
        # an entry of its own: runs with and without masks share the latents
        parts = ("mask", data.masks, source, placement, mirrored, data.mask_floor, shape)
        return self._store.get(_key(*parts), lambda: self._masked(photo, placement, data, mirrored))["mask"]

    def _encoded(self, photo: Photo, placement: Placement, mirrored: bool) -> Mapping[str, Tensor]:
        picture = placed(decode_picture(photo.path, read_unchanged(photo.path, photo.sha256)), placement)
        pixels = torch.tensor(np.asarray(picture)).permute(2, 0, 1)
        pixels = pixels.flip(2) if mirrored else pixels  # not the latents: an encoder does not see both sides alike
        mean, std = encode(self._family.vae, pixels[None].float() / 127.5 - 1)
        return {"mean": mean[0], "std": std[0]}

    def _masked(self, photo: Photo, placement: Placement, data: "DataConfig", mirrored: bool) -> Mapping[str, Tensor]:
        _, rows, columns = latent_shape(self._family.vae, *placement.bucket)
        weights = mask_weights(load_mask(photo, data.masks), placement, columns, rows, data.mask_floor)
        require_some(weights, photo, placement)
        mask = torch.tensor(weights, dtype=torch.float32, device=self._family.device)
        return {"mask": mask.flip(1) if mirrored else mask}


class TextCache:
    """Prompts to text embeddings of the bare base model, keyed by content as in ``LatentCache``."""

    def __init__(self, family: Family, folder: Path | None = None) -> None:
        self._family = family
        self._store = _Store(family.device, folder)

    def __call__(self, texts: Sequence[str], clip_skip: int) -> Text:
        """Return one row a prompt."""
        # each alone: rounding depends on the batch, and an embedding must not depend on its neighbours
        rows = [self._row(text, clip_skip) for text in texts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _row(self, text: str, clip_skip: int) -> Text:
        content = json.dumps([text, clip_skip, model_hash(self._family), str(self._family.dtype)])
        return self._store.get(hashlib.sha256(content.encode()).hexdigest(), lambda: self._encoded(text, clip_skip))

    @torch.no_grad()
    def _encoded(self, text: str, clip_skip: int) -> Text:
        return self._family.encode_prompts([text], clip_skip)


def _key(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


class _Store:
    """Named tensors by key, made once: in memory, or in a folder that every call reads anew."""

    def __init__(self, device: torch.device, folder: Path | None) -> None:
        self._device = device
        self._folder = folder
        self._memory: dict[str, Mapping[str, Tensor]] = {}
        if folder is not None:  # other runs write there at the same time
            sweep_temporaries(folder, older_than=DAY)

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
        except SafetensorError:  # damaged: made anew
            return None
