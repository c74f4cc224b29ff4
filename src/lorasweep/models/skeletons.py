"""Full-size models without weights, and the shapes of what may carry an adapter."""

from collections.abc import Mapping
from pathlib import Path

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


def skeleton(kind: str, folder: Path | None = None) -> dict[str, nn.Module]:
    """The parts of a model that may carry adapters, from the configurations in ``folder``.

    They lie on the meta device: names, shapes and settings without weights.

    Args:
        folder: a diffusers folder; None is the family's well-known full size.
    """
    home = folder or shipped_configs(kind)
    from lorasweep.models.weightless import part_kinds

    parts: dict[str, nn.Module] = {}
    for name in (part for part in WEIGHTS[kind] if part != "vae"):
        build = part_kinds(kind)[name]
        with torch.device("meta"):
            if hasattr(build, "load_config"):  # diffusers
                parts[name] = build.from_config(build.load_config(home / name))
            else:
                parts[name] = build(build.config_class.from_pretrained(home / name))
    return parts
