"""Images and texts in one space, through open_clip (Radford et al. 2021, arXiv 2103.00020)."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lorasweep.data.hashes import file_sha256
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats
from lorasweep.vision.embedder import checked_sha256, unit

LOCAL = "local-dir:"
"""open_clip's own prefix for a model folder on this disk."""
BATCH = 32
"""Images that are embedded at once."""


class Clip:
    """An open_clip model and its tokenizer."""

    def __init__(self, model: str, weights: str | None = None, sha256: str | None = None, device: str = "cpu") -> None:
        """Load the model in fp32.

        Args:
            model: an open_clip name, or ``local-dir:DIR``.
            weights: a pretrained tag or a local file; not needed for a folder.
            sha256: of the weights file; None accepts any.

        Raises:
            UserError: the model is unknown, or its weights are not there or have another hash.
        """
        import open_clip

        if not model.startswith(LOCAL) and not weights:
            raise UserError(f"evaluate.clip_weights is null; {model} needs a pretrained tag or a local file.")
        path = None if model.startswith(LOCAL) else _weights_file(open_clip, model, str(weights))
        try:
            with _quiet():
                parts: Any = open_clip.create_model_and_transforms(model, pretrained=path and str(path), device=device)
                self._tokenizer: Any = open_clip.get_tokenizer(model)
        except Exception as error:  # open_clip raises RuntimeError, ValueError, OSError, KeyError, FileNotFoundError
            raise UserError(f"evaluate.clip is {model!r}, which cannot be loaded ({error}).") from error
        self._model, self._prepare, self._device = parts[0].eval().requires_grad_(False), parts[2], device
        self.sha256 = checked_sha256(path, sha256, "evaluate.clip_weights") if path else _folder_sha256(model)

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Pixels]) -> Floats:
        """Return [N, E] unit vectors of N images, [H, W, 3] uint8."""
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = [self._prepare(Image.fromarray(picture)) for picture in pictures[start : start + BATCH]]
            parts.append(self._model.encode_image(torch.stack(batch).to(self._device)).float().cpu().numpy())
        return unit(np.concatenate(parts)) if parts else np.zeros((0, 1))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Floats:
        """Return [P, E] unit vectors of P texts; what CLIP's 77 tokens do not hold is cut off."""
        tokens = self._tokenizer(list(texts)).to(self._device)
        return unit(self._model.encode_text(tokens).float().cpu().numpy())


def _weights_file(open_clip: Any, model: str, weights: str) -> Path:
    """Return the weights file: a local one as it is, that of a tag from open_clip's download or its cache."""
    if Path(weights).is_file():
        return Path(weights)
    known = open_clip.list_pretrained_tags_by_model(model)
    if weights.lower() not in known:
        raise UserError(
            f"evaluate.clip_weights is {weights!r}, neither a local file nor a pretrained tag of {model}; "
            f"its tags are {', '.join(known) or 'none, since the model is unknown'}."
        )
    try:
        return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(model, weights)))
    except Exception as error:  # the hub's client has its own family of errors
        raise UserError(
            f"evaluate.clip_weights is {weights!r}, which could not be downloaded ({type(error).__name__}); "
            "name a local file instead."
        ) from error


def _folder_sha256(model: str) -> str:
    """Return the sha256 over names and contents of a local model folder."""
    folder = Path(model.removeprefix(LOCAL))
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger, to which open_clip tells how it reads its configuration."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
