"""A family's real classes built from configurations alone: every tensor has a shape, and no memory behind it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from lorasweep.data.hub import HUB_ID
from lorasweep.errors import UserError
from lorasweep.models import assembled
from lorasweep.models.family import Family
from lorasweep.models.loading.reading import (
    changes_of,
    from_configuration,
    in_range,
    part_dtype,
    part_kinds,
    tokenizers,
)
from lorasweep.models.loading.sources import WEIGHTS, Source, find_source, read_json, shipped_configs
from lorasweep.models.lora.file import init_file, read_lora
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import Adapter, LoraWeights, module_shapes

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig

CPU = torch.device("cpu")
"""Where weightless tensors claim to lie whatever device is planned for, so that no card need be there."""


def described(model: "ModelConfig") -> Source:
    """Where the configurations of a base model are; nothing is fetched.

    A model without a name, or a hub id that is not on this machine, is taken for the family's well-known full size.

    Raises:
        UserError: ``model.path`` leads nowhere, or to what is no model of this family.
    """
    shipped = Source(kind=model.family, folder=shipped_configs(model.family))
    if not model.path:
        return shipped
    if Path(model.path).expanduser().exists() or not HUB_ID.fullmatch(model.path):
        return find_source(model)
    try:
        return find_source(replace(model, offline=True))
    except UserError:
        return shipped


def weightless_family(model: "ModelConfig", source: Source, dtype: torch.dtype) -> Family:
    """Return the family as ``load_family`` would make it; to be called inside a ``FakeTensorMode``."""
    kinds = part_kinds(model.family)
    parts: dict[str, Any] = {
        part: in_range(_part(kinds[part], source, part, part_dtype(part, dtype)), dtype)
        for part in WEIGHTS[model.family]
    }
    parts |= {part: _tokenizer(source, part) for part in tokenizers(model.family)}
    return assembled(model, source, parts, CPU, dtype, hashes={})


def _part(kind: Any, source: Source, part: str, dtype: torch.dtype) -> nn.Module:
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        module = from_configuration(kind, source.place(part), changes_of(source, part))
    finally:
        torch.set_default_dtype(default)
    return module.requires_grad_(False).eval()


def _tokenizer(source: Source, part: str) -> Any:
    """Stands in for a tokenizer: any words become as many ids as there is room for."""
    settings = source.place(part) / "tokenizer_config.json"
    longest = read_json(settings).get("model_max_length", 10**9) if settings.is_file() else 10**9

    class Tokenizer:
        model_max_length = int(longest)

        def __call__(self, texts: list[str], *, max_length: int, **_: Any) -> Any:
            return SimpleNamespace(input_ids=torch.zeros(len(texts), max_length, dtype=torch.long))

    return Tokenizer()


def weightless_adapter(family: Family, lora: "LoraConfig") -> Adapter:
    """An adapter of the modules that training would choose, at their ranks.

    Raises:
        UserError: ``lora.init`` is no LoRA file of this base model.
    """
    with unset_fake_temporarily():
        if lora.init:
            shapes = {name: (w.down.shape, w.up.shape) for name, w in read_lora(init_file(lora.init), family).items()}
        else:
            shapes = _fresh_shapes(family, lora)
    return {
        name: LoraWeights(torch.empty(down), torch.empty(up), float(lora.alpha)) for name, (down, up) in shapes.items()
    }


def _fresh_shapes(family: Family, lora: "LoraConfig") -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Module to the shapes of down and up; PEFT is asked at rank 1, since it makes real numbers."""
    modules = module_shapes(family.components)
    names = initial_adapter(family, replace(lora, rank=1), 0)
    return {
        name: ((lora.rank, *modules[name][1:]), (modules[name][0], lora.rank, *(1 for _ in modules[name][2:])))
        for name in names
    }
