"""What a LoRA file's header says: for sd-scripts, A1111, ComfyUI and diffusers, and nothing that users would hide."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lorasweep.data.errors import UserError
from lorasweep.models.cohort_lora import Adapter
from lorasweep.models.lora_names import text_path

TELLS = {
    "ss_tag_frequency": "the words of your captions and the name of your folder",
    "ss_dataset_dirs": "the name of your folder of photos",
    "ss_datasets": "folders, captions and sizes of your photos",
    "ss_bucket_info": "sizes of your photos",
    "ss_output_name": "the name of the run",
    "modelspec.title": "the name of the run",
    "lorasweep.run": "the name of the run",
    "modelspec.trigger_phrase": "the word that calls the subject, which users of the file need",
    "modelspec.author": "a name",
    "modelspec.description": "free text",
    "ss_training_comment": "free text",
    "ss_sd_model_name": "the name of the base model's file",
    "ss_training_started_at": "when it was trained",
    "ss_training_finished_at": "when it was trained",
}
"""What header lines, ours or another trainer's, tell a stranger."""
ADAPTER_METADATA = "lora_adapter_metadata"
"""diffusers' header line with PEFT's settings, as JSON."""


def read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; no tensor is read.

    Raises:
        UserError: it is no readable safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no readable safetensors file ({error}); give a LoRA file.") from error


def audit(header: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """Key, value and what it tells a stranger ('' for nothing about the user), sorted, telling lines first."""
    lines = [(key, value, TELLS.get(key) or _looks_private(value)) for key, value in header.items()]
    return tuple(sorted(lines, key=lambda line: (not line[2], line[0])))


def _looks_private(value: str) -> str:
    return "a path on your machine" if re.search(r"(^|[\s\"'])(/[\w.-]+/|[A-Za-z]:\\|~/)", value) else ""


def kohya_header(adapter: Adapter, tensors: Mapping[str, Tensor], given: Mapping[str, str]) -> dict[str, str]:
    """Kohya's lines: rank and alpha, what is given, and the two hashes over the tensors."""
    ranks = {weights.rank for weights in adapter.values()}
    alphas = {weights.alpha for weights in adapter.values()}
    convolution = any(weights.down.dim() == 4 and weights.down.shape[-1] > 1 for weights in adapter.values())
    header = {
        "ss_network_module": "networks.lora",
        # A1111 shows these and takes none of them: every module has its own alpha and rank
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
        "ss_network_args": json.dumps(_conv_args(adapter) if convolution else {}),
        **given,
    }
    hashes = kohya_hashes(tensors, {key: value for key, value in header.items() if key.startswith("ss_")})
    return header | hashes | {"modelspec.hash_sha256": f"0x{hashes['sshs_model_hash']}"}


def _conv_args(adapter: Adapter) -> dict[str, str]:
    wide = next(weights for weights in adapter.values() if weights.down.dim() == 4 and weights.down.shape[-1] > 1)
    return {"conv_dim": str(wide.rank), "conv_alpha": str(wide.alpha)}


def adapter_metadata(adapter: Adapter) -> dict[str, str]:
    """diffusers' line: rank and, since the scale is in the weights, an alpha that equals it, by component."""
    lines: dict[str, object] = {}
    components = dict.fromkeys(module.split(".", 1)[0] for module in adapter)
    for component in components:
        ranks = {m.split(".", 1)[1]: w.rank for m, w in adapter.items() if m.split(".", 1)[0] == component}
        most = max(set(ranks.values()), key=list(ranks.values()).count)
        other = {name: rank for name, rank in ranks.items() if rank != most}
        lines |= {
            f"{component}.r": most,
            f"{component}.lora_alpha": most,
            f"{component}.rank_pattern": other,
            f"{component}.alpha_pattern": other,
            f"{component}.target_modules": sorted(ranks),
        }
    return {ADAPTER_METADATA: json.dumps(lines, sort_keys=True)}


def metadata_alphas(header: Mapping[str, str], kind: str, modules: Iterable[str]) -> dict[str, float]:
    """Module to alpha where diffusers' header line has one; an empty dict without such a line."""
    if ADAPTER_METADATA not in header:
        return {}
    settings = json.loads(header[ADAPTER_METADATA])
    alphas: dict[str, float] = {}
    for module in modules:
        component, path = module.split(".", 1)
        written = text_path(component, kind, path) if component.startswith("text_encoder") else path
        pattern = settings.get(f"{component}.alpha_pattern") or {}
        alpha = next((v for end, v in pattern.items() if f".{written}".endswith(f".{end}")), None)
        alpha = settings.get(f"{component}.lora_alpha") if alpha is None else alpha
        if alpha is not None:
            alphas[module] = float(alpha)
    return alphas


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
