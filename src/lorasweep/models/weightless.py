"""A family's real classes built from configurations alone: every tensor has a shape, and no memory behind it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lorasweep.data.errors import UserError
from lorasweep.models import FAMILIES
from lorasweep.models.cohort_lora import Adapter, LoraWeights
from lorasweep.models.family import Family
from lorasweep.models.noise import NoiseSchedule, scheduler_config
from lorasweep.models.sources import HUB_ID, WEIGHTS, Source, find_source, read_json, shipped_configs

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig

CPU = torch.device("cpu")
"""Where weightless tensors claim to lie, whatever device is planned for: autograd asks no card about them."""


def described(model: "ModelConfig") -> Source:
    """Where the configurations of ``model`` are; nothing is fetched.

    A model that is not named, or a hub id that is not on this machine, is taken for the family's well-known full size.

    Raises:
        UserError: ``model.path`` names what is there but is no model of this family, or a path that is not there.
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


def weightless(model: "ModelConfig", source: Source, dtype: torch.dtype) -> Family:
    """The family as ``load`` would make it, for use under a ``FakeTensorMode`` that must be active now."""
    parts = {part: _part(model.family, part, source.folder, dtype) for part in WEIGHTS[model.family]}
    encoders = [part for part in parts if part.startswith("text_encoder")]
    tokenizers = {part.replace("text_encoder", "tokenizer"): _Words(_length(source, part)) for part in encoders}
    noise = {"scheduler": source.scheduler()}
    if model.family != "flux":
        noise = {"schedule": NoiseSchedule.of(scheduler_config(source.scheduler(), model), CPU)}
    kind: Any = FAMILIES[model.family]()
    return kind(**parts, **tokenizers, **noise, device=CPU, dtype=dtype, hashes={})
