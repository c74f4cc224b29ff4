"""DINOv2 (Oquab et al. 2023, arXiv 2304.07193): a picture to one vector that knows things apart within their kind.

DreamBooth (Ruiz et al. 2022, arXiv 2208.12242, §4.1) prefers DINO to CLIP for this: CLIP was taught by words, and
words hold two yellow clocks for the same. The vector is of the whole picture, so that the background counts too: it
says more where photos and samples show the subject large, and a sheet of new scenes never reaches the photos' own
likeness whole.
"""

import hashlib
from collections.abc import Sequence
from logging import CRITICAL
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lorasweep.data.hashes import file_sha256
from lorasweep.data.hub import HUB_ID, fetch_folder
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats
from lorasweep.vision.embedder import unit
from lorasweep.vision.weights import checked_sha256, first_sentence, require_whole

DEFAULT = ("facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415")
"""Hub id and commit."""
KEY = "evaluate.image_weights"
CONFIG, LOOKING, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
KINDS = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
"""transformers' classes by ``model_type``. No other class is loaded, and no code that comes with weights."""
WHAT = f"a DINOv2 folder for transformers with {CONFIG}, {LOOKING} and {WEIGHTS}, or a hub id such as {DEFAULT[0]}"
BATCH = 32


class Dino:
    """One DINOv2 and how it wants pictures cut and scaled."""

    def __init__(
        self,
        weights: str | None = None,
        revision: str | None = None,
        sha256: str | None = None,
        device: str = "cpu",
    ) -> None:
        """``weights`` is a local folder or a hub id, pinned by ``revision``; None is ``DEFAULT``.

        Raises:
            UserError: it is not there, no DINOv2, a pickle, not whole, or has another hash than ``sha256``.
            TryAgainError: the hub does not answer.
        """
        folder = _folder(weights, revision)
        found = checked_sha256(folder / WEIGHTS, sha256, KEY)
        self._prepare, self._model = _load(folder)
        self._model, self._device = self._model.to(device), device
        parts = [found, *(file_sha256(folder / name) for name in (CONFIG, LOOKING))]
        self.sha256 = hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Pixels]) -> Floats:
        """[N, D] unit vectors of [H, W, 3] uint8 pictures: the class token behind the last layer norm."""
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = [Image.fromarray(picture) for picture in pictures[start : start + BATCH]]
            given = self._prepare(images=batch, return_tensors="pt")["pixel_values"].to(self._device)
            parts.append(self._model(pixel_values=given).last_hidden_state[:, 0].float().cpu().numpy())
        return unit(np.concatenate(parts)) if parts else np.zeros((0, self._model.config.hidden_size))


def _folder(weights: str | None, revision: str | None) -> Path:
    """Where the three files lie on this disk, fetched from the hub where ``weights`` is an id."""
    name, revision = (DEFAULT[0], revision or DEFAULT[1]) if weights in (None, DEFAULT[0]) else (str(weights), revision)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.exists() or not HUB_ID.fullmatch(name):
            raise UserError(f"{KEY} is {name!r}, which is no folder here; it must be {WHAT}.")
        if revision is None:
            raise UserError(f"{KEY} is {name!r}; pin a hub id with evaluate.image_revision=COMMIT, or name a folder.")
        try:
            folder = fetch_folder(name, revision, (CONFIG, LOOKING, WEIGHTS), key=KEY, offline=False)
        except UserError as error:
            raise UserError(f"{error} evaluate.image=clip needs no weights of its own.") from error
    missing = [file for file in (CONFIG, LOOKING, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{KEY} is {name!r}, which lacks {', '.join(missing)}; it must be {WHAT}.")
    return folder


def _load(folder: Path) -> tuple[Any, Any]:
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity(CRITICAL)  # what it would say is in our one sentence
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.model_type not in KINDS:
            raise ValueError(f"its model_type is {config.model_type}")
        prepare = transformers.BitImageProcessor.from_pretrained(folder, local_files_only=True)
        kind: Any = getattr(transformers, KINDS[config.model_type])
        model, found = kind.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
        require_whole(model, found)
    except Exception as error:  # OSError, ValueError, KeyError, SafetensorError, JSON's own
        why = first_sentence(error)
        raise UserError(f"{KEY} is {str(folder)!r}, which cannot be read ({why}); it must be {WHAT}.") from error
    return prepare, model.eval().requires_grad_(False)
