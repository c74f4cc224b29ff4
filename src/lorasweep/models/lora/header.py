"""What a LoRA file's header says: for sd-scripts, A1111, ComfyUI and diffusers, and nothing that users would hide."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lorasweep.errors import UserError
from lorasweep.models.family import Family, model_hash
from lorasweep.models.lora.layer import Adapter
from lorasweep.models.lora.names import ARCHITECTURES, BASE_MODELS, NETWORK_MODULES
from lorasweep.models.lora.peft_config import ADAPTER_METADATA, adapter_metadata

RUN_NAME, FREE_TEXT, WHEN = "the name of the run", "free text", "when it was trained"
TELLS = {
    "ss_tag_frequency": "the words of your captions and the name of your folder",
    "ss_dataset_dirs": "the name of your folder of photos",
    "ss_reg_dataset_dirs": "the name of your folder of photos",
    "ss_datasets": "folders, captions and sizes of your photos",
    "ss_bucket_info": "sizes of your photos",
    "ss_output_name": RUN_NAME,
    "modelspec.title": RUN_NAME,
    "lorasweep.run": RUN_NAME,
    "name": RUN_NAME,
    "modelspec.trigger_phrase": "the word that calls the subject, which users of the file need",
    "modelspec.author": "a name",
    "modelspec.description": FREE_TEXT,
    "modelspec.usage_hint": FREE_TEXT,
    "modelspec.tags": FREE_TEXT,
    "ss_training_comment": FREE_TEXT,
    "modelspec.thumbnail": "an image",
    "modelspec.merged_from": "names of other files of yours",
    "ss_sd_model_name": "the name of the base model's file",
    "ss_vae_name": "the name of the VAE's file",
    "ss_training_started_at": WHEN,
    "ss_training_finished_at": WHEN,
    "modelspec.date": WHEN,
    "ot_config": "OneTrainer's whole configuration: folders, prompts and names",
}
"""What header lines, ours or another trainer's, tell a stranger."""
PRIVATE = {
    "a path on your machine": r"(^|[\s\"'=(\[])(/[\w.-]+/|[A-Za-z]:\\|[A-Za-z]:/|\\\\[\w.-]+\\|~/|file://)",
    "an e-mail address": r"[\w.+-]+@[\w-]+\.\w+",
}
"""What may stand in any line, by regular expression."""


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; no tensor is read.

    Raises:
        UserError: it is no readable safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no readable safetensors file ({error}); give a LoRA file.") from error


def audit(path: Path) -> list[tuple[str, str, str]]:
    """Return key, value and what the line tells a stranger of the user ('' for nothing), telling lines first.

    Raises:
        UserError: it is no readable safetensors file.
    """
    lines = [(key, value, TELLS.get(key) or _looks_private(value)) for key, value in read_header(path).items()]
    return sorted(lines, key=lambda line: (not line[2], line[0]))


def _looks_private(value: str) -> str:
    return next((what for what, pattern in PRIVATE.items() if re.search(pattern, value)), "")


def base_lines(family: Family) -> dict[str, str]:
    """Return what a file says of the base model that it was trained on."""
    lines = {
        # sd-scripts' key for the sha256 of the checkpoint file; a folder has no such file
        "ss_new_sd_model_hash": family.hashes.get("file", model_hash(family)),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{ARCHITECTURES[family.kind]}/lora",
        "modelspec.implementation": "diffusers",
    }
    prediction = family.objective.prediction
    if prediction != "flow":  # for which modelspec has no word
        lines["modelspec.prediction_type"] = "epsilon" if prediction == "epsilon" else "v"
    return lines


def kohya_header(
    kind: str, adapter: Adapter, tensors: Mapping[str, Tensor], given: Mapping[str, str]
) -> dict[str, str]:
    """Return Kohya's lines: rank and alpha, what is given, and the hashes over the tensors."""
    ranks = {weights.rank for weights in adapter.values()}
    alphas = {weights.alpha for weights in adapter.values()}
    wide = [weights for weights in adapter.values() if weights.down.dim() == 4 and weights.down.shape[-1] > 1]
    lines = {
        "ss_base_model_version": BASE_MODELS[kind],
        "ss_v2": "False",
        "ss_network_module": NETWORK_MODULES[kind],
        # Programs show these two and load by each module's own; "Dynamic" is sd-scripts' word for ranks that differ.
        # They are those of the training: FLUX's fused layers have several times both in the file.
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
        "ss_network_args": json.dumps(
            {"conv_dim": str(wide[0].rank), "conv_alpha": str(wide[0].alpha)} if wide else {}
        ),
    }
    kept = {key: value for key, value in given.items() if key not in (ADAPTER_METADATA, "format")}
    return _with_hashes({**lines, **kept}, tensors)


def diffusers_header(adapter: Adapter, tensors: Mapping[str, Tensor], given: Mapping[str, str]) -> dict[str, str]:
    """Return diffusers' lines, and what is given less the lines that are true of Kohya's layout only."""
    kept = {key: value for key, value in given.items() if not key.startswith("ss_network_")}
    return _with_hashes({**kept, "format": "pt", **adapter_metadata(adapter)}, tensors)


def _with_hashes(lines: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    hashes = kohya_hashes(tensors, {key: value for key, value in lines.items() if key.startswith("ss_")})
    return {**lines, **hashes, "modelspec.hash_sha256": f"0x{hashes['sshs_model_hash']}"}


def kohya_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return sd-scripts' two hashes: of the tensors alone (A1111 shows it), and the legacy one of 64 KiB at 1 MiB."""
    plain = safetensors_bytes(tensors, metadata)
    start = 8 + int.from_bytes(plain[:8], "little")
    return {
        "sshs_model_hash": hashlib.sha256(plain[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8],
    }


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file whose header lines are sorted."""
    # the library's own order changes from process to process: equal trainings would make unequal files
    raw = save(dict(tensors), metadata=dict(metadata))
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[end:]
