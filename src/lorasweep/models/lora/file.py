"""LoRA files: written whole in the Kohya layout or diffusers', read in any layout with no key left over."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from lorasweep.data.atomic import write_atomically
from lorasweep.errors import UserError
from lorasweep.models.family import Family
from lorasweep.models.lora.header import base_lines, diffusers_header, kohya_header, safetensors_bytes
from lorasweep.models.lora.layer import Adapter, LoraWeights, Shapes, module_shapes
from lorasweep.models.lora.layouts import from_tensors, to_diffusers, to_kohya
from lorasweep.models.lora.peft_config import header_alphas

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
"""Loading one runs whatever code it holds; neither a LoRA nor a base model is read from them."""


def write_lora(
    path: Path, adapter: Adapter, family: Family, metadata: Mapping[str, str], *, layout: str = "kohya"
) -> str:
    """Write one LoRA file, whole or not at all.

    Args:
        path: ends in .safetensors; an older file of that name is replaced.
        metadata: more header lines; none may hold a clock time, a path or a caption, so that the same training
            makes the same bytes.
        layout: kohya (ComfyUI, A1111, Forge, sd-scripts) or diffusers.

    Returns:
        sha256 of the file.
    """
    data = lora_bytes(adapter, family, metadata, layout=layout)
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def lora_bytes(adapter: Adapter, family: Family, metadata: Mapping[str, str], *, layout: str = "kohya") -> bytes:
    """Return the file, as bytes that depend on the arguments alone."""
    lines = {**base_lines(family), **metadata}
    if layout == "diffusers":
        return diffusers_bytes(adapter, family.kind, lines)
    return kohya_bytes(adapter, family.kind, module_shapes(family.components), lines)


def kohya_bytes(adapter: Adapter, kind: str, shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    """Return a file in Kohya's layout."""
    tensors = to_kohya(kind, shapes, adapter)
    return safetensors_bytes(tensors, kohya_header(kind, adapter, tensors, metadata))


def diffusers_bytes(adapter: Adapter, kind: str, metadata: Mapping[str, str]) -> bytes:
    """Return a file in diffusers' layout."""
    tensors = to_diffusers(kind, adapter)
    return safetensors_bytes(tensors, diffusers_header(adapter, tensors, metadata))


def weights_sha256(path: Path) -> str:
    """Return sha256 over a file's tensors alone, from its header; equal for equal weights of runs of any name."""
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("sshs_model_hash", "")


def read_lora(path: Path, family: Family) -> dict[str, LoraWeights]:
    """Return one LoRA file as an adapter of ``family`` (see ``read_adapter``)."""
    return read_adapter(path, family.kind, module_shapes(family.components))


def read_adapter(path: Path, kind: str, shapes: Shapes) -> dict[str, LoraWeights]:
    """Return one LoRA file of any layout as an adapter; ranks and alphas may differ from module to module.

    Raises:
        UserError: the file cannot be read, holds a key that is no module of this base model, or lacks half a module.
    """
    tensors, header = read_tensors(path)
    adapter = from_tensors(path.name, kind, shapes, tensors, header_alphas(path, header, shapes))
    if not adapter:
        raise UserError(f"{path.name} holds no LoRA weights; give a LoRA file.")
    return adapter


def init_file(path: str) -> Path:
    """Return ``lora.init`` as a file; raise UserError if there is none."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise UserError(f"lora.init is {path!r}, which is no file; name a LoRA file of this base model.")
    return found


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return all tensors and header lines of a safetensors file; a pickle is never opened."""
    if path.suffix.lower() in PICKLES or _is_pickle(path):
        raise UserError(f"{path} is a pickle, which may run code; give a .safetensors file.")
    try:
        data = path.read_bytes()
        return load(data), header_of(data)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path} is no readable safetensors file ({error}); give a LoRA file.") from error


def _is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or the zip archive that torch puts one into, whatever its name."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    # the length that a safetensors file begins with may have the same bytes, but a brace stands behind it
    return (start[:2] == b"PK" or re.match(rb"\x80[\x02-\x05]", start) is not None) and start[8:] != b"{"


def header_of(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file's bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]).get("__metadata__", {})
