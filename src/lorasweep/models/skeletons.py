"""Full-size models without weights, and the shapes of what may carry an adapter."""

from collections.abc import Mapping

from torch import nn


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
