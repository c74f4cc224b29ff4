"""Base models: one module a family, the LoRA layer that they share, and LoRA files.

Imports go one way: this file > families > loading > lora > family > objective. A new family is a module in ``families``
and lines in four tables: here, in ``loading.sources``, ``loading.reading`` and ``lora.names``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lorasweep.config.card import find_card, precision_for
from lorasweep.errors import UserError
from lorasweep.models.families.flux import Flux
from lorasweep.models.families.sd15 import SD15
from lorasweep.models.families.sdxl import SDXL
from lorasweep.models.family import Family
from lorasweep.models.loading.sources import Source, find_source

if TYPE_CHECKING:
    from lorasweep.config.schema import HardwareConfig, ModelConfig

FAMILIES: dict[str, type[SD15] | type[SDXL] | type[Flux]] = {"sd15": SD15, "sdxl": SDXL, "flux": Flux}
IMAGE_UNITS = {"sd15": 8, "sdxl": 8, "flux": 16}
"""Pixels that must divide every side of an image: the encoder halves it three times, and FLUX's tokens are 2 x 2."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_family(model: "ModelConfig", hardware: "HardwareConfig") -> Family:
    """Return the base model of a run, frozen, on its device and in its precision.

    Raises:
        UserError: this machine cannot do what ``hardware`` asks, or ``model`` names no whole model of its family.
    """
    # diffusers and transformers take seconds to import; LoRA files and plans are read without them
    from lorasweep.models.loading.low_memory import marked, placing
    from lorasweep.models.loading.reading import read_parts

    if model.family not in FAMILIES:
        raise UserError(f"model.family is {model.family!r}; it must be one of {', '.join(FAMILIES)}.")
    device = readied(hardware)
    dtype = PRECISIONS[precision_for(hardware.precision, device.type, find_card(hardware.device))]
    source = find_source(model)
    parts = read_parts(source, dtype, placing(hardware, device))
    return marked(assembled(model, source, parts, device, dtype, source.hashes()))


def assembled(
    model: "ModelConfig",
    source: Source,
    parts: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    hashes: Mapping[str, str],
) -> Family:
    """Return the base model that is made of these parts and tokenizers, by name (see ``reading.read_parts``)."""
    kind: Any = FAMILIES[model.family]
    objective = kind.trained_by.of(source.scheduler(), model, device)
    return kind(**parts, objective=objective, device=device, dtype=dtype, hashes=hashes)


def readied(hardware: "HardwareConfig") -> torch.device:
    """Return the device to compute on, its memory bound as ``hardware`` says.

    Raises:
        UserError: this machine cannot do what ``hardware`` asks.
    """
    from lorasweep.models.loading.low_memory import bound_memory, require_fit

    device, card = device_of(hardware.device), find_card(hardware.device)
    require_fit(hardware, device, card)
    bound_memory(hardware, device, card)
    # torch's first choice on Hopper reads beyond its tensors on FLUX's way back (2.11, cuDNN 9.19): crashes, or NaN
    # in a gradient. For the whole process: a context would be over when gradient checkpointing computes a block again.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def device_of(name: str, key: str = "hardware.device") -> torch.device:
    """Return the device of this name; ``auto`` is the first CUDA device, or the CPU if there is none.

    Args:
        key: which configuration key errors name.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{key} is {name!r}, but torch sees no CUDA device; use auto or cpu.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{key} is {name!r}; it must be auto, cpu, cuda or cuda:N.") from error
