"""What a training starts from: PEFT, whose one door is here, names the modules that get an adapter and fills them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lorasweep.errors import UserError
from lorasweep.models.family import Family
from lorasweep.models.lora.layer import LoraWeights, copied, module_shapes

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig

TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TEXT_LINEAR = [*TEXT_ATTENTION, "fc1", "fc2"]


def text_targets(lora: "LoraConfig", encoders: Sequence[str]) -> dict[str, list[str]]:
    """Return the ends of names of the modules of CLIP text encoders that get an adapter; none without
    ``lora.text_encoder``."""
    ends = TEXT_ATTENTION if lora.targets == "attention" else TEXT_LINEAR
    return dict.fromkeys(encoders, ends) if lora.text_encoder else {}


def initial_adapter(family: Family, lora: "LoraConfig", seed: int) -> dict[str, LoraWeights]:
    """Return what PEFT starts from after ``torch.manual_seed(seed)``, in the order of the modules; up is zero.

    Raises:
        UserError: a component has none of the modules that ``lora.targets`` names.
    """
    names, started = initial_names(family, lora), {}
    for component, ends in family.targets(lora).items():
        started |= initial_weights(family.components[component], component, ends, lora, seed)
    # PEFT's state dict has an order of its own
    return {name: started[name] for name in names}


def initial_names(family: Family, lora: "LoraConfig") -> list[str]:
    """Return the modules that get an adapter, in their order: those that PEFT would find, without asking it.

    Raises:
        UserError: a component has none of the modules that ``lora.targets`` names.
    """
    found: list[str] = []
    shapes = module_shapes(family.components)
    for component, ends in family.targets(lora).items():
        last = tuple(f".{end}" for end in ends)
        # A module outside all blocks is the model's last layer, which trainers leave alone: FLUX calls it proj_out,
        # like the layers that end its blocks.
        own = [name for name in shapes if name.startswith(f"{component}.") and name.count(".") > 1]
        chosen = [name for name in own if name.endswith(last)]
        if not chosen:
            raise UserError(f"lora.targets is {lora.targets!r}, but the {component} has no module named {ends[0]}.")
        found += chosen
    return found


def initial_weights(
    module: nn.Module, component: str, targets: Sequence[str], lora: "LoraConfig", seed: int
) -> dict[str, LoraWeights]:
    """Return the adapter that PEFT would put on ``module`` after ``torch.manual_seed(seed)``; up is zero.

    Args:
        module: only its names and shapes matter; the result does not depend on device or precision.
        component: goes before every name, ``unet`` in ``unet.down_blocks.0...``.
        targets: ends of module names, as PEFT takes them.
    """
    # seconds to import, and only a fresh adapter needs it
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model_state_dict, inject_adapter_in_model

    config = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(targets))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        injected = inject_adapter_in_model(config, hollow(module))
    state = get_peft_model_state_dict(injected)
    weights = {}
    for key in (key for key in state if key.endswith(".lora_A.weight")):
        name = key.removesuffix(".lora_A.weight")
        up = state[f"{name}.lora_B.weight"]
        weights[f"{component}.{name}"] = LoraWeights(state[key].detach(), up.detach(), float(lora.alpha))
    return weights


def hollow(module: nn.Module) -> nn.Module:
    """Return the same tree of modules in fp32 on the CPU, with no weights to speak of."""
    # One zero, expanded to every shape: PEFT draws the same numbers as on the real weights, of which a copy of FLUX
    # in fp32 would take 48 GB.
    memo: dict[int, Any] = {}
    for tensor in module.parameters():
        memo[id(tensor)] = nn.Parameter(torch.zeros(()).expand(tensor.shape), requires_grad=False)
    for tensor in module.buffers():
        memo[id(tensor)] = tensor
    return copied(module, memo)
