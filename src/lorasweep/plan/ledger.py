"""A ledger of tensors: bytes that are alive at once, multiplications, and calls of kernels.

Every storage is added when an operation makes it and taken off when it dies, so what is kept for the way back and what
lives for a moment only are both in the peak, as an allocator would see them. What an operation uses inside itself
(cuDNN's workspaces, for one) is not seen.
"""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one piece of work asks of a device."""

    peak: int
    """Bytes alive at once, beyond what lay there before it began."""
    kept: int
    """Bytes that are kept for the way back when the loss is known; 0 if there is no way back."""
    flops: int
    """Two for a multiplication with its addition; of matrix products, convolutions and attention."""
    operations: int
    """Calls of a kernel."""


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages that operations make while they live, FLOPs, and operations.

    Args:
        known: tensors that lie there all the time, such as the frozen weights; they are not counted.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = self.flops = self.operations = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # a view, or what is changed in place, is of a storage that is alive already
        outs = out if isinstance(out, (list, tuple)) else (out,)
        made = [self._add(tensor.untyped_storage()) for tensor in outs if isinstance(tensor, Tensor)]
        self.operations += any(made)
        count = FLOPS.get(func.overloadpacket)
        if count is not None:
            # the formula itself: what torch wraps around it takes longer than the call that is counted
            named = {name: _shape(arg) for name, arg in (kwargs or {}).items()}
            self.flops += count.__wrapped__(*_shape(args), **named, out_shape=_shape(out))
        return out

    def _add(self, storage: Any) -> bool:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or key in self._alive:
            return False
        self._alive[key] = weakref.ref(storage, lambda _: self._drop(key, size))
        self.now += size
        self.peak = max(self.peak, self.now)
        return True

    def _drop(self, key: int, size: int) -> None:
        del self._alive[key]
        self.now -= size

    def work(self, kept: int = 0) -> Work:
        """Return what was counted so far."""
        return Work(peak=self.peak, kept=kept, flops=self.flops, operations=self.operations)


def _shape(value: Any) -> Any:
    """Return shapes in place of tensors."""
    if isinstance(value, Tensor):
        return value.shape
    return [_shape(part) for part in value] if isinstance(value, (list, tuple)) else value


ATEN: Any = torch.ops.aten
FLOPS: Mapping[Any, Any] = {
    **flop_registry,
    ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[ATEN._scaled_dot_product_flash_attention],
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        ATEN._scaled_dot_product_flash_attention_backward
    ],
}
"""The formulas of torch's own FlopCounterMode, and for a CPU's attention, which it lacks, those of a card's. The mode
counts the same, but takes half as long again: it hooks into every module and tries to decompose every call."""


IN_FP32_ON_CUDA = ("group_norm", "layer_norm", "rms_norm", "interpolate", "softmax")
"""What autocast computes in fp32 on CUDA but not on the CPU, of all that these models call; such copies are kept for
the way back. Source: AT_FORALL_FP32 in ATen/autocast_mode.h."""


@contextmanager
def casts_of(device: str) -> Iterator[None]:
    """Let autocast on the CPU, where weightless tensors claim to be, cast as it does on that type of device."""
    # patched, not a torch function mode: those sleep while gradient checkpointing computes activations again
    own = {name: getattr(functional, name) for name in IN_FP32_ON_CUDA if device == "cuda"}
    for name, call in own.items():
        setattr(functional, name, _in_fp32(call))
    try:
        yield
    finally:
        for name, call in own.items():
            setattr(functional, name, call)


def _in_fp32(call: Any) -> Any:
    def cast(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

    @wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            args = tuple(cast(value) for value in args)
            kwargs = {name: cast(value) for name, value in kwargs.items()}
        return call(*args, **kwargs)

    return called
