"""PEFT's settings of an adapter: in diffusers' files a line of the header, in PEFT's own a file beside the weights."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorasweep.errors import UserError
from lorasweep.models.lora.layer import Adapter

ADAPTER_METADATA = "lora_adapter_metadata"
"""diffusers' header line, as JSON; each key begins with its component."""
PEFT_FILE, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def adapter_metadata(adapter: Adapter) -> dict[str, str]:
    """Return diffusers' line: rank and, since the scale is in the weights, an alpha that equals it, by component."""
    lines: dict[str, object] = {}
    for component in dict.fromkeys(module.split(".", 1)[0] for module in adapter):
        # PEFT compares ends of names, so that without the level text_model they fit transformers before 5.6 and after
        ranks = {
            module.removeprefix(f"{component}.").removeprefix("text_model."): weights.rank
            for module, weights in adapter.items()
            if module.startswith(f"{component}.")
        }
        most = max(sorted(set(ranks.values())), key=list(ranks.values()).count)
        other = {f"^{path}" if component in ("unet", "transformer") else path: r for path, r in ranks.items()}
        other = {path: rank for path, rank in other.items() if rank != most}
        lines |= {
            f"{component}.r": most,
            f"{component}.lora_alpha": most,
            f"{component}.rank_pattern": other,
            f"{component}.alpha_pattern": other,
            f"{component}.target_modules": sorted(ranks),
        }
    return {ADAPTER_METADATA: json.dumps(lines, sort_keys=True)}


def header_alphas(path: Path, header: Mapping[str, str], modules: Iterable[str]) -> dict[str, float]:
    """Return module to alpha as PEFT's settings have it; empty without any settings.

    Raises:
        UserError: the settings are damaged.
    """
    beside = path.with_name(PEFT_SETTINGS)
    text = header.get(ADAPTER_METADATA)
    try:
        # PEFT applies the settings beside its own file; a file that was taken from there has lost its strength
        if text is None and path.name == PEFT_FILE and beside.is_file():
            text = beside.read_text(encoding="utf-8")
        return {} if text is None else _alphas(json.loads(text), list(modules))
    except (OSError, ValueError, TypeError, AttributeError, re.error) as error:
        raise UserError(f"{path} has PEFT settings that cannot be read ({error}); save the LoRA again.") from error


def _alphas(settings: Mapping[str, Any], modules: list[str]) -> dict[str, float]:
    components = dict.fromkeys(module.split(".", 1)[0] for module in modules)
    if not any(key.startswith(f"{component}.") for key in settings for component in components):
        denoiser = next(iter(components))  # what `unet.save_lora_adapter` and PEFT write
        settings = {f"{denoiser}.{key}": value for key, value in settings.items()}
    found: dict[str, float] = {}
    for module in modules:
        component, path = module.split(".", 1)
        own = {key.removeprefix(f"{component}."): value for key, value in settings.items() if key.startswith(component)}
        if own.get("lora_alpha") is None:
            continue
        alpha = float(_of(own.get("alpha_pattern"), path, own["lora_alpha"]))
        rank = float(_of(own.get("rank_pattern"), path, own.get("r") or 1))
        found[module] = alpha * math.sqrt(rank) if own.get("use_rslora") else alpha
    return found


def _of(pattern: Mapping[str, Any] | None, path: str, default: Any) -> Any:
    """A setting of one module, by PEFT's rule for patterns: a regular expression for the end of its name."""
    for name in (path, f"text_model.{path}"):
        for key, value in (pattern or {}).items():
            if re.match(rf"(.*\.)?({key})$", name):
                return value
    return default
