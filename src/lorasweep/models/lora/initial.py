"""PEFT names the modules that get an adapter, initialises them and defines the state dict; this is its one door."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model_state_dict, inject_adapter_in_model
from torch import nn

from lorasweep.errors import UserError
from lorasweep.models.lora.layer import LoraWeights

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig


def initial_weights(
    module: nn.Module, component: str, targets: Sequence[str], lora: "LoraConfig", seed: int
) -> dict[str, LoraWeights]:
    """The adapter that PEFT would put on ``module`` after ``torch.manual_seed(seed)``; up is zero.

    Args:
        module: only its names and shapes matter; the result does not depend on device or precision.
        component: goes before every name, ``unet`` in ``unet.down_blocks.0...``.
        targets: ends of module names, as PEFT takes them.
    """
    config = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(targets))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        injected = inject_adapter_in_model(config, skeleton(module))
    state = get_peft_model_state_dict(injected)
    downs = [key for key in state if key.endswith(".lora_A.weight")]
    if not downs:
        raise UserError(f"lora.targets is {lora.targets!r}, but the {component} has no module named {targets[0]}.")
    weights = {}
    for key in downs:
        name = key.removesuffix(".lora_A.weight")
        up = state[f"{name}.lora_B.weight"]
        weights[f"{component}.{name}"] = LoraWeights(state[key].detach(), up.detach(), float(lora.alpha))
    return weights


def skeleton(module: nn.Module) -> nn.Module:
    """The same tree of modules in fp32 on the CPU with no weights to speak of: every tensor is one expanded zero."""
    memo: dict[int, object] = {}
    for tensor in module.parameters():
        memo[id(tensor)] = nn.Parameter(torch.zeros(()).expand(tensor.shape), requires_grad=False)
    for tensor in module.buffers():
        memo[id(tensor)] = tensor
    return copy.deepcopy(module, memo)
