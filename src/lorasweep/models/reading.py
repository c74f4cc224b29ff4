"""A base model's parts from disk into memory: frozen, in their precision, with nothing missing."""

import gzip
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    create_diffusers_clip_model_from_ldm,
    create_diffusers_t5_model_from_checkpoint,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTokenizer, T5Tokenizer
from transformers.utils.logging import disable_progress_bar

from lorasweep.data.errors import UserError
from lorasweep.models.sources import Source, read_json

VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
CLIP_MERGES = 49152 - 256 - 2
"""Of byte pairs that CLIP's vocabulary of 49,408 words was made by; the file that has them holds more."""


def read_part(source: Source, kind: Any, part: str, dtype: torch.dtype, device: torch.device) -> Any:
    """One frozen part of the model: from the single file where that holds it, else from the folder.

    Raises:
        UserError: the part is damaged, does not fit its configuration, or lacks weights.
    """
    disable_progress_bar()  # a bar of milliseconds; ours say what is being done
    try:
        keys = source.in_file(part)
        module = _from_file(source, kind, part, keys, dtype) if keys else _from_folder(source, kind, part, dtype)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        where = source.file if source.file and source.in_file(part) else source.folder / part
        why = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"model.path holds no whole {part}: {where} cannot be read ({why}); "
            "it must be a diffusers folder with safetensors weights, or one whole checkpoint."
        ) from error
    missing = next((name for name, tensor in module.named_parameters() if tensor.is_meta), None)
    if missing:
        raise UserError(f"model.path holds no whole {part}: {source.file or source.folder} lacks {missing}.")
    return module.requires_grad_(False).eval().to(device)


def _from_folder(source: Source, kind: Any, part: str, dtype: torch.dtype) -> nn.Module:
    precision = "dtype" if kind.__module__.startswith("transformers") else "torch_dtype"
    reading = {precision: dtype, "local_files_only": True, "use_safetensors": True}
    return kind.from_pretrained(source.folder / part, **reading)


def _from_file(source: Source, kind: Any, part: str, keys: list[str], dtype: torch.dtype) -> nn.Module:
    state = _tensors(source.file, keys)
    reading = {"config": str(source.folder), "subfolder": part, "torch_dtype": dtype, "local_files_only": True}
    if kind.__name__.startswith("CLIP"):
        return create_diffusers_clip_model_from_ldm(kind, state, **reading)
    if kind.__name__.startswith("T5"):
        return create_diffusers_t5_model_from_checkpoint(kind, state, **reading)
    return kind.from_single_file(state, **reading)


def _tensors(path: Path | None, keys: list[str]) -> dict[str, Tensor]:
    assert path is not None
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in keys}


def read_tokenizer(source: Source, part: str) -> Any:
    """The tokenizer of a folder; CLIP's own vocabulary, where only its settings are there, is built from open_clip's.

    Raises:
        UserError: T5's vocabulary is missing: nothing on this machine holds a copy.
    """
    folder = source.folder / part
    is_t5 = source.kind == "flux" and part == "tokenizer_2"
    reader = T5Tokenizer if is_t5 else CLIPTokenizer
    if any((folder / name).is_file() for name in VOCABULARIES):
        return _read(partial(reader.from_pretrained, folder, local_files_only=True), folder)
    if is_t5:
        raise UserError(
            f"model.path is {str(source.file or source.folder)!r}, which has no T5 tokenizer; name a diffusers folder "
            "with a tokenizer_2 in it with model.config."
        )
    settings = read_json(folder / "tokenizer_config.json")
    vocab, merges = clip_vocabulary()
    words = {key: settings[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=settings["model_max_length"], **words)


def _read(read: Any, folder: Path) -> Any:
    try:
        return read()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"model.path holds no whole tokenizer: {folder} cannot be read ({error}).") from error


def clip_vocabulary() -> tuple[dict[str, int], list[str]]:
    """CLIP's 49,408 words and its byte pair merges, from the copy inside open_clip (which is not imported)."""
    found = importlib.util.find_spec("open_clip")
    assert found is not None
    assert found.origin is not None
    text = gzip.decompress((Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode("utf-8")
    merges = text.split("\n")[1 : CLIP_MERGES + 1]
    letters = byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    return {word: place for place, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}, merges


def byte_letters() -> list[str]:
    """The 256 characters that stand for bytes in CLIP's vocabulary, printable ones first (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(256 - len(printable))]
