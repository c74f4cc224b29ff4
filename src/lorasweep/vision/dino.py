"""DINOv2 (Oquab et al. 2023, arXiv 2304.07193): an image to one vector that tells things of one kind apart.

The vector is of the whole image, so the background counts too: it says more if photos and samples show the subject
large, and samples of new scenes never reach the likeness of the photos among themselves.
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
from lorasweep.vision.embedder import checked_sha256, first_sentence, require_whole, unit

# DreamBooth (Ruiz et al. 2022, arXiv 2208.12242, §4.1) prefers DINO to CLIP for this: CLIP learned from captions, and a
# caption calls two yellow clocks the same.
DEFAULT = ("facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415")
"""Hub id and commit of the default weights."""
KEY = "evaluate.image_weights"
CONFIG, LOOKING, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
# no other class is loaded, and no code that comes with weights
KINDS = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
"""transformers' class by ``model_type``."""
WHAT = f"a DINOv2 folder for transformers with {CONFIG}, {LOOKING} and {WEIGHTS}, or a hub id such as {DEFAULT[0]}"
BATCH = 32
"""Images that are embedded at once."""


class Dino:
    """A DINOv2 and its image processor, which resizes and crops as the weights expect."""

    def __init__(
        self,
        weights: str | None = None,
        revision: str | None = None,
        sha256: str | None = None,
        device: str = "cpu",
    ) -> None:
        """Load the model in fp32.

        Args:
            weights: a local folder or a hub id; None is ``DEFAULT``.
            revision: the commit of a hub id.
            sha256: of the weights file; None accepts any.

        Raises:
            UserError: the folder is not there, is no DINOv2, holds a pickle or not all weights, or has another hash.
            TryAgainError: the hub does not answer.
        """
        folder = _folder(weights, revision)
        found = checked_sha256(folder / WEIGHTS, sha256, KEY)
        self._prepare, self._model = _load(folder)
        self._model, self._device = self._model.to(device), device
        # how images are cropped changes the vectors as much as the weights do
        parts = [found, *(file_sha256(folder / name) for name in (CONFIG, LOOKING))]
        self.sha256 = hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Pixels]) -> Floats:
        """Return [N, D] unit vectors of N images, [H, W, 3] uint8: the class token after the last layer norm."""
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = [Image.fromarray(picture) for picture in pictures[start : start + BATCH]]
            given = self._prepare(images=batch, return_tensors="pt")["pixel_values"].to(self._device)
            parts.append(self._model(pixel_values=given).last_hidden_state[:, 0].float().cpu().numpy())
        return unit(np.concatenate(parts)) if parts else np.zeros((0, self._model.config.hidden_size))


def _folder(weights: str | None, revision: str | None) -> Path:
    """Return the folder of the three files on this disk, fetched from the hub if ``weights`` is an id."""
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
