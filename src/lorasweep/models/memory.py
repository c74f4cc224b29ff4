"""What a run costs, counted on a weightless model: bytes that are alive at once, and multiplications.

The real forward and backward passes run on tensors without memory. Every storage is added when it is made and taken off
when it dies, so what is kept for the way back and what lives for a moment only are both in the peak, as an allocator
would see them. What an operation uses inside itself (cuDNN's workspaces, for one) is not seen.
"""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from lorasweep.models import PRECISIONS, autoencoder
from lorasweep.models.cohort_lora import Adapter, AdapterBank, Dropout
from lorasweep.models.family import Family, Text
from lorasweep.models.lora_layouts import to_kohya
from lorasweep.models.weightless import CPU, described, weightless, weightless_adapter, weightless_family

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one piece of work asks of a device."""

    peak: int
    """Bytes alive at once, beyond what lay there before it began."""
    kept: int
    """Bytes that are kept for the way back when the loss is known; 0 where there is no way back."""
    flops: int
    """Two for a multiplication with its addition; of matrix products, convolutions and attention."""
    operations: int
    """Calls of a kernel."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything about a run that its model alone decides."""

    parts: Mapping[str, int]
    """Bytes of the frozen weights of each part."""
    values: int
    """Numbers in one adapter."""
    matrix: int
    """Numbers in its largest matrix."""
    file: int
    """Bytes of its LoRA file, without the header."""
    latents: int
    """Bytes that are remembered of one photo."""
    text: int
    """Bytes that are remembered of one caption."""
    picture_in: Work
    """One photo to latents."""
    text_in: Work
    """One caption to what the denoiser reads."""
    step: Work
    """Forward and backward pass of one micro-batch of all slots."""
    forward: Work
    """One call of the denoiser with a batch of pictures that are being drawn."""
    picture_out: Work
    """Latents to one picture."""


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
        made = [self._add(tensor.untyped_storage()) for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        self.operations += any(made)
        count = FLOPS.get(func.overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
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
        """What was counted so far."""
        return Work(peak=self.peak, kept=kept, flops=self.flops, operations=self.operations)


def _attention(query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


ATEN: Any = torch.ops.aten
FLOPS: Mapping[Any, Any] = {
    **flop_registry,
    ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


IN_FP32_ON_CUDA = ("group_norm", "layer_norm", "rms_norm", "interpolate", "softmax")
"""What autocast computes in fp32 on CUDA but not on the CPU, of all that these models call; such copies are kept for the
way back. Source: AT_FORALL_FP32 in ATen/autocast_mode.h."""


@contextmanager
def casts_of(device: str) -> Iterator[None]:
    """Lets autocast on the CPU, where weightless tensors claim to be, cast as it does on that type of device.

    Not a torch function mode: those sleep while gradient checkpointing computes activations again.
    """
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


def count(run: "RunConfig", width: int, device: str) -> Counts:
    """Count what ``width`` adapters of this run side by side cost; takes seconds and no memory to speak of.

    Args:
        device: cpu or cuda, whichever this machine has.

    Raises:
        UserError: ``model.path`` leads to no model of the run's family.
    """
    source = described(run.model)
    with weightless(), casts_of(device):
        family = weightless_family(run.model, source, PRECISIONS[run.hardware.precision])
        adapter = weightless_adapter(family, run.lora)
        with torch.no_grad():
            text = family.encode_prompts([""], run.sample.clip_skip)
        side = run.model.resolution
        return Counts(
            parts={name: sum(tensor.nbytes for tensor in _tensors([part])) for name, part in _parts(family).items()},
            values=sum(weights.down.numel() + weights.up.numel() for weights in adapter.values()),
            matrix=max(max(weights.down.numel(), weights.up.numel()) for weights in adapter.values()),
            file=_bytes(to_kohya(family.kind, family.module_shapes(), adapter)),
            latents=2 * 4 * torch.Size(family.latent_shape(side, side)).numel(),
            text=_bytes(text),
            picture_in=picture_in(family, side),
            text_in=text_in(family, run.sample.clip_skip),
            step=training_step(family, adapter, run, width),
            forward=drawing_call(family, adapter, run, width),
            picture_out=picture_out(family, *picture_size(run)),
        )


def _parts(family: Any) -> dict[str, torch.nn.Module]:
    return {**family.components, "vae": family.vae}


def _tensors(modules: Iterable[torch.nn.Module]) -> Iterable[Tensor]:
    return chain.from_iterable(chain(module.parameters(), module.buffers()) for module in modules)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def ledger_of(family: Family, *banks: AdapterBank) -> Ledger:
    """An empty ledger that takes the frozen weights, and what the banks hold, for granted."""
    held = [tensor for bank in banks for tensor in (bank.values, bank.gradients) if tensor is not None]
    return Ledger([*_tensors(_parts(family).values()), *held])


def training_step(family: Family, adapter: Adapter, run: "RunConfig", width: int) -> Work:
    """Forward and backward pass of one micro-batch as ``train.cohort`` makes it; the bank's own bytes are not in it."""
    optim, side = run.optim, run.model.resolution
    bank = AdapterBank([adapter] * width, CPU, trainable=True)
    if run.lora.dropout:
        bank.dropout = [Dropout(run.lora.dropout, 0)] * width
    carrying = family.adapted(bank, gradient_checkpointing=run.hardware.gradient_checkpointing)
    rows, shape = width * optim.batch_size, family.latent_shape(side, side)
    remembered = _remembered_text(family, run, rows)
    with ledger_of(family, bank) as ledger:
        latents, noise = torch.randn(rows, *shape), torch.randn(rows, *shape)
        uniforms = torch.rand(rows, dtype=torch.float64)
        timesteps = torch.cat([family.timesteps(part, optim, shape) for part in uniforms.chunk(width)])
        text = remembered or carrying.encode_prompts([""] * rows, run.sample.clip_skip)
        text = carrying.training_text(
            {name: tensor.clone() for name, tensor in text.items()}, [[side] * 6] * rows, [1.0] * rows
        )
        answer = carrying.denoise(family.noised(latents, noise, timesteps), timesteps, text)
        errors = (answer - family.target(latents, noise, timesteps)).square().flatten(1).mean(1)
        loss = (errors * family.loss_weights(timesteps, optim.min_snr_gamma)).sum()
        del answer, errors
        kept = ledger.now
        bank.backward(loss)
    return ledger.work(kept)


def _remembered_text(family: Family, run: "RunConfig", rows: int) -> Text | None:
    """What the denoiser reads, where it is made before the step; None where gradients reach the text encoders."""
    if run.lora.text_encoder:
        return None
    with torch.no_grad():
        return family.encode_prompts([""] * rows, run.sample.clip_skip)


def drawing_call(family: Family, adapter: Adapter, run: "RunConfig", width: int) -> Work:
    """One call of the denoiser for a batch of pictures, twice the rows where guidance asks it twice."""
    bank = AdapterBank([adapter] * width, CPU)
    carrying = family.adapted(bank)
    pictures = min(run.sample.batch_size, max(1, len(run.sample.prompts) * len(run.sample.seeds)))
    rows = width * pictures * answers(run)
    shape = family.latent_shape(*picture_size(run))
    with torch.no_grad(), ledger_of(family, bank) as ledger:
        text = {name: row.repeat(rows, *(1 for _ in row.shape[1:])) for name, row in _one_text(family, run).items()}
        timesteps = torch.cat([family.timesteps(torch.rand(rows, dtype=torch.float64), run.optim, shape)])
        carrying.denoise(torch.randn(rows, *shape), timesteps, text)
    return ledger.work()


def _one_text(family: Family, run: "RunConfig") -> Text:
    return family.encode_prompts([""], run.sample.clip_skip)


def answers(run: "RunConfig") -> int:
    """How many answers of the denoiser one step of drawing takes: FLUX is told its guidance, others are asked twice."""
    return 2 if run.sample.guidance > 1 and run.model.family != "flux" else 1


def picture_size(run: "RunConfig") -> tuple[int, int]:
    """Width and height in pixels of what is drawn."""
    return run.sample.width or run.model.resolution, run.sample.height or run.model.resolution


def picture_in(family: Any, side: int) -> Work:
    """Encoding one photo."""
    with ledger_of(family) as ledger:
        family.encode_pictures(torch.zeros(1, 3, side, side))
    return ledger.work()


def text_in(family: Family, clip_skip: int) -> Work:
    """Encoding one caption."""
    with torch.no_grad(), ledger_of(family) as ledger:
        family.encode_prompts([""], clip_skip)
    return ledger.work()


def picture_out(family: Any, width: int, height: int) -> Work:
    """Decoding one picture."""
    with torch.no_grad(), ledger_of(family) as ledger:
        autoencoder.decode(family.vae, torch.zeros(1, *family.latent_shape(width, height)))
    return ledger.work()
