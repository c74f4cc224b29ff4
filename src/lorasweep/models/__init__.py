"""Base models: one module a family, the LoRA layer that they share, and LoRA files."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from lorasweep.config.card import find_card, precision_for
from lorasweep.errors import UserError
from lorasweep.models.family import Family

if TYPE_CHECKING:
    from lorasweep.config.schema import HardwareConfig, ModelConfig


def _sd15() -> type[Family]:
    from lorasweep.models.families.sd15 import SD15

    return SD15


def _sdxl() -> type[Family]:
    from lorasweep.models.families.sdxl import SDXL

    return SDXL


def _flux() -> type[Family]:
    from lorasweep.models.families.flux import Flux

    return Flux


FAMILIES: dict[str, Callable[[], type[Family]]] = {"sd15": _sd15, "sdxl": _sdxl, "flux": _flux}
"""Opened on demand: diffusers takes seconds to import, and LoRA files can be read without it."""
PICTURE_UNITS = {"sd15": 8, "sdxl": 8, "flux": 16}
"""Pixels that must divide every side of a picture: the encoder halves it three times, and FLUX's tokens are 2 x 2."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_family(model: "ModelConfig", hardware: "HardwareConfig") -> Family:
    """The base model of a run, frozen, on its device and in its precision.

    Raises:
        UserError: this machine cannot do what ``hardware`` asks, or ``model`` names no whole model of its family.
    """
    from lorasweep.models.loading.low_memory import marked, placing

    if model.family not in FAMILIES:
        raise UserError(f"model.family is {model.family!r}; it must be one of {', '.join(FAMILIES)}.")
    device = readied(hardware)
    precision = precision_for(hardware.precision, device.type, find_card(hardware.device))
    family = FAMILIES[model.family]().load(model, device, PRECISIONS[precision], placing(hardware, device))
    return marked(family)


def readied(hardware: "HardwareConfig") -> torch.device:
    """The device to compute on: its memory bound as ``hardware`` says, kernels that are known to be wrong turned off.

    Raises:
        UserError: this machine cannot do what ``hardware`` asks.
    """
    from lorasweep.models.loading.low_memory import bound_memory, require_fit

    device, card = device_of(hardware.device), find_card(hardware.device)
    require_fit(hardware, device, card)
    bound_memory(hardware, device, card)
    # torch's first choice on Hopper reads beyond its tensors on FLUX's way back (2.11, cuDNN 9.19): crashes, or NaN
    torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def device_of(name: str, key: str = "hardware.device") -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU. Errors say ``key``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{key} is {name!r}, but torch sees no CUDA device; use auto or cpu.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{key} is {name!r}; it must be auto, cpu, cuda or cuda:N.") from error
