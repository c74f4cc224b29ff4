"""LoRA files in the Kohya layout, with their real alpha, that other programs load with no key left over.

One module is three tensors: ``<name>.lora_down.weight``, ``<name>.lora_up.weight``, ``<name>.alpha``; the change of a
weight is up @ down * alpha / rank. Layout and header keys: sd-scripts ``networks/lora.py`` and ``train_util.py``.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from lorasweep.data.atomic import write_atomically
from lorasweep.data.errors import UserError
from lorasweep.models.cohort_lora import Adapter, LoraWeights

if TYPE_CHECKING:
    from lorasweep.models.family import Family

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"


def write_lora(path: Path, adapter: Adapter, family: "Family", metadata: Mapping[str, str]) -> str:
    """Write one LoRA file, whole or not at all.

    Args:
        path: ends in .safetensors; an older file of that name is replaced.
        metadata: more header lines; none may hold a clock time, a path or a caption, so that the same training
            makes the same bytes.

    Returns:
        sha256 of the file.
    """
    data = lora_bytes(adapter, family, metadata)
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def lora_bytes(adapter: Adapter, family: "Family", metadata: Mapping[str, str]) -> bytes:
    """The file, as bytes that depend on the arguments alone."""
    names = family.file_names()
    tensors: dict[str, Tensor] = {}
    for module, weights in adapter.items():
        tensors[f"{names[module]}.{DOWN}"] = weights.down.contiguous()
        tensors[f"{names[module]}.{UP}"] = weights.up.contiguous()
        tensors[f"{names[module]}.{ALPHA}"] = torch.tensor(float(weights.alpha))
    return safetensors_bytes(tensors, _header(adapter, tensors, {**family.file_metadata(), **metadata}))


def _header(adapter: Adapter, tensors: Mapping[str, Tensor], given: Mapping[str, str]) -> dict[str, str]:
    first = next(iter(adapter.values()))
    header = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(first.rank),
        "ss_network_alpha": str(first.alpha),
        "ss_network_args": "{}",
        **given,
    }
    header |= kohya_hashes(tensors, {key: value for key, value in header.items() if key.startswith("ss_")})
    return header


def kohya_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """sd-scripts' two hashes: of the tensors alone (A1111 shows it), and the legacy one of 64 KiB at 1 MiB."""
    plain = safetensors_bytes(tensors, metadata)
    start = 8 + int.from_bytes(plain[:8], "little")
    return {
        "sshs_model_hash": hashlib.sha256(plain[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8],
    }


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file whose header lines are sorted.

    The library writes the header's metadata in an order that changes from process to process; equal trainings would
    then make unequal files.
    """
    raw = save(dict(tensors), metadata=dict(metadata))
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[end:]


def weights_sha256(path: Path) -> str:
    """sha256 over a file's tensors alone, from its header: equal for equal weights whatever the run was called."""
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("sshs_model_hash", "")


def read_lora(path: Path, family: "Family") -> dict[str, LoraWeights]:
    """One LoRA file as an adapter of ``family``; ranks and alphas may differ from module to module.

    Raises:
        UserError: the file cannot be read, holds a key that is no module of this base model, or lacks half a module.
    """
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no readable safetensors file ({error}); give a LoRA file.") from error
    modules = {prefix: module for module, prefix in family.file_names().items()}
    adapter = {}
    for key in tensors:
        prefix, _, part = key.partition(".")
        if prefix not in modules or part not in (DOWN, UP, ALPHA):
            raise UserError(
                f"{path.name} holds {key}, which the base model has no module for: is it a LoRA of another family?"
            )
        if part == DOWN:
            adapter[modules[prefix]] = _module(path, prefix, tensors)
        elif f"{prefix}.{DOWN}" not in tensors:
            raise UserError(f"{path.name} holds {key} but lacks {prefix}.{DOWN}.")
    if not adapter:
        raise UserError(f"{path.name} holds no LoRA weights; give a file in the Kohya layout.")
    _check_shapes(path, adapter, family)
    return {module: adapter[module] for module in modules.values() if module in adapter}


def _module(path: Path, prefix: str, tensors: Mapping[str, Tensor]) -> LoraWeights:
    down, up = tensors[f"{prefix}.{DOWN}"], tensors.get(f"{prefix}.{UP}")
    if up is None:
        raise UserError(f"{path.name} holds {prefix}.{DOWN} but lacks {prefix}.{UP}.")
    # a file without alpha means alpha = rank: A1111, ComfyUI and diffusers all apply it at scale 1
    alpha = tensors.get(f"{prefix}.{ALPHA}", torch.tensor(down.shape[0]))
    return LoraWeights(down.float(), up.float(), float(alpha))


def _check_shapes(path: Path, adapter: Adapter, family: "Family") -> None:
    shapes = family.module_shapes()
    for module, weights in adapter.items():
        into, out = shapes[module]
        if weights.down[0].numel() != into or weights.up.shape[0] != out:
            found = f"{weights.down[0].numel()} to {weights.up.shape[0]}"
            raise UserError(
                f"{path.name} changes {family.file_names()[module]} from {found} features, but the base model's has "
                f"{into} to {out}: is it a LoRA of another family?"
            )
