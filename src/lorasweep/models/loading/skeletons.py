"""Full-size models without weights, and the shapes of what may carry an adapter."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorasweep.models.loading.sources import WEIGHTS, shipped_configs


def module_shapes(components: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Module to the shape of its weight for every linear layer and convolution, in module order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for component, module in components.items():
        for name, part in module.named_modules():
            if isinstance(part, nn.Linear):  # not weight.shape: a quantised layer packs it
                shapes[f"{component}.{name}"] = (part.out_features, part.in_features)
            elif isinstance(part, nn.Conv2d):
                shapes[f"{component}.{name}"] = tuple(part.weight.shape)
    return shapes


def skeleton(kind: str, place: Callable[[str], Path] | None = None) -> dict[str, nn.Module]:
    """The parts of a model that may carry adapters, from their configurations.

    They lie on the meta device: names, shapes and settings without weights.

    Args:
        place: the folder of a part's configuration (``Source.place``); None is the family's well-known full size.
    """
    folder_of = place or shipped_configs(kind).joinpath
    with torch.device("meta"):
        parts = (part for part in WEIGHTS[kind] if part != "vae")
        return {part: from_configuration(part_kinds(kind)[part], folder_of(part)) for part in parts}


def from_configuration(kind: Any, folder: Path) -> nn.Module:
    """A part of a model as its configuration describes it, on the device and in the precision that are the default."""
    if hasattr(kind, "load_config"):  # diffusers
        return kind.from_config(kind.load_config(folder))
    return kind(kind.config_class.from_pretrained(folder))


def part_kinds(family: str) -> dict[str, Any]:
    """Part of a model to the class that holds its weights."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

    return {
        "unet": UNet2DConditionModel,
        "transformer": FluxTransformer2DModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel if family == "flux" else CLIPTextModelWithProjection,
        "vae": AutoencoderKL,
    }
