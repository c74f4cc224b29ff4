"""The LoRA layer that holds C adapters side by side on one frozen base.

Activations are ``[C * B, ...]``, slot-major. The frozen layer sees them as one batch; slot c adds
``x[c] @ down[c].T @ up[c].T * alpha / rank`` to its own rows only, so a slot never sees its neighbours. The values of
all adapters lie in one flat ``[C, P]`` buffer: gradient norm, clipping and optimiser work on rows of it.
"""

import contextlib
import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorasweep.models.family import Family

AnyFamily = TypeVar("AnyFamily", bound=Family)


class LoraWeights(NamedTuple):
    """One module's share of an adapter, shaped as in PEFT's state dict."""

    down: Tensor
    """[rank, in], or [rank, in, rows, columns] for a convolution."""
    up: Tensor
    """[out, rank], or [out, rank, 1, 1]."""
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def part_of(module: str) -> str:
    """Return ``text`` for a module of a text encoder, else ``denoiser``; each has its own learning rate."""
    return "text" if module.startswith("text_encoder") else "denoiser"


Adapter = Mapping[str, LoraWeights]
"""Component and module name (``unet.down_blocks.0...to_q``) to weights: one LoRA, whole."""
Shapes = Mapping[str, tuple[int, ...]]
"""Component and module name to the shape of its weight (see ``module_shapes``)."""


class Dropout(NamedTuple):
    """What a slot's dropout masks of one step are made from."""

    share: float
    """Of activations that are dropped, in [0, 1)."""
    seed: int
    """Of the step, so that gradient checkpointing repeats the masks."""


class Layer(nn.Module):
    """A frozen module and its C adapters."""

    def __init__(self, base: nn.Module, stack: "Stack") -> None:
        super().__init__()
        self.base = base
        self.stack = stack

    def forward(self, x: Tensor) -> Tensor:
        """Return the frozen module's answer with each slot's change, [C * B, ...]."""
        y = self.base(x)
        if not isinstance(self.base, nn.Conv2d):
            return self._change(x, y).view(y.shape)
        if self.base.kernel_size == (1, 1) and self.base.stride == (1, 1):  # a linear layer over channels
            rows = x.movedim(1, -1)
            return y + self._change(rows, None).view(*rows.shape[:-1], -1).movedim(-1, 1)
        return y + self._convolved(x, self.base)

    def _convolved(self, x: Tensor, base: nn.Conv2d) -> Tensor:
        """The change of a convolution: a convolution to ``rank`` channels, then a linear layer over those."""
        stack = self.stack
        slots, rank, _ = stack.down.shape
        rows = x.reshape(slots, -1, *x.shape[1:])
        if stack.bank.dropout is not None:
            rows = _dropped(rows, stack.bank.dropout, stack.numbers)
        # slots become groups of channels, so that one call serves them all and none sees another
        grouped = rows.transpose(0, 1).flatten(1, 2)
        kernel = stack.down.reshape(slots * rank, x.shape[1], *base.kernel_size)
        how: Any = (base.stride, base.padding, base.dilation)
        narrow = F.conv2d(grouped, kernel, None, *how, groups=slots)
        count, _, height, width = narrow.shape
        columns = narrow.reshape(count, slots, rank, height * width).transpose(0, 1)
        # scaled before, not after: under autocast the product stays in the base's precision, as norms need it on a CPU
        wide = torch.matmul((stack.up * stack.scale).unsqueeze(1), columns)
        return wide.reshape(slots * count, -1, height, width)

    def _change(self, x: Tensor, y: Tensor | None) -> Tensor:
        stack = self.stack
        slots, _, features = stack.down.shape
        rows = x.reshape(slots, -1, features)
        if stack.bank.dropout is not None:
            rows = _dropped(rows, stack.bank.dropout, stack.numbers)
        if slots == 1:
            # Plain matrices are faster than a batch of one. They are views: an index like rows[0] would copy the
            # whole gradient on the way back.
            change = F.linear(rows.view(-1, features), stack.down.flatten(0, 1))
            up = stack.up.flatten(0, 1)
            if y is None:
                return F.linear(change, up) * stack.scales[0]
            return torch.addmm(y.reshape(-1, y.shape[-1]), change, up.t(), alpha=stack.scales[0])
        change = torch.bmm(rows, stack.down.transpose(1, 2)) * stack.scale
        if y is None:
            return torch.bmm(change, stack.up.transpose(1, 2))
        return torch.baddbmm(y.reshape(slots, -1, y.shape[-1]), change, stack.up.transpose(1, 2))


def _dropped(rows: Tensor, dropout: Sequence[Dropout], numbers: Sequence[int]) -> Tensor:
    masks = torch.ones_like(rows)
    for slot, ((share, seed), number) in enumerate(zip(dropout, numbers, strict=True)):
        if share > 0:
            generator = torch.Generator(rows.device).manual_seed((seed + 0x9E3779B9 * number) % 2**63)
            masks[slot].bernoulli_(1 - share, generator=generator).div_(1 - share)
    return rows * masks


class Stack:
    """The C adapters of one module: down [C, r, in] and up [C, out, r] are views of the bank's flat buffer.

    Args:
        scales: alpha / rank times the strength, of each slot.
        numbers: where the module stands among the modules of each slot's own adapter.
    """

    def __init__(
        self, bank: "AdapterBank", down: nn.Parameter, up: nn.Parameter, scales: list[float], numbers: list[int]
    ) -> None:
        self.bank = bank
        self.numbers = numbers
        self.down = down
        self.up = up
        self.scales = scales
        self.scale = torch.tensor(scales, device=down.device).view(-1, 1, 1)
        self.down_gradient: Tensor | None = None
        self.up_gradient: Tensor | None = None


class AdapterBank:
    """C adapters side by side, their ranks zero-padded to the widest."""

    # Padding needs no mask: if a row of down and the matching column of up are zero, so are both their gradients, and
    # no optimiser here moves a zero that has a zero gradient.

    def __init__(
        self,
        adapters: Sequence[Adapter],
        device: torch.device | str = "cpu",
        *,
        strength: float = 1.0,
        trainable: bool = False,
    ) -> None:
        self.slots = len(adapters)
        self.names = tuple(dict.fromkeys(chain.from_iterable(adapters)))
        self.adapters = tuple(adapters)
        self.dropout: Sequence[Dropout] | None = None
        self._shapes = {name: _widest(name, adapters) for name in self.names}
        width = sum(down.numel() + up.numel() for down, up in self._shapes.values())
        self.values = torch.zeros(self.slots, width, device=device)
        self.gradients = torch.zeros_like(self.values) if trainable else None
        self.stacks: dict[str, Stack] = {}
        self._spans: dict[str, tuple[int, int, int]] = {}
        self._lay_out(strength)

    def _lay_out(self, strength: float) -> None:
        start = 0
        numbers = [{name: number for number, name in enumerate(adapter)} for adapter in self.adapters]
        for name, (down, up) in self._shapes.items():
            middle, end = start + down.numel(), start + down.numel() + up.numel()
            self._spans[name] = (start, middle, end)
            scales = [a[name].alpha / a[name].rank * strength if name in a else 0.0 for a in self.adapters]
            # dropout must not depend on the neighbours' modules; a slot without the module adds nothing at any number
            own = [each.get(name, 0) for each in numbers]
            stack = Stack(self, self._leaf(start, middle, down), self._leaf(middle, end, up), scales, own)
            stack.down_gradient = self._gradient(start, middle, down)
            stack.up_gradient = self._gradient(middle, end, up)
            self.stacks[name] = stack
            for slot, adapter in enumerate(self.adapters):
                if name in adapter:
                    with torch.no_grad():
                        _write(stack, slot, adapter[name])
            start = end

    def fits(self, adapters: Sequence[Adapter]) -> bool:
        """Return whether ``load`` can take these adapters in: same names, ranks and alphas as the present ones."""
        return [_layout(adapter) for adapter in adapters] == [_layout(adapter) for adapter in self.adapters]

    @torch.no_grad()
    def load(self, adapters: Sequence[Adapter]) -> None:
        """Take in other weights of the same layout; a family that carries the bank carries them at once."""
        self.adapters = tuple(adapters)
        for slot, adapter in enumerate(adapters):
            for name, weights in adapter.items():
                _write(self.stacks[name], slot, weights)

    def _leaf(self, start: int, end: int, shape: torch.Size) -> nn.Parameter:
        view = self.values[:, start:end].view(self.slots, *shape)
        return nn.Parameter(view, requires_grad=self.gradients is not None)

    def _gradient(self, start: int, end: int, shape: torch.Size) -> Tensor | None:
        return None if self.gradients is None else self.gradients[:, start:end].view(self.slots, *shape)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss`` to ``gradients``."""
        leaves = [leaf for stack in self.stacks.values() for leaf in (stack.down, stack.up)]
        pairs = [(stack.down_gradient, stack.up_gradient) for stack in self.stacks.values()]
        views = [view for pair in pairs for view in pair if view is not None]
        # SDXL does not read the last layer of its text encoders: adapters on it have no gradient, and never move
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        found = [(view, gradient) for view, gradient in zip(views, gradients, strict=True) if gradient is not None]
        used, values = [view for view, _ in found], [gradient for _, gradient in found]
        torch._foreach_add_(used, values)  # pyright: ignore[reportPrivateImportUsage]

    def columns(self, slot: int, part: str) -> slice | Tensor:
        """Return the columns of the flat buffer that are a slot's own, of the ``denoiser`` or the ``text`` encoders.

        They come in the order of the slot's own modules, without padding: neither which modules its neighbours have
        nor their ranks changes what an optimiser sees of a slot. A slice if they lie side by side, else [P] indices.
        """
        own = [name for name in self.adapters[slot] if part_of(name) == part]
        spans = [self._spans[name] for name in own]
        ranks = [self.adapters[slot][name].rank for name in own]
        padded = any(rank != self._shapes[name][0][0] for name, rank in zip(own, ranks, strict=True))
        if not padded and all(before[2] == after[0] for before, after in pairwise(spans)):
            return slice(spans[0][0], spans[-1][2]) if spans else slice(0, 0)
        pieces = []
        for name, (start, middle, end), rank in zip(own, spans, ranks, strict=True):
            down, up = self._shapes[name]
            pieces += [torch.arange(start, middle).view(down)[:rank], torch.arange(middle, end).view(up)[:, :rank]]
        return torch.cat([piece.flatten() for piece in pieces]).to(self.values.device)

    def weights(self, slot: int, name: str) -> tuple[Tensor, Tensor]:
        """Return views of one slot's own down [rank, in] and up [out, rank], without padding."""
        stack, rank = self.stacks[name], self.adapters[slot][name].rank
        return stack.down.detach()[slot, :rank], stack.up.detach()[slot, :, :rank]

    def leaves(self, slot: int, part: str) -> list[Tensor]:
        """Return the slot's own matrices with their gradients, for an optimiser that needs rows and columns."""
        leaves = []
        for name in self.adapters[slot]:
            if part_of(name) == part:
                stack, rank = self.stacks[name], self.adapters[slot][name].rank
                down, up = self.weights(slot, name)
                assert stack.down_gradient is not None
                assert stack.up_gradient is not None
                down.grad, up.grad = stack.down_gradient[slot, :rank], stack.up_gradient[slot, :, :rank]
                leaves += [down, up]
        return leaves

    def export(self, slot: int) -> dict[str, LoraWeights]:
        """Return a copy of one slot's adapter on the CPU, shaped as it came in."""
        exported = {}
        for name, weights in self.adapters[slot].items():
            down, up = self.weights(slot, name)
            down, up = down.cpu().clone(), up.cpu().clone()
            exported[name] = LoraWeights(down.view(weights.down.shape), up.view(weights.up.shape), weights.alpha)
        return exported


def _layout(adapter: Adapter) -> list[tuple[str, int, float]]:
    return [(name, weights.rank, weights.alpha) for name, weights in adapter.items()]


def _widest(name: str, adapters: Sequence[Adapter]) -> tuple[torch.Size, torch.Size]:
    present = [adapter[name] for adapter in adapters if name in adapter]
    rank = max(weights.rank for weights in present)
    return torch.Size((rank, present[0].down[0].numel())), torch.Size((present[0].up.shape[0], rank))


def _write(stack: Stack, slot: int, weights: LoraWeights) -> None:
    stack.down[slot, : weights.rank] = weights.down.flatten(1).to(stack.down)
    stack.up[slot, :, : weights.rank] = weights.up.flatten(1).to(stack.up)


PLAIN = (bool, int, float, str, type(None))
"""What a copy may share."""


def structural_clone(module: nn.Module) -> nn.Module:
    """Return a module tree of its own over the same tensors: replacing a part of it leaves ``module`` as it was."""
    return copied(module, {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())})


def copied(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Return what ``copy.deepcopy(module, memo)`` does, several times as fast; every tensor has to be in ``memo``."""
    if id(module) in memo:
        return memo[id(module)]
    clone = memo[id(module)] = type(module).__new__(type(module))
    held = vars(clone)
    for name, value in vars(module).items():
        if name in ("_parameters", "_buffers"):
            held[name] = {key: None if tensor is None else memo[id(tensor)] for key, tensor in value.items()}
        elif name == "_modules":
            held[name] = {key: None if part is None else copied(part, memo) for key, part in value.items()}
        elif type(value) in PLAIN:
            held[name] = value
        elif type(value) in (dict, OrderedDict, set) and not value:  # a dozen a module, for hooks that none has
            held[name] = type(value)()
        else:
            held[name] = copy.deepcopy(value, memo)
    return clone


def attach(module: nn.Module, component: str, bank: AdapterBank) -> nn.Module:
    """Return a clone of ``module`` over the same tensors that carries the bank's adapters of ``component``."""
    clone = structural_clone(module)
    for name in bank.names:
        owner, path = name.split(".", 1)
        if owner == component:
            clone.set_submodule(path, Layer(clone.get_submodule(path), bank.stacks[name]))
    return clone


def adapted(family: AnyFamily, bank: AdapterBank, *, gradient_checkpointing: bool = False) -> AnyFamily:
    """Return a family of the same frozen weights that carries the bank's adapters; ``family`` stays as it was.

    Args:
        gradient_checkpointing: the denoiser forgets its activations and computes them again on the way back.
    """
    owners = {name.split(".", 1)[0] for name in bank.names}
    denoiser = next(iter(family.components))
    carriers: dict[str, Any] = {
        component: attach(module, component, bank)
        for component, module in family.components.items()
        # the denoiser is cloned even without an adapter of its own: checkpointing is switched on in stack
        if component in owners or (gradient_checkpointing and component == denoiser)
    }
    if gradient_checkpointing:
        carriers[denoiser].enable_gradient_checkpointing()
    dataclass: Any = family
    return dataclasses.replace(dataclass, **carriers, slots=bank.slots)


def module_shapes(components: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the shape of the weight of every module that may carry an adapter, in module order.

    (out, in) for a linear layer, (out, in, rows, columns) for a convolution.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for component, module in components.items():
        for name, part in module.named_modules():
            if isinstance(part, nn.Linear):  # not weight.shape: a quantised layer packs it
                shapes[f"{component}.{name}"] = (part.out_features, part.in_features)
            elif isinstance(part, nn.Conv2d):
                shapes[f"{component}.{name}"] = tuple(part.weight.shape)
    return shapes


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which fp32 adapters beside a half-precision base multiply in the base's precision."""
    # not accelerate's: its process-wide state clashes with several base models in one process
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
