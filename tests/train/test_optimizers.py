"""One optimiser a slot, equal to what it would be alone, and whole after a save."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lorasweep.config.schema import OptimConfig
from lorasweep.errors import UserError
from lorasweep.models.loading.frozen import has_bitsandbytes
from lorasweep.models.lora.layer import AdapterBank, LoraWeights
from lorasweep.train import optimizers
from lorasweep.train.optimizers import SlotOptimizer, require_optimizer

NAMES = ("unet.a", "unet.b", "text_encoder.c")


def adapter(rank: int, seed: int) -> dict[str, LoraWeights]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LoraWeights(
            torch.randn(rank, 1500, generator=generator), torch.randn(1400, rank, generator=generator), float(rank)
        )
        for name in NAMES
    }


def gradients(bank: AdapterBank, slot: int, step: int) -> None:
    """Fill one slot's gradients with numbers that depend on the step alone, padding left at zero."""
    generator = torch.Generator().manual_seed(100 + step)
    for component in ("denoiser", "text"):
        for leaf in bank.leaves(slot, component):
            assert leaf.grad is not None
            leaf.grad.copy_(torch.randn(leaf.shape, generator=generator))


def plain(optim: OptimConfig, start: dict[str, LoraWeights], factory: Any, steps: int) -> list[Tensor]:
    """The same training with the library's optimiser over ordinary parameters."""
    parameters = [p.clone().requires_grad_() for w in start.values() for p in (w.down, w.up)]
    text_lr = optim.lr if optim.text_encoder_lr is None else optim.text_encoder_lr
    optimizer = factory([{"params": parameters[:4], "lr": optim.lr}, {"params": parameters[4:], "lr": text_lr}])
    for step in range(steps):
        generator = torch.Generator().manual_seed(100 + step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [p.detach() for p in parameters]


def adamw(groups: Any) -> Any:
    return torch.optim.AdamW(groups, betas=(0.8, 0.99), eps=1e-7, weight_decay=0.1)


def prodigy(groups: Any) -> Any:
    from prodigyopt import Prodigy

    return Prodigy(
        groups, betas=(0.8, 0.99), eps=1e-7, weight_decay=0.1, use_bias_correction=True, safeguard_warmup=True
    )


def adafactor(groups: Any) -> Any:
    from transformers.optimization import Adafactor

    return Adafactor(groups, weight_decay=0.1, scale_parameter=False, relative_step=False, warmup_init=False)


def adamw8bit(groups: Any) -> Any:
    """As our slots give it: all matrices of a group in one vector, so that blocks of 256 are the same."""
    from bitsandbytes.optim import AdamW8bit

    return Joined(groups, lambda joined: AdamW8bit(joined, betas=(0.8, 0.99), eps=1e-7, weight_decay=0.1))


class Joined:
    """An optimiser over each group's matrices laid end to end."""

    def __init__(self, groups: Any, make: Any) -> None:
        self.groups = [group["params"] for group in groups]
        self.rows = [torch.cat([p.detach().flatten() for p in params]).requires_grad_() for params in self.groups]
        rates = [group["lr"] for group in groups]
        self.optimizer = make([{"params": [row], "lr": lr} for row, lr in zip(self.rows, rates, strict=True)])

    def step(self) -> None:
        for row, params in zip(self.rows, self.groups, strict=True):
            row.grad = torch.cat([p.grad.flatten() for p in params])
        self.optimizer.step()
        for row, params in zip(self.rows, self.groups, strict=True):
            for p, values in zip(params, row.detach().split([p.numel() for p in params]), strict=True):
                p.data.copy_(values.view(p.shape))


CASES = [
    ("adamw", adamw, {"lr": 0.01, "text_encoder_lr": 0.003}),
    ("prodigy", prodigy, {"lr": 1.0}),
    ("adafactor", adafactor, {"lr": 0.01, "text_encoder_lr": 0.003}),
    pytest.param(
        *("adamw8bit", adamw8bit, {"lr": 0.01, "text_encoder_lr": 0.003}),
        marks=pytest.mark.skipif(not has_bitsandbytes(), reason="needs lorasweep[lowvram]"),
    ),
]


@pytest.mark.parametrize(("name", "factory", "rates"), CASES)
def test_a_slot_is_trained_as_by_the_library_alone_beside_a_wider_neighbour(
    name: str, factory: Any, rates: dict[str, float]
) -> None:
    optim = OptimConfig(name=name, betas=[0.8, 0.99], eps=1e-7, weight_decay=0.1, **rates)
    start = adapter(2, 0)
    bank = AdapterBank([adapter(4, 1), start], trainable=True)
    ours = SlotOptimizer(optim, bank, 1)
    for step in range(5):
        gradients(bank, 1, step)
        ours.step(1.0)
    expected = plain(optim, start, factory, 5)
    found = [p for w in bank.export(1).values() for p in (w.down, w.up)]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-6)
    neighbour = bank.export(0)
    assert all(torch.equal(neighbour[key].down, weights.down) for key, weights in adapter(4, 1).items())


@pytest.mark.parametrize(("name", "factory", "rates"), CASES)
def test_a_slot_that_moves_to_another_bank_goes_on_bit_equal(name: str, factory: Any, rates: dict[str, float]) -> None:
    import json

    optim = OptimConfig(name=name, **rates)
    start = adapter(2, 0)

    def trained(bank: AdapterBank, slot: int, steps: range, state: Any = None) -> SlotOptimizer:
        optimizer = SlotOptimizer(optim, bank, slot)
        if state:
            optimizer.load(state[0], json.loads(json.dumps(state[1])))
        for step in steps:
            gradients(bank, slot, step)
            optimizer.step(0.5)
        return optimizer

    whole = AdapterBank([start], trainable=True)
    trained(whole, 0, range(6))
    first = AdapterBank([adapter(4, 1), start], trainable=True)
    optimizer = trained(first, 1, range(3))
    second = AdapterBank([first.export(1)], trainable=True)
    trained(second, 0, range(3, 6), optimizer.export())
    for key, weights in whole.export(0).items():
        assert torch.equal(second.export(0)[key].down, weights.down)
        assert torch.equal(second.export(0)[key].up, weights.up)


def test_prodigy_tells_the_pace_it_found() -> None:
    bank = AdapterBank([adapter(2, 0)], trainable=True)
    optimizer = SlotOptimizer(OptimConfig(name="prodigy", lr=1.0), bank, 0)
    assert optimizer.pace == pytest.approx(1e-6)
    for _ in range(100):
        gradients(bank, 0, 0)
        optimizer.step(1.0)
    assert optimizer.pace > 1e-5


@pytest.mark.skipif(not has_bitsandbytes(), reason="needs lorasweep[lowvram]")
def test_adamw8bit_keeps_its_moments_in_8_bits() -> None:
    bank = AdapterBank([adapter(2, 0)], trainable=True)
    optimizer = SlotOptimizer(OptimConfig(name="adamw8bit"), bank, 0)
    gradients(bank, 0, 0)
    optimizer.step(1.0)
    tensors, numbers = optimizer.export()
    assert tensors["0.state1"].dtype == tensors["0.state2"].dtype == torch.uint8
    assert numbers["0.step"] == 1


def test_adamw8bit_without_its_package_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "has_bitsandbytes", lambda: False)
    with pytest.raises(UserError, match=r"^optim.name is adamw8bit, .*; install lorasweep\[lowvram\], or use adamw\.$"):
        require_optimizer(OptimConfig(name="adamw8bit"))
    require_optimizer(OptimConfig(name="adamw"))
