"""Full-size models without weights, and the shapes of what may carry an adapter."""

from collections.abc import Mapping

import torch
from torch import nn

from lorasweep.models.sources import WEIGHTS, shipped_configs


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


def skeleton(kind: str) -> dict[str, nn.Module]:
    """The parts of a family's full-size model that may carry adapters, from the shipped configurations.

    They lie on the meta device: names, shapes and settings without weights.
    """
    from lorasweep.models.weightless import part_kinds

    parts: dict[str, nn.Module] = {}
    for name in (part for part in WEIGHTS[kind] if part != "vae"):
        folder, build = shipped_configs(kind) / name, part_kinds(kind)[name]
        with torch.device("meta"):
            if hasattr(build, "load_config"):  # diffusers
                parts[name] = build.from_config(build.load_config(folder))
            else:
                parts[name] = build(build.config_class.from_pretrained(folder))
    return parts
