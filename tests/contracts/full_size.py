"""Full-size models without weights, adapters for them, and how far apart two changes of a layer are."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lorasweep.config.schema import LoraConfig
from lorasweep.models import FAMILIES
from lorasweep.models.loading.reading import skeleton
from lorasweep.models.lora.initial import hollow
from lorasweep.models.lora.layer import LoraWeights, module_shapes, structural_clone

SCALE = 0.15
"""alpha / rank of the adapters: neither 1 nor a power of two, so that a lost alpha shows."""


@cache
def shapes(kind: str) -> Mapping[str, tuple[int, ...]]:
    """Module to shape, from the shipped configurations alone."""
    return module_shapes(skeleton(kind))


@cache
def adapter(kind: str, targets: str = "linear", rank: int = 2) -> Mapping[str, LoraWeights]:
    """Random numbers on the modules that a training of these targets and the text encoders would choose."""
    chosen = FAMILIES[kind].targets(LoraConfig(targets=targets, text_encoder=True))
    generator = torch.Generator().manual_seed(0)

    def is_chosen(module: str) -> bool:
        component, path = module.split(".", 1)
        return path != "proj_out" and f".{path}".endswith(tuple(f".{end}" for end in chosen.get(component, ["-"])))

    return {m: random_weights(shape, rank, generator) for m, shape in shapes(kind).items() if is_chosen(m)}


def random_weights(shape: tuple[int, ...], rank: int, generator: torch.Generator, scale: float = SCALE) -> LoraWeights:
    """Random numbers for one layer."""
    down = torch.randn(rank, *shape[1:], generator=generator) / 8
    up = torch.randn(shape[0], rank, *(1,) * (len(shape) - 2), generator=generator) / 8
    return LoraWeights(down, up, rank * scale)


def distance(first: LoraWeights, second: LoraWeights) -> float:
    """Frobenius norm of the difference of two changes, as a share of the first.

    ``|U D|^2 = tr(U'U DD')`` needs no matrix of the layer's own size, of which full-size models have gigabytes.
    """
    ups = [w.up.flatten(1).double() * (w.alpha / w.rank) for w in (first, second)]
    downs = [w.down.flatten(1).double() for w in (first, second)]

    def norm(up: Tensor, down: Tensor) -> float:
        return float(((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt())

    return norm(torch.cat([ups[0], -ups[1]], 1), torch.cat(downs)) / norm(ups[0], downs[0])


def full_size_pipeline(kind: str) -> Any:
    """diffusers' own pipeline whose every weight is one expanded zero; its layers hold real adapters once loaded."""
    from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

    parts = {name: structural_clone(module) for name, module in _filled_parts(kind).items()}
    none = dict.fromkeys(("vae", "tokenizer", "scheduler"))
    if kind == "sd15":
        return StableDiffusionPipeline(
            **parts, **none, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    if kind == "sdxl":
        return StableDiffusionXLPipeline(**parts, **none, tokenizer_2=None, add_watermarker=False)
    return FluxPipeline(**parts, **none, tokenizer_2=None)


@cache
def _filled_parts(kind: str) -> dict[str, torch.nn.Module]:
    return {name: _filled(hollow(module)) for name, module in skeleton(kind).items()}


def _filled(module: torch.nn.Module) -> torch.nn.Module:
    for path, buffer in list(module.named_buffers()):
        owner, _, name = path.rpartition(".")
        module.get_submodule(owner)._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    return module
