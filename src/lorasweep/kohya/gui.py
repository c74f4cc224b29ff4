"""sd-scripts' arguments: as they are written, or as Kohya's GUI would make them of the settings that it saved.

The GUI leaves out what is empty, zero or false, so that sd-scripts' default counts; it turns ``LoRA_type`` into a
network module, and counts ``lr_warmup`` in percent (``kohya_gui/lora_gui.py: train_model``).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from lorasweep.errors import UserError
from lorasweep.kohya.dataset_file import Part
from lorasweep.kohya.draft import Draft, Said
from lorasweep.kohya.files import SCRIPTS, FileKind, KohyaFile, additional_arguments
from lorasweep.kohya.keys import as_number, is_off

SCRIPT_DEFAULTS: Mapping[str, Any] = {
    "learning_rate": 2e-6,
    "network_dim": 4,
    "network_alpha": 1.0,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1.0,
    "max_train_steps": 1600,
    "train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_grad_norm": 1.0,
    "mixed_precision": "no",
    "min_bucket_reso": 256,
    "max_bucket_reso": 1024,
    "bucket_reso_steps": 64,
    "prior_loss_weight": 1.0,
    "guidance_scale": 3.5,
    "discrete_flow_shift": 3.0,
    "sigmoid_scale": 1.0,
    "timestep_sampling": "sigma",
    "model_prediction_type": "sigma_scaled",
    "sample_sampler": "ddim",
}
"""sd-scripts' defaults that are not zero or off."""
GUI_DEFAULTS: Mapping[str, Any] = {
    **SCRIPT_DEFAULTS,
    "learning_rate": 1e-4,
    "unet_lr": 1e-4,
    "text_encoder_lr": 1e-4,
    "network_dim": 8,
    "lr_scheduler": "cosine",
    "mixed_precision": "fp16",
    "enable_bucket": True,
    "max_bucket_reso": 2048,
    "bucket_no_upscale": True,
    "resolution": "512,512",
    "sample_sampler": "euler_a",
}
"""What the GUI's fields hold before a file is opened; a file that does not name a field leaves it so."""

RENAMED = {"optimizer": "optimizer_type", "max_resolution": "resolution", "lora_network_weights": "network_weights"}
"""GUI's keys to sd-scripts' arguments."""
RATES = ("unet_lr", "text_encoder_lr")
MODULES = {
    "Standard": "networks.lora",
    "Kohya LoCon": "networks.lora",
    "Flux1": "networks.lora_flux",
    "LoRA-FA": "networks.lora_fa",
    "Kohya DyLoRA": "networks.dylora",
    "Kohya LoHa": "networks.loha",
    "Kohya LoKr": "networks.lokr",
    "Flux1 OFT": "networks.oft_flux",
}
"""LoRA types of the GUI to the module that trains them; all of LyCORIS are in lycoris.kohya."""
WITH_CONV = ("Kohya LoCon", "Kohya DyLoRA", "LyCORIS/LoCon", "LoCon")
"""Types for which the GUI passes conv_dim and conv_alpha on."""
OTHER_FAMILIES = {
    "v2": "Stable Diffusion 2",
    "sd3_checkbox": "Stable Diffusion 3",
    "hunyuan_image_checkbox": "HunyuanImage",
    "anima_checkbox": "Anima",
    "lumina_checkbox": "Lumina",
}


def draft_of(file: KohyaFile, family: str | None = None) -> Draft:
    """Return sd-scripts' arguments, with nothing made of them yet.

    Args:
        family: the model family, if the file itself does not say it.

    Raises:
        UserError: the settings train another base model, or a text encoder alone.
    """
    told = gui_said(file) if file.kind is FileKind.GUI else dict(script_said(file))
    _refuse_other_families(file)
    draft = Draft(
        said=told,
        defaults=GUI_DEFAULTS if file.kind is FileKind.GUI else SCRIPT_DEFAULTS,
        family=stated_family(file) or family or guessed_family(file),
    )
    if draft.flag("network_train_text_encoder_only"):
        raise UserError(
            f"{draft.name_of('network_train_text_encoder_only')} trains the text encoder alone; here the denoiser is "
            "always trained"
        )
    return draft


def script_said(file: KohyaFile) -> Iterator[tuple[str, Said]]:
    """Yield sd-scripts' arguments as they are written, and each of ``network_args`` by its own name."""
    for key, value in file.values.items():
        yield key, Said(key=key, value=value, written=value)
        if key == "network_args" and isinstance(value, list):
            for word in cast("list[Any]", value):
                name, _, part = str(word).partition("=")
                yield name, Said(key=f"network_args {name}", value=part, written=part)


def spread(file: KohyaFile) -> dict[str, Any]:
    """Return every key of a file that needs a line; arguments within an argument have their own."""
    listed = {said.key: said.written for said in file.dataset.written} if file.dataset else {}
    if file.kind is FileKind.GUI:
        extra = {f"additional_parameters {key}": value for key, value in _additional(file).items()}
        return {**file.values, **extra, **listed}
    return {said.key: said.written for _, said in script_said(file)} | listed


def gui_said(file: KohyaFile) -> dict[str, Said]:
    """Return sd-scripts' arguments as the GUI would make them."""
    values, said = file.values, dict[str, Said]()
    for key, value in values.items():
        name = RENAMED.get(key, key)
        if name not in RATES and not (name.startswith("conv_") and values.get("LoRA_type") not in WITH_CONV):
            said[name] = _as_told(name, key, value)
    said |= _network(values) | _rates(values) | _warmup(values)
    # files of older versions of the GUI have a switch in place of the optimiser's name
    if "optimizer" not in values and not is_off(values.get("use_8bit_adam")):
        said["optimizer_type"] = Said(key="use_8bit_adam", value="AdamW8bit", written=values["use_8bit_adam"])
    # the GUI has two sets of fields for noise, of which the type chooses one
    if "noise_offset" in values and values.get("noise_offset_type", "Original") != "Original":
        said["noise_offset"] = Said(key="noise_offset", value=0, written=values["noise_offset"])
    for key, value in _additional(file).items():  # they stand last on the command line, so that they count
        said[key] = Said(key=f"additional_parameters {key}", value=value, written=value)
    return said


def _additional(file: KohyaFile) -> dict[str, Any]:
    return additional_arguments(file.path, str(file.values.get("additional_parameters") or ""))


def _as_told(name: str, key: str, value: Any) -> Said:
    """Return a setting as the GUI passes it on, which leaves out what is empty, zero or false."""
    # these two are passed on whatever they are
    dropped = is_off(value) and name not in ("max_train_steps", "mixed_precision")
    return Said(key=key, value=SCRIPT_DEFAULTS.get(name, value) if dropped else value, written=value)


def _network(values: Mapping[str, Any]) -> dict[str, Said]:
    kind = str(values.get("LoRA_type") or "Standard")
    module = MODULES.get(kind, "lycoris.kohya")
    said = {"network_module": Said(key="LoRA_type", value=module, written=kind)} if "LoRA_type" in values else {}
    if module == "lycoris.kohya":
        algorithm = kind.rpartition("/")[2].lower()
        said["algo"] = Said(key="LoRA_type", value=algorithm, written=kind)
    return said


def _rates(values: Mapping[str, Any]) -> dict[str, Said]:
    """Return the rates: one of zero leaves its part untrained; if both are zero, learning_rate counts for both."""
    rate = {name: values.get(name, GUI_DEFAULTS[name]) for name in RATES}
    on = {name for name in RATES if not is_off(rate[name])}
    said = {
        name: Said(key=name, value=rate[name] if name in on else values.get("learning_rate"), written=rate[name])
        for name in RATES
        if name in values and (name in on or not on)
    }
    if on == {"unet_lr"}:
        said["network_train_unet_only"] = Said(key="text_encoder_lr", value=True, written=rate["text_encoder_lr"])
    if on == {"text_encoder_lr"}:
        said["network_train_text_encoder_only"] = Said(key="unet_lr", value=True, written=rate["unet_lr"])
    return said


def _warmup(values: Mapping[str, Any]) -> dict[str, Said]:
    """Return the warm-up: its steps if they are given, else a share of all steps."""
    steps, percent = as_number(values.get("lr_warmup_steps")) or 0, as_number(values.get("lr_warmup")) or 0
    if steps > 0:
        return {"lr_warmup_steps": Said(key="lr_warmup_steps", value=int(steps), written=values["lr_warmup_steps"])}
    if "lr_warmup" not in values:
        return {}
    return {"lr_warmup_steps": Said(key="lr_warmup", value=percent / 100, written=values["lr_warmup"])}


def stated_family(file: KohyaFile) -> str | None:
    """Return the model family if the file says it, else None."""
    if file.kind is FileKind.GUI:
        flux = not is_off(file.values.get("flux1_checkbox"))
        return "flux" if flux else "sd15" if is_off(file.values.get("sdxl")) else "sdxl"
    return SCRIPTS[file.script] if file.script else None


def guessed_family(file: KohyaFile) -> str:
    """Return the likeliest model family of settings that do not name the program that reads them."""
    # first by keys that only one program reads, then by sizes and by the base model's name
    values = file.values
    if "flux" in str(values.get("network_module")) or any(key in values for key in ("clip_l", "t5xxl", "ae")):
        return "flux"
    told = [values.get("resolution", ""), *(part.said["resolution"].value for part in _parts(file))]
    large = any(int(side) >= 768 for side in re.findall(r"\d+", str(told)))
    named = re.search(r"xl|pony|illustrious|noob", str(values.get("pretrained_model_name_or_path", "")), re.IGNORECASE)
    return "sdxl" if large or named else "sd15"


def _parts(file: KohyaFile) -> list[Part]:
    return [part for part in file.dataset.parts if "resolution" in part.said] if file.dataset else []


def _refuse_other_families(file: KohyaFile) -> None:
    for key, model in OTHER_FAMILIES.items():
        if not is_off(file.values.get(key)):
            raise UserError(f"{key} is {file.values[key]}: {model}; the base must be SD 1.5, SDXL or FLUX.1")
    if str(file.values.get("model_type", "")).lower() == "chroma" and stated_family(file) == "flux":
        raise UserError("model_type is 'chroma'; the base must be SD 1.5, SDXL or FLUX.1")
