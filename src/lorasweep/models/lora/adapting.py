"""Putting adapters on the parts of a base model: what all families share."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lorasweep.models.lora.initial import initial_weights
from lorasweep.models.lora.layer import AdapterBank, LoraWeights, attach

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig

TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TEXT_LINEAR = [*TEXT_ATTENTION, "fc1", "fc2"]


def text_targets(lora: "LoraConfig", encoders: Sequence[str]) -> dict[str, list[str]]:
    """The ends of module names of CLIP text encoders that get an adapter; none unless ``lora.text_encoder``."""
    ends = TEXT_ATTENTION if lora.targets == "attention" else TEXT_LINEAR
    return dict.fromkeys(encoders, ends) if lora.text_encoder else {}


def fresh_adapter(
    components: Mapping[str, nn.Module], targets: Mapping[str, list[str]], lora: "LoraConfig", seed: int
) -> dict[str, LoraWeights]:
    """What PEFT starts from at this seed, in the order of the modules: up is zero."""
    adapter: dict[str, LoraWeights] = {}
    for component, ends in targets.items():
        started = initial_weights(components[component], component, ends, lora, seed)
        names = (f"{component}.{name}" for name, _ in components[component].named_modules())
        adapter |= {name: started[name] for name in names if name in started}
    return adapter


def carrying(
    components: Mapping[str, nn.Module], bank: AdapterBank, *, checkpointed: str | None = None
) -> dict[str, nn.Module]:
    """Clones, over the same frozen weights, of the components that the bank has adapters for.

    Args:
        checkpointed: the component that forgets its activations and computes them again on the way back.
    """
    owners = {name.split(".", 1)[0] for name in bank.names}
    carriers = {name: attach(module, name, bank) for name, module in components.items() if name in owners}
    if checkpointed is not None:
        if checkpointed not in carriers:
            carriers[checkpointed] = attach(components[checkpointed], checkpointed, bank)
        carriers[checkpointed].enable_gradient_checkpointing()  # type: ignore[operator]
    return carriers


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Adapters stay in fp32; beside a half-precision base their products are made in the base's precision."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
