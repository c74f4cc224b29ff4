"""What a run costs, counted on its base model without weights: the real passes run on tensors that have no memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lorasweep.models import PRECISIONS
from lorasweep.models.autoencoder import decode, encode, latent_shape
from lorasweep.models.family import Family, Text
from lorasweep.models.loading.frozen import repeated_layers
from lorasweep.models.loading.low_memory import DENOISERS, base_of, on_card
from lorasweep.models.lora.layer import Adapter, AdapterBank, Dropout, adapted, module_shapes
from lorasweep.models.lora.layouts import to_kohya
from lorasweep.plan.ledger import Ledger, Work, casts_of
from lorasweep.plan.weightless import (
    CPU,
    WeightlessMode,
    adapter_shapes,
    described,
    weightless_adapter,
    weightless_family,
)
from lorasweep.train.step import Batch, slot_losses

if TYPE_CHECKING:
    from lorasweep.config.schema import HardwareConfig, ModelConfig, RunConfig


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything about a run that its model alone decides."""

    frozen: Mapping[str, int]
    """Part of the model to the bytes of its weights on the device, kept as the run's ``hardware`` says."""
    base: str
    """How the denoiser is kept: full, fp8 or nf4."""
    layer: int
    """Bytes of the largest layer that is brought in, or made whole, only while it is used."""
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
    """One call of the denoiser for a batch of images, with twice the rows if guidance asks it twice."""
    picture_out: Work
    """Latents to one image."""


class Counting:
    """Counts what runs on one base model cost; what was counted once is not counted again for another run.

    Args:
        device: cpu or cuda, whichever is planned for, whether this machine has it or not.

    Raises:
        UserError: ``model.path`` leads to no model of its family.
    """

    def __init__(self, model: "ModelConfig", precision: str, device: str) -> None:
        self._device = device
        self._world = WeightlessMode()
        source = described(model)
        with self._world:
            self._family: Any = weightless_family(model, source, PRECISIONS[precision])
        self._known: dict[Any, Any] = {}

    def __call__(self, run: "RunConfig", width: int = 1) -> Counts:
        """Return what ``width`` adapters of this run side by side cost; takes seconds and next to no memory."""
        family, side, skip = self._family, run.model.resolution, run.sample.clip_skip
        shapes = self._once((adapter_shapes, run.lora), lambda: adapter_shapes(family, run.lora))
        with self._world, casts_of(self._device):
            adapter = weightless_adapter(shapes, float(run.lora.alpha))
            text = self._once((_text, skip), lambda: _text(family, run))
            bank = self._once((AdapterBank, run.lora, width), lambda: bank_of(adapter, width))
            alone = self._once((AdapterBank, run.lora, 1), lambda: bank_of(adapter, 1))
            file = self._once(
                (to_kohya, run.lora), lambda: to_kohya(family.kind, module_shapes(family.components), adapter)
            )
            matrices = [matrix.numel() for weights in adapter.values() for matrix in (weights.down, weights.up)]
            return Counts(
                **self._once((self._kept, *_of_keeping(run.hardware)), lambda: self._kept(run.hardware)),
                values=sum(matrices),
                matrix=max(matrices),
                file=_bytes(file),
                latents=2 * 4 * torch.Size(latent_shape(family.vae, side, side)).numel(),
                text=_bytes(text),
                picture_in=self._once((picture_in, side), lambda: picture_in(family, side)),
                text_in=self._once((text_in, skip), lambda: text_in(family, run)),
                step=self._once(_of_step(run, width), lambda: training_step(family, bank, run, text)),
                forward=_of_rows(
                    self._once(_of_drawing(run), lambda: drawing_call(family, alone, run, text)),
                    width * pictures_a_call(run) * answers(run),
                ),
                picture_out=self._once((picture_out, *picture_size(run)), lambda: picture_out(family, run)),
            )

    def _kept(self, hardware: "HardwareConfig") -> dict[str, Any]:
        """How the weights lie on the device."""
        if self._device == "cpu":  # there is no other memory that they could wait in
            hardware = replace(hardware, offload=0.0, unload_encoders=False)
        parts = _parts(self._family)
        (denoiser,) = (part for name, part in parts.items() if name in DENOISERS)
        base = base_of(denoiser, hardware)
        comes_and_goes = [denoiser] if base != "full" or hardware.offload else []
        if hardware.unload_encoders:
            comes_and_goes += [part for part in parts.values() if part is not denoiser]
        layers = [layer.weight for part in comes_and_goes for layer in repeated_layers(part).values()]
        return {
            "frozen": {name: on_card(name, part, hardware) for name, part in parts.items()},
            "base": base,
            "layer": max((weight.nbytes for weight in layers), default=0),
        }

    def _once(self, about: Sequence[Any], count: Callable[[], Any]) -> Any:
        key = tuple(repr(part) for part in about)
        if key not in self._known:
            self._known[key] = count()
        return self._known[key]


def _of_keeping(hardware: "HardwareConfig") -> tuple[Any, ...]:
    return hardware.base, hardware.offload, hardware.unload_encoders, hardware.memory_gb


def _of_step(run: "RunConfig", width: int) -> tuple[Any, ...]:
    """Everything that ``training_step`` depends on, of one base model."""
    how = (run.hardware.gradient_checkpointing, run.optim.batch_size, run.optim.min_snr_gamma, run.sample.clip_skip)
    return training_step, run.lora, run.model.resolution, width, *how


def _of_drawing(run: "RunConfig") -> tuple[Any, ...]:
    return drawing_call, run.lora, picture_size(run), run.sample.clip_skip


def _parts(family: Any) -> dict[str, nn.Module]:
    return {**family.components, "vae": family.vae}


def _tensors(modules: Iterable[nn.Module]) -> Iterable[Tensor]:
    return chain.from_iterable(chain(module.parameters(), module.buffers()) for module in modules)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def ledger_of(family: Family, *banks: AdapterBank) -> Ledger:
    """Return an empty ledger that takes the frozen weights, and what the banks hold, for granted."""
    held = [tensor for bank in banks for tensor in (bank.values, bank.gradients) if tensor is not None]
    return Ledger([*_tensors(_parts(family).values()), *held])


def bank_of(adapter: Adapter, width: int) -> AdapterBank:
    """Return ``width`` copies of the adapter, to be trained."""
    return AdapterBank([adapter] * width, CPU, trainable=True)


def training_step(family: Family, bank: AdapterBank, run: "RunConfig", text: Text) -> Work:
    """Return the forward and backward pass of one micro-batch; the bank's own bytes are not in it.

    Args:
        text: embeddings of one caption, which are made before the step unless gradients reach the text encoders.
    """
    carrying = adapted(family, bank, gradient_checkpointing=run.hardware.gradient_checkpointing)
    bank.dropout = [Dropout(run.lora.dropout, 0)] * bank.slots if run.lora.dropout else None
    with ledger_of(family, bank) as ledger:
        loss = _loss(carrying, run, text)
        kept = ledger.now
        bank.backward(loss)
    bank.dropout = None
    return ledger.work(kept)


def _loss(carrying: Family, run: "RunConfig", text: Text) -> Tensor:
    """The loss of one micro-batch; a function of its own, so that its variables are gone before the way back."""
    side, rows = run.model.resolution, carrying.slots * run.optim.batch_size
    shape = latent_shape(carrying.vae, side, side)
    batch = Batch(
        latents=torch.randn(rows, *shape),
        noise=torch.randn(rows, *shape),
        uniforms=torch.rand(rows, dtype=torch.float64),
        texts=[""] * rows,
        sizes=[(side,) * 6] * rows,
        guidance=[1.0] * rows,
        masks=[None] * rows,
        weights=torch.ones(rows),
    )
    if run.lora.text_encoder:
        text = carrying.encode_prompts(batch.texts, run.sample.clip_skip)
    text = {name: torch.cat([row] * (rows // len(row))) for name, row in text.items()}
    return slot_losses(carrying, batch, text, [run.optim] * carrying.slots).mean(1).sum()


def drawing_call(family: Family, bank: AdapterBank, run: "RunConfig", text: Text) -> Work:
    """Return one call of the denoiser for one row, with one adapter; what it keeps and computes grows with the rows."""
    carrying = adapted(family, bank)
    shape = latent_shape(family.vae, *picture_size(run))
    with torch.no_grad(), ledger_of(family, bank) as ledger:
        timesteps = family.objective.timesteps(torch.rand(1, dtype=torch.float64), run.optim, shape)
        carrying.denoise(torch.randn(1, *shape), timesteps, {name: row.clone() for name, row in text.items()})
    return ledger.work()


def _of_rows(one: Work, rows: int) -> Work:
    return replace(one, peak=one.peak * rows, flops=one.flops * rows)


def pictures_a_call(run: "RunConfig") -> int:
    """Return how many images are drawn at once for one adapter."""
    return min(run.sample.batch_size, max(1, len(run.sample.prompts) * len(run.sample.seeds)))


def answers(run: "RunConfig") -> int:
    """Return how many answers of the denoiser one step of drawing takes: FLUX is told its guidance, others are asked
    twice."""
    return 2 if run.sample.guidance > 1 and run.model.family != "flux" else 1


def picture_size(run: "RunConfig") -> tuple[int, int]:
    """Return width and height in pixels of what is drawn."""
    return run.sample.width or run.model.resolution, run.sample.height or run.model.resolution


def picture_in(family: Any, side: int) -> Work:
    """Return the encoding of one photo."""
    with ledger_of(family) as ledger:
        encode(family.vae, torch.zeros(1, 3, side, side))
    return ledger.work()


def text_in(family: Family, run: "RunConfig") -> Work:
    """Return the encoding of one caption."""
    with ledger_of(family) as ledger:
        _text(family, run)
    return ledger.work()


def _text(family: Family, run: "RunConfig") -> Text:
    with torch.no_grad():
        return family.encode_prompts([""], run.sample.clip_skip)


def picture_out(family: Any, run: "RunConfig") -> Work:
    """Return the decoding of one image."""
    with ledger_of(family) as ledger:
        decode(family.vae, torch.zeros(1, *latent_shape(family.vae, *picture_size(run))))
    return ledger.work()
