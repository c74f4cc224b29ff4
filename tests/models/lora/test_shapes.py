"""Full-size models without weights, and the shapes of what may carry an adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lorasweep.models.loading.reading import skeleton
from lorasweep.models.lora.layer import module_shapes

PARAMETERS = {  # of the models that everybody has
    "sd15": {"unet": 859_520_964, "text_encoder": 123_060_480},
    "sdxl": {"unet": 2_567_463_684, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
    "flux": {"transformer": 11_901_408_320, "text_encoder": 123_060_480, "text_encoder_2": 4_762_310_656},
}


@pytest.mark.parametrize("kind", PARAMETERS)
def test_a_skeleton_is_the_full_size_model_without_memory(kind: str) -> None:
    parts = skeleton(kind)
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()} == PARAMETERS[kind]
    assert all(tensor.is_meta for part in parts.values() for tensor in part.parameters())


def test_a_skeleton_of_a_folder_has_that_models_shapes(
    family_of: Callable[[str], Any], model_of: Callable[[str], Path]
) -> None:
    for kind in PARAMETERS:
        assert module_shapes(skeleton(kind, model_of(kind).joinpath)) == module_shapes(family_of(kind).components)


def test_shapes_are_those_of_the_weights_in_order_the_denoiser_first() -> None:
    unet = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Conv2d(2, 4, 3), nn.Embedding(2, 2))
    shapes = module_shapes({"unet": unet, "text_encoder": nn.Sequential(nn.Linear(7, 1))})
    assert list(shapes.items()) == [("unet.0", (5, 3)), ("unet.2", (4, 2, 3, 3)), ("text_encoder.0", (1, 7))]


def test_a_quantised_layer_has_the_shape_of_what_it_stands_for() -> None:
    packed = nn.Linear(16, 8)
    packed.weight = nn.Parameter(
        torch.zeros(64, 1, dtype=torch.uint8), requires_grad=False
    )  # as bitsandbytes packs NF4
    assert module_shapes({"unet": nn.ModuleList([packed])}) == {"unet.0": (8, 16)}
