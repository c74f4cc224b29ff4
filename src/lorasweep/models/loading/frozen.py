"""Frozen layers whose weights are kept small or in CPU memory and are made whole only while they are used."""

import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

CPU = torch.device("cpu")
FP8 = torch.float8_e4m3fn
NF4_BLOCK = 64
"""How many weights share a scale, as in QLoRA (Dettmers et al. 2023, arXiv 2305.14314)."""


def has_bitsandbytes() -> bool:
    """Return whether the extra ``lorasweep[lowvram]`` is installed, without importing it."""
    return importlib.util.find_spec("bitsandbytes") is not None


@contextmanager
def without_bitsandbytes() -> Iterator[None]:
    """Let what is imported inside take bitsandbytes for not installed."""
    # diffusers would import it, and torch's compiler with it, to read models packed by its own means: a second
    hidden = "bitsandbytes" not in sys.modules
    if hidden:
        sys.modules["bitsandbytes"] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["bitsandbytes"]


# Not diffusers' layerwise casting: it swaps a parameter's data by hooks, which clones over the same weights would share
# half, and it leaves fp8 among the saved tensors. Not whole blocks: they copy twice a step instead of three times, but
# need gradient checkpointing and an order of blocks.
class KeptLinear(nn.Linear):
    """A frozen linear layer whose weight is kept as ``how`` says."""

    how: str
    """full, half, fp8 or nf4."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what ``nn.Linear`` would, computed on the device and in the precision of ``input``."""
        return Used.apply(_as_autocast(input), self)

    def applied(self, x: Tensor) -> Tensor:
        """Return [..., out] for [..., in]."""
        return F.linear(x, whole(self, x), _bias(self, x))

    def pulled(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """Return the gradient of the input from that of the output."""
        return (gradient @ whole(self, gradient)).view(shape)


class KeptConv2d(nn.Conv2d):
    """A frozen convolution whose weight is kept as ``how`` says."""

    how: str

    def forward(self, input: Tensor) -> Tensor:
        """Return what ``nn.Conv2d`` would, padded with zeros."""
        return Used.apply(_as_autocast(input), self)

    def applied(self, x: Tensor) -> Tensor:
        """Return [N, out, h', w'] for [N, in, h, w]."""
        return F.conv2d(x, whole(self, x), _bias(self, x), *self._steps)

    def pulled(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """Return the gradient of the input from that of the output."""
        return conv2d_input(shape, whole(self, gradient), gradient, *self._steps)

    @property
    def _steps(self) -> Any:
        return self.stride, self.padding, self.dilation, self.groups


class Used(torch.autograd.Function):
    """One use of a kept layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: KeptLinear | KeptConv2d) -> Tensor:
        # the layer, not the whole weight: it is made again for the gradient and never waits among the saved tensors
        ctx.layer, ctx.shape = layer, x.shape
        return layer.applied(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.pulled(gradients[0], ctx.shape), None


def _as_autocast(x: Tensor) -> Tensor:
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _bias(layer: nn.Module, x: Tensor) -> Tensor | None:
    bias: Any = layer.bias
    return None if bias is None else bias.to(x.device, x.dtype, non_blocking=True)


def whole(layer: Any, like: Tensor) -> Tensor:
    """Return a kept layer's weight in its own shape, on the device and in the precision of ``like``."""
    weight = layer.weight.to(like.device, non_blocking=True)
    if layer.how in ("full", "half"):
        return weight.to(like.dtype)
    scale = layer.scale.to(like.device, non_blocking=True)
    if layer.how == "fp8":
        return weight.to(like.dtype).mul_(scale.to(like.dtype))
    return _from_nf4(weight, scale, layer.code.to(like.device), (layer.out_features, layer.in_features), like.dtype)


def packed(weight: Tensor, how: str) -> dict[str, Tensor]:
    """Return a weight as it is kept: ``weight`` and what is needed to make it whole."""
    if how in ("full", "half"):
        return {"weight": weight}
    return _as_fp8(weight) if how == "fp8" else _as_nf4(weight)


def _as_fp8(weight: Tensor) -> dict[str, Tensor]:
    """Each row in fp8 (e4m3), scaled to where that is finest."""
    # plain e4m3, as Kohya's fp8_base, loses small weights in its subnormals: 3.3 % of error on normal weights with a
    # deviation of 0.02, scaled rows 2.6 %
    largest = weight.flatten(1).float().abs().amax(1).clamp(min=2.0**-100)
    # a power of two loses nothing in any precision
    scale = torch.exp2(torch.ceil(torch.log2(largest / torch.finfo(FP8).max)))
    scale = scale.view(-1, *(1 for _ in weight.shape[1:]))
    return {"weight": (weight.float() / scale).to(FP8), "scale": scale}


def _as_nf4(weight: Tensor) -> dict[str, Tensor]:
    from bitsandbytes import functional

    values, state = functional.quantize_4bit(weight.contiguous(), blocksize=NF4_BLOCK, quant_type="nf4")
    return {"weight": values, "scale": state.absmax, "code": cast(Tensor, state.code)}


def _from_nf4(values: Tensor, scale: Tensor, code: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    from bitsandbytes import functional

    state = functional.QuantState(
        scale, shape=torch.Size(shape), code=code, blocksize=NF4_BLOCK, quant_type="nf4", dtype=dtype
    )
    return functional.dequantize_4bit(values, state)


def repeated_layers(module: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the linear layers and convolutions of all numbered blocks, by name: nearly all of a model's weights."""
    # what is outside is small and sensitive: the first and the last layer, embeddings of time
    layers = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}
    return {name: part for name, part in layers.items() if any(word.isdigit() for word in name.split("."))}


def how_kept(layer: nn.Module, base: str) -> str:
    """Return how a layer of a model of which ``base`` is asked is kept: full, half, fp8 or nf4."""
    if isinstance(layer, KeptLinear | KeptConv2d):
        return layer.how
    # bitsandbytes packs matrices only
    return "fp8" if base == "nf4" and isinstance(layer, nn.Conv2d) else base


def keep(
    module: nn.Module, base: str, device: torch.device, away: Collection[str] = (), *, pinned: bool = False
) -> nn.Module:
    """Put a frozen module on ``device``, in place, with its blocks' weights kept as ``base`` says, and return it.

    Args:
        base: full, fp8 or nf4.
        away: names of layers whose weights stay in CPU memory.
        pinned: copy those to page-locked memory, which a card reads fastest; else they stay where they are, which may
            be a mapped file.
    """
    for name, layer in repeated_layers(module).items():
        if base != "full" or name in away:
            kept = kept_layer(layer, how_kept(layer, base), device, away=name in away, pinned=pinned)
            module.set_submodule(name, kept)
    _move(module, device, away)
    return module


def in_fp32(module: nn.Module) -> nn.Module:
    """Make a module compute in fp32, in place, with the weights of its blocks in the half precision that they have."""
    # transformers looks at these weights' dtype to decide what it hands them (T5's wo)
    wide = set(getattr(module, "_keep_in_fp32_modules", None) or ())
    for name, layer in repeated_layers(module).items():
        if wide.isdisjoint(name.split(".")):
            module.set_submodule(name, kept_layer(layer, "half", layer.weight.device, away=False))
    for part in module.modules():
        if not isinstance(part, KeptLinear | KeptConv2d):
            for tensor in [*part.parameters(recurse=False), *part.buffers(recurse=False)]:
                tensor.data = tensor.data.float() if tensor.is_floating_point() else tensor.data
    return module


def _move(module: nn.Module, device: torch.device, away: Collection[str]) -> None:
    """Move all but the layers that stay ``away`` to ``device``."""
    # by tensor, so that one of two modules (T5's embedding) stays one
    moved: dict[Tensor, Tensor] = {}
    for name, part in module.named_modules():
        if name not in away:
            for key, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
                if tensor not in moved:
                    there = tensor.detach().to(device)
                    moved[tensor] = nn.Parameter(there, requires_grad=False) if key in part._parameters else there
                setattr(part, key, moved[tensor])


def kept_layer(
    layer: nn.Linear | nn.Conv2d, how: str, device: torch.device, *, away: bool, pinned: bool = False
) -> nn.Module:
    """Return the same layer, its weight kept as ``how`` says on ``device``, or in CPU memory if ``away``."""
    kept: Any = KeptLinear(1, 1, device="meta") if isinstance(layer, nn.Linear) else KeptConv2d(1, 1, 1, device="meta")
    assert getattr(layer, "padding_mode", "zeros") == "zeros"
    kept.__dict__ |= {key: value for key, value in vars(layer).items() if not key.startswith("_")}
    # packed on the device even if it is kept away, which is faster
    parts = packed(layer.weight.data if how == "full" and away else layer.weight.data.to(device), how)
    if away:
        parts = {name: part.to(CPU) for name, part in parts.items()}
    if away and pinned and device.type == "cuda" and torch.cuda.is_available():
        parts = {name: part.pin_memory() for name, part in parts.items()}
    kept.how = how
    kept.weight = nn.Parameter(parts.pop("weight"), requires_grad=False)
    if layer.bias is not None:
        kept.bias = nn.Parameter(layer.bias.data.to(device), requires_grad=False)
    else:
        kept.bias = None
    for name, part in parts.items():
        kept.register_buffer(name, part)
    return kept


def last_layers(module: nn.Module, share: float) -> list[str]:
    """Return names of the last layers of the blocks that together hold at least ``share`` of the blocks' weights."""
    layers = repeated_layers(module)
    wanted = share * sum(_size(layer) for layer in layers.values())
    names: list[str] = []
    for name, layer in reversed(layers.items()):
        if wanted <= 0:
            break
        names.append(name)
        wanted -= _size(layer)
    return names


def _size(layer: nn.Module) -> int:
    if isinstance(layer, nn.Conv2d):
        return layer.weight.numel()
    assert isinstance(layer, nn.Linear)
    return layer.in_features * layer.out_features


def bytes_on_card(module: nn.Module, base: str, away: Collection[str] = ()) -> int:
    """Return what a module that is still whole will take on a card, kept so; works on weightless modules too."""
    layers = repeated_layers(module)
    rest = sum(tensor.nbytes for tensor in chain(module.parameters(), module.buffers()))
    rest -= sum(layer.weight.nbytes for layer in layers.values())
    return rest + sum(_kept_bytes(layer, how_kept(layer, base)) for name, layer in layers.items() if name not in away)


def _kept_bytes(layer: nn.Linear | nn.Conv2d, how: str) -> int:
    count = layer.weight.numel()
    sizes: Mapping[str, int] = {
        "full": layer.weight.nbytes,
        "half": layer.weight.nbytes,
        "fp8": count + 4 * layer.weight.shape[0],
        "nf4": count // 2 + 4 * -(-count // NF4_BLOCK) + 4 * 16,
    }
    return sizes[how]
