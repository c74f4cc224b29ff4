"""Where a base model is read from: a diffusers folder, one checkpoint file, or the hub; safetensors only."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from lorasweep.data.hashes import file_sha256
from lorasweep.data.hub import HUB_ID, fetch_folder
from lorasweep.errors import UserError
from lorasweep.models.lora.file import PICKLES

if TYPE_CHECKING:
    from lorasweep.config.schema import ModelConfig

PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "flux": "FluxPipeline"}
WEIGHTS = {
    "sd15": ("unet", "text_encoder", "vae"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2", "vae"),
    "flux": ("transformer", "text_encoder", "text_encoder_2", "vae"),
}
"""Parts with weights, by family."""
PREFIXES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("sd15", "unet"): ("model.diffusion_model.",),
    ("sd15", "text_encoder"): ("cond_stage_model.transformer.",),
    ("sdxl", "unet"): ("model.diffusion_model.",),
    ("sdxl", "text_encoder"): ("conditioner.embedders.0.transformer.",),
    ("sdxl", "text_encoder_2"): ("conditioner.embedders.1.model.",),
    ("flux", "transformer"): (
        *("model.diffusion_model.", "double_blocks.", "single_blocks.", "img_in.", "txt_in.", "time_in.", "vector_in."),
        *("guidance_in.", "final_layer."),
    ),
    ("flux", "text_encoder"): ("text_encoders.clip_l.transformer.",),
    ("flux", "text_encoder_2"): ("text_encoders.t5xxl.transformer.",),
}
"""Family and part to how the part's keys begin in a single checkpoint file."""
VAE_PREFIXES = ("first_stage_model.", "vae.")
SCHNELL_SHIFT = {"use_dynamic_shifting": False, "shift": 1.0}
"""As in ``scheduler_config.json`` of black-forest-labs/FLUX.1-schnell."""
HUB_FILES = ["*.json", "*.txt", "*.model", "*/*.safetensors"]
HUB_REST = ["*.fp16.*", "*.non_ema.*", "*.onnx*", "safety_checker/*"]
QUANTISED = (".scale_weight", ".weight_scale", ".scale_input", ".comfy_quant", ".absmax")
"""How keys end that stand beside weights which mean nothing without them."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A base model on disk, before anything of it is in memory."""

    kind: str
    """sd15, sdxl or flux."""
    folder: Path
    """The model itself, a whole diffusers folder; or, beside a single file, a folder with what the file lacks."""
    file: Path | None = None
    keys: frozenset[str] = frozenset()
    """Of the single file."""

    def in_file(self, part: str) -> list[str]:
        """Return the single file's keys that belong to a part."""
        prefixes = VAE_PREFIXES if part == "vae" else PREFIXES[self.kind, part]
        return sorted(key for key in self.keys if key.startswith(prefixes))

    def place(self, part: str) -> Path:
        """Return the folder of a part or its configuration: the one that was given, else the family's shipped one."""
        own = self.folder / part
        return own if own.is_dir() else shipped_configs(self.kind) / part

    @property
    def guidance_embeds(self) -> bool | None:
        """Whether FLUX's transformer is told its guidance: dev is, schnell is not; None for other families."""
        if self.kind != "flux":
            return None
        keys = self.in_file("transformer")
        if keys:  # diffusers and ComfyUI tell the two apart by this key as well
            return any("guidance_in." in key for key in keys)
        return bool(read_json(self.place("transformer") / "config.json").get("guidance_embeds"))

    def hashes(self) -> dict[str, str]:
        """Return sha256 of what each part with weights is read from; a single file is hashed whole, as Kohya does."""
        parts = [part for part in WEIGHTS[self.kind] if not self.in_file(part)]
        whole = {"file": file_sha256(self.file)} if self.file else {}
        # schnell was once read with dev's 512 tokens: what was made that way is no cache, state or score of this model
        read = {"t5": "256 tokens"} if self.guidance_embeds is False else {}
        return whole | {part: folder_hash(self.place(part)) for part in parts} | read

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler's configuration, with what a single file's keys say of it."""
        config = read_json(self.place("scheduler") / "scheduler_config.json")
        # fine-tunes of SDXL that predict v say so by tensors of these names, which ComfyUI reads too
        if "v_pred" in self.keys:
            config["prediction_type"] = "v_prediction"
        if "ztsnr" in self.keys:
            config["rescale_betas_zero_snr"] = True
        if self.guidance_embeds is False and self.in_file("transformer"):
            config |= SCHNELL_SHIFT  # the folder beside a file is the shipped one, or one of dev's
        return config


def find_source(model: "ModelConfig") -> Source:
    """Return where ``model.path`` leads.

    Raises:
        UserError: nothing is there, it is of another family or a pickle, or a part is missing.
        TryAgainError: the hub does not answer.
    """
    path = portraits_folder() if model.path == "portraits" else Path(model.path).expanduser()
    if path.is_file():
        return _single_file(path, model)
    folder = path if path.is_dir() else _from_hub(model.path, "model.path", model)
    _check_folder(folder, model.family)
    return Source(kind=model.family, folder=folder)


def portraits_folder() -> Path:
    """Return the folder of the model that ships inside the package.

    ``LORASWEEP_PORTRAITS`` names another one while the shipped one is being built.
    """
    shipped = Path(__file__).parents[2] / "portraits" / "weights" / "pipeline"
    return shipped if shipped.is_dir() else Path(os.environ.get("LORASWEEP_PORTRAITS", shipped))


def shipped_configs(kind: str) -> Path:
    """Return the folder of the full-size model's configurations, without weights and vocabularies."""
    return Path(__file__).parent / "configs" / kind


def _single_file(path: Path, model: "ModelConfig") -> Source:
    if path.suffix in PICKLES:
        raise UserError(f"model.path is {str(path)!r}, a pickle, which may run code; convert it to .safetensors first.")
    keys = _keys(path)
    found = _kind_of(keys)
    if found != model.family:
        raise UserError(
            f"model.path is {str(path)!r}, which holds {found}; model.family={model.family} accepts a checkpoint of "
            "its own kind."
        )
    if any(key == "scaled_fp8" or key.endswith(QUANTISED) for key in keys):
        raise UserError(
            f"model.path is {str(path)!r}, which is scaled to fp8 or quantised; give the fp16, bf16 or plain fp8 "
            "checkpoint."
        )
    folder = shipped_configs(model.family)
    if model.config is not None:
        local = Path(model.config).expanduser()
        folder = local if local.is_dir() else _from_hub(model.config, "model.config", model)
        if (folder / "model_index.json").is_file():
            _check_pipeline(folder, model.family, "model.config")
    source = Source(kind=model.family, folder=folder, file=path, keys=keys)
    for part in WEIGHTS[model.family]:
        if not source.in_file(part) and not any(source.place(part).glob("*.safetensors")):
            raise UserError(
                f"model.path is {str(path)!r}, which holds no {part}; name a diffusers folder that has one with "
                "model.config."
            )
    return source


def _keys(path: Path) -> frozenset[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return frozenset(file.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"model.path is {str(path)!r}, no readable safetensors file ({error}); give another."
        ) from error


def _kind_of(keys: Iterable[str]) -> str:
    """Return the family whose checkpoint has such keys, or words for what it is instead."""
    names = tuple(keys)

    def has(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in names)

    if has("lora_", "transformer.transformer_blocks", "unet.down_blocks") or any(".lora_" in name for name in names):
        return "a LoRA, no base model"
    if has("double_blocks.", "model.diffusion_model.double_blocks."):
        return "flux"
    if has("conditioner.embedders.", "model.diffusion_model.label_emb."):
        return "sdxl"
    if has("cond_stage_model.model."):
        return "Stable Diffusion 2"
    return "sd15" if has("model.diffusion_model.input_blocks.") else "no checkpoint that is known here"


def _from_hub(name: str, key: str, model: "ModelConfig") -> Path:
    """Return the local snapshot of a hub id at its pinned revision."""
    if not HUB_ID.fullmatch(name):
        raise UserError(
            f"{key} is {name!r}, which is no folder or file here; give a diffusers folder, a .safetensors "
            "checkpoint, a hub id owner/name, or the word portraits."
        )
    return fetch_folder(name, model.revision, HUB_FILES, key=key, offline=model.offline, ignored=HUB_REST)


def _check_folder(folder: Path, kind: str) -> None:
    if not (folder / "model_index.json").is_file():
        raise UserError(f"model.path is {str(folder)!r}, which holds no model_index.json; give a diffusers folder.")
    _check_pipeline(folder, kind, "model.path")
    tokenizers = [f"tokenizer{part.removeprefix('text_encoder')}" for part in WEIGHTS[kind] if "text_encoder" in part]
    for part in (*WEIGHTS[kind], *tokenizers, "scheduler"):
        if not (folder / part).is_dir():
            name = "UNet" if part == "unet" else part
            raise UserError(
                f"model.path is {str(folder)!r}, a model folder without a {name}; it needs a folder {part}."
            )


def _check_pipeline(folder: Path, kind: str, key: str) -> None:
    found = read_json(folder / "model_index.json").get("_class_name")
    if found != PIPELINES[kind]:
        raise UserError(f"{key} is {str(folder)!r}, a {found}; model.family={kind} accepts a {PIPELINES[kind]} folder.")


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of a model folder holds; raise UserError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); model.path must be a diffusers folder.") from error


def folder_hash(folder: Path) -> str:
    """Return sha256 over names and contents of the safetensors files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()
