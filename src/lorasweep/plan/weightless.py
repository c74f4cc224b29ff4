"""A family's real classes built from configurations alone: every tensor has a shape, and no memory behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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
from lorasweep.models.lora.initial import initial_names
from lorasweep.models.lora.layer import Adapter, LoraWeights, module_shapes

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig

CPU = torch.device("cpu")
"""Where weightless tensors claim to lie, whatever device is planned for: no card need be there."""
META = torch.device("meta")
AdapterShapes = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Module to the shapes of down and up."""


class Weightless(Tensor):
    """A tensor that claims to lie on the CPU and has no memory: all it has is a tensor on the meta device.

    A meta tensor alone would not do: autocast and attention choose by the device what they compute.
    """

    inner: Tensor
    # torch would turn whatever a function returns, real tensors too, into this class
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    def __new__(cls, inner: Tensor) -> "Weightless":
        place = (inner.shape, inner.stride(), inner.storage_offset())
        return Tensor._make_wrapper_subclass(cls, *place, dtype=inner.dtype, device=CPU)  # pyright: ignore

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data":  # as models do that change their own precision; torch swaps no more than the outside
            self.inner = value.inner
        super().__setattr__(name, value)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called on a weightless tensor outside a WeightlessMode.")

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the storage of the meta tensor, which views share as they would share memory."""
        return self.inner.untyped_storage()


class WeightlessMode(TorchDispatchMode):
    """Makes weightless tensors of whatever is made inside, and asks kernels for shapes only.

    In place of torch's FakeTensorMode, which takes five times as long to do the same: a step of SDXL is 20,000 calls.
    Most of them are alike, as the blocks of a model are, and the same call on the same shapes is worked out once here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[Any, ...], Made | None] = {}
        """Calls with all that decides the shapes of what they make; None for those that make nothing new."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        met: Met = {}
        call: list[Any] = [func]
        inner = _inner(args, met, call)
        named: dict[str, Any] = {}
        for name, arg in (kwargs or {}).items():
            call.append(name)
            named[name] = _inner(arg, met, call)
        if "device" in named or not met:  # without a tensor among its arguments it makes one from nothing
            named["device"] = META
        key = tuple(call)
        made = self._known.get(key)
        if made is not None:
            return made.again()
        out = func(*inner, **named)
        if met and key not in self._known:
            self._known[key] = Made.of(out, met)
        return _outer(out, met)


class Made(NamedTuple):
    """What a call makes: one tensor, or several in a tuple or list."""

    kind: type | None
    parts: Sequence[tuple[torch.Size, tuple[int, ...], torch.dtype] | None]
    """Shape, strides and precision of each tensor; None stands for itself."""

    @classmethod
    def of(cls, out: Any, met: "Met") -> "Made | None":
        """Return how to make ``out`` again; None if it is not new, as views and what is changed in place are not."""
        kind = type(out) if isinstance(out, (list, tuple)) else None
        parts: list[Any] = [out] if kind is None else list(out)
        taken = {inner.untyped_storage()._cdata for inner, _ in met.values()}
        for part in parts:
            if part is None:
                continue
            if not isinstance(part, Tensor) or part.untyped_storage()._cdata in taken:
                return None
            taken.add(part.untyped_storage()._cdata)
        return cls(kind, [None if part is None else (part.shape, part.stride(), part.dtype) for part in parts])

    def again(self) -> Any:
        """Return new tensors like those that were made."""
        parts = [None if part is None else _empty(*part) for part in self.parts]
        return parts[0] if self.kind is None else self.kind(parts)


def _empty(shape: torch.Size, strides: tuple[int, ...], dtype: torch.dtype) -> Weightless:
    return Weightless(torch.empty_strided(shape, strides, dtype=dtype, device=META))


Met = dict[int, tuple[Tensor, Tensor]]
"""The tensors among a call's arguments, by the id of the meta tensor: meta tensor and the argument itself."""


def _inner(arg: Any, met: Met, call: list[Any]) -> Any:
    """Return an argument with the meta tensors of its tensors; note these in ``met``, and all that decides the shapes
    of what is made in ``call``."""
    if isinstance(arg, Tensor):
        # a real one is a constant, such as a noise schedule
        inner = arg.inner if isinstance(arg, Weightless) else arg.to(META)
        met[id(inner)] = (inner, arg)
        call.append((inner.shape, inner.stride(), inner.dtype))
        return inner
    if isinstance(arg, (list, tuple)):
        call.append(len(arg))
        return type(arg)([_inner(part, met, call) for part in arg])
    call.append((type(arg), arg))  # 1, 1.0 and True are equal, but make other precisions
    return arg


def _outer(out: Any, met: Met) -> Any:
    """Return what a call returned with weightless tensors in place of meta tensors."""
    if isinstance(out, Tensor):
        # what is changed in place is the very tensor that came in
        return met[id(out)][1] if id(out) in met else Weightless(out)
    return type(out)([_outer(part, met) for part in out]) if isinstance(out, (list, tuple)) else out


def described(model: "ModelConfig") -> Source:
    """Return where the configurations of a base model are; nothing is fetched.

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
    """Return the family as ``load_family`` would make it; to be called inside a ``WeightlessMode``."""
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


def adapter_shapes(family: Family, lora: "LoraConfig") -> AdapterShapes:
    """Return the shapes of an adapter of the modules that training would choose, at their ranks.

    To be called outside a ``WeightlessMode``: a file has real numbers.

    Raises:
        UserError: ``lora.init`` is no LoRA file of this base model, or a component has no such modules.
    """
    if lora.init:
        return {name: (w.down.shape, w.up.shape) for name, w in read_lora(init_file(lora.init), family).items()}
    modules = module_shapes(family.components)
    return {
        name: ((lora.rank, *modules[name][1:]), (modules[name][0], lora.rank, *(1 for _ in modules[name][2:])))
        for name in initial_names(family, lora)
    }


def weightless_adapter(shapes: AdapterShapes, alpha: float) -> Adapter:
    """Return an adapter of these shapes; to be called inside a ``WeightlessMode``."""
    return {name: LoraWeights(torch.empty(down), torch.empty(up), alpha) for name, (down, up) in shapes.items()}
