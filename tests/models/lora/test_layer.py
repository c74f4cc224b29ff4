"""The cohort layer held to PEFT's own: names, start, answer and gradients."""

import copy
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.family import batch, stirred
from peft import LoraConfig as PeftConfig
from peft import get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict

from lorasweep.config.schema import LoraConfig, OptimConfig
from lorasweep.models.lora.file import read_lora, write_lora
from lorasweep.models.lora.initial import hollow, initial_adapter, initial_names
from lorasweep.models.lora.layer import AdapterBank, Dropout, LoraWeights, adapted, attach, structural_clone
from lorasweep.train.optimizers import SlotOptimizer

BOTH = LoraConfig(rank=4, alpha=2.0, targets="linear", text_encoder=True)


def peft_unet(family: Any, adapter: dict[str, Any], lora: LoraConfig) -> Any:
    """PEFT's own layers on the same frozen weights, holding ``adapter``."""
    config = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=family.targets(lora)["unet"])
    module = inject_adapter_in_model(config, structural_clone(family.unet))
    state = {}
    for name, weights in adapter.items():
        component, path = name.split(".", 1)
        if component == "unet":
            state |= {f"{path}.lora_A.weight": weights.down, f"{path}.lora_B.weight": weights.up}
    result = set_peft_model_state_dict(module, state)
    assert not result.unexpected_keys
    return module


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_a_clone_is_what_deepcopy_makes_and_shares_tensors_alone(family_of: Any, kind: str) -> None:
    for module in family_of(kind).components.values():
        tensors = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
        trees = structural_clone(module), copy.deepcopy(module, tensors), module
        for found in zip(*(tree.named_modules() for tree in trees), strict=True):
            (name, ours), (path, theirs), (_, base) = found
            assert (name, type(ours), ours is base) == (path, type(theirs), False)
            assert {key: type(value) for key, value in vars(ours).items()} == {
                key: type(value) for key, value in vars(theirs).items()
            }
            for held in ("_parameters", "_buffers"):
                assert list(map(id, vars(ours)[held].values())) == list(map(id, vars(base)[held].values()))
            for key, value in vars(ours).items():
                assert value is not vars(base)[key] or not isinstance(value, dict | list | set), key


@pytest.mark.parametrize("targets", ["attention", "linear", "convolution"])
def test_peft_names_the_modules_and_starts_from_the_same_numbers(family: Any, targets: str) -> None:
    lora = LoraConfig(rank=4, alpha=2.0, targets=targets)
    ours = initial_adapter(family, lora, 123)
    torch.manual_seed(123)
    config = PeftConfig(r=4, lora_alpha=2.0, target_modules=family.targets(lora)["unet"])
    theirs = get_peft_model_state_dict(inject_adapter_in_model(config, structural_clone(family.unet)))
    assert {f"unet.{key.split('.lora_')[0]}" for key in theirs} == set(ours)
    for name, weights in ours.items():
        path = name.removeprefix("unet.")
        assert torch.equal(weights.down, theirs[f"{path}.lora_A.weight"])
        assert torch.equal(weights.up, theirs[f"{path}.lora_B.weight"])


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
@pytest.mark.parametrize("targets", ["attention", "linear", "convolution"])
def test_the_names_are_those_that_peft_finds(family_of: Any, kind: str, targets: str) -> None:
    family, lora = family_of(kind), LoraConfig(rank=1, targets=targets, text_encoder=True)
    found = set()
    for component, ends in family.targets(lora).items():
        module = inject_adapter_in_model(PeftConfig(r=1, target_modules=ends), hollow(family.components[component]))
        found |= {f"{component}.{key.split('.lora_')[0]}" for key in get_peft_model_state_dict(module)}
    assert set(initial_names(family, lora)) == {name for name in found if name.count(".") > 1}


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("targets", ["attention", "linear", "convolution"])
def test_answer_and_gradients_are_pefts(family: Any, slots: int, targets: str) -> None:
    lora = LoraConfig(rank=4, alpha=2.0, targets=targets)
    adapters = [stirred(initial_adapter(family, lora, seed), seed) for seed in range(slots)]
    bank = AdapterBank(adapters, trainable=True)
    latents, timesteps, text = batch(family, 2 * slots)
    answer = adapted(family, bank).denoise(latents, timesteps, text)
    bank.backward(answer.square().view(slots, -1).mean(1).sum())
    for slot, adapter in enumerate(adapters):
        rows = slice(2 * slot, 2 * slot + 2)
        reference = peft_unet(family, adapter, lora)
        theirs = reference(latents[rows], timesteps[rows], text["states"][rows], return_dict=False)[0]
        torch.testing.assert_close(answer[rows], theirs, atol=1e-6, rtol=1e-6)
        theirs.square().mean().backward()
        gradients = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
        leaves = iter(bank.leaves(slot, "denoiser"))
        for name in adapter:
            path = name.removeprefix("unet.")
            for part in ("lora_A", "lora_B"):
                expected = gradients[f"{path}.{part}.default.weight"].flatten(1)
                torch.testing.assert_close(next(leaves).grad, expected, atol=1e-6, rtol=1e-5)


def test_the_text_encoder_answers_as_with_peft(family: Any) -> None:
    adapter = stirred(initial_adapter(family, BOTH, 0), 0)
    config = PeftConfig(r=4, lora_alpha=2.0, target_modules=family.targets(BOTH)["text_encoder"])
    module = inject_adapter_in_model(config, structural_clone(family.text_encoder))
    state = {}
    for name, weights in adapter.items():
        if name.startswith("text_encoder."):
            path = name.removeprefix("text_encoder.")
            state |= {f"{path}.lora_A.weight": weights.down, f"{path}.lora_B.weight": weights.up}
    set_peft_model_state_dict(module, state)
    ids = family.tokenizer(["a person"], padding="max_length", return_tensors="pt").input_ids
    ours = adapted(family, AdapterBank([adapter])).encode_prompts(["a person"])["states"]
    torch.testing.assert_close(ours, module(ids)[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("slots", [1, 3])
def test_a_convolution_alone_answers_and_learns_as_pefts(kernel: int, stride: int, slots: int) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Conv2d(5, 7, kernel, stride, padding=kernel // 2)).requires_grad_(False)
    shapes = (5, kernel, kernel), (1, 1)
    adapters = [
        {
            "unet.0": LoraWeights(
                torch.randn(rank, *shapes[0], generator=generator),
                torch.randn(7, rank, *shapes[1], generator=generator),
                1.5,
            )
        }
        for rank in (2, 4, 3)[:slots]
    ]
    bank = AdapterBank(adapters, trainable=True)
    rows = torch.randn(2 * slots, 5, 9, 6, generator=generator)
    answer = attach(base, "unet", bank)(rows)
    bank.backward(answer.square().view(slots, -1).sum(1).sum())
    for slot, adapter in enumerate(adapters):
        weights = adapter["unet.0"]
        config = PeftConfig(r=weights.rank, lora_alpha=1.5, target_modules=["0"])
        reference = inject_adapter_in_model(config, structural_clone(base))
        set_peft_model_state_dict(reference, {"0.lora_A.weight": weights.down, "0.lora_B.weight": weights.up})
        theirs = reference(rows[2 * slot : 2 * slot + 2])
        torch.testing.assert_close(answer[2 * slot : 2 * slot + 2], theirs, atol=1e-4, rtol=1e-5)
        theirs.square().sum().backward()
        gradients = [p.grad.flatten(1) for name, p in reference.named_parameters() if p.grad is not None]
        for leaf, expected in zip(bank.leaves(slot, "denoiser"), gradients, strict=True):
            torch.testing.assert_close(leaf.grad, expected, atol=1e-3, rtol=1e-4)
        padding = bank.gradients[slot].clone()
        padding[bank.columns(slot, "denoiser")] = 0
        assert padding.abs().max() == 0


def test_a_convolutions_adapter_comes_back_from_the_bank_and_from_its_file(family: Any, tmp_path: Path) -> None:
    lora = LoraConfig(rank=3, alpha=2.0, targets="convolution")
    adapter = stirred(initial_adapter(family, lora, 0), 0)
    kinds = {weights.down.shape[2:] for weights in adapter.values()}
    assert kinds == {(), (1, 1), (3, 3)}
    wide = initial_adapter(family, LoraConfig(rank=5, targets="convolution"), 1)
    exported = AdapterBank([adapter, wide]).export(0)
    write_lora(tmp_path / "a.safetensors", exported, family, {})
    for found in (exported, read_lora(tmp_path / "a.safetensors", family)):
        assert list(found) == list(adapter)
        for name, weights in adapter.items():
            assert torch.equal(found[name].down, weights.down)
            assert torch.equal(found[name].up, weights.up)
            assert found[name].alpha == 2.0


@pytest.mark.parametrize("targets", ["linear", "convolution"])
def test_padded_ranks_answer_as_unpadded_and_never_move(family: Any, targets: str) -> None:
    small, wide = (LoraConfig(rank=rank, alpha=2.0, targets=targets) for rank in (2, 8))
    adapters = [stirred(initial_adapter(family, small, 0), 0), stirred(initial_adapter(family, wide, 1), 1)]
    bank = AdapterBank(adapters, trainable=True)
    latents, timesteps, text = batch(family, 4)
    answer = adapted(family, bank).denoise(latents, timesteps, text)
    alone = adapted(family, AdapterBank([adapters[0]]))
    own = alone.denoise(latents[:2], timesteps[:2], {key: value[:2] for key, value in text.items()})
    torch.testing.assert_close(answer[:2], own, atol=1e-6, rtol=1e-5)
    bank.backward(answer.square().sum())
    own = bank.columns(0, "denoiser")
    assert isinstance(own, torch.Tensor)
    padding = bank.gradients[0].clone()
    padding[own] = 0
    assert padding.abs().max() == 0
    assert bank.gradients[0][own].abs().mean() > 0
    assert bank.columns(1, "denoiser") == slice(0, bank.values.shape[1])


def test_what_goes_in_comes_out(family: Any) -> None:
    adapters = [stirred(initial_adapter(family, LoraConfig(rank=r, targets="linear"), r), r) for r in (2, 5)]
    bank = AdapterBank(adapters)
    for slot, adapter in enumerate(adapters):
        exported = bank.export(slot)
        assert list(exported) == list(adapter)
        for name, weights in adapter.items():
            assert torch.equal(exported[name].down, weights.down)
            assert torch.equal(exported[name].up, weights.up)


def test_one_slots_nan_stays_in_its_rows(family: Any) -> None:
    lora = LoraConfig(rank=4, targets="linear", text_encoder=True)
    adapters = [stirred(initial_adapter(family, lora, seed), seed) for seed in range(3)]
    name = next(iter(adapters[1]))
    adapters[1][name] = adapters[1][name]._replace(up=torch.full_like(adapters[1][name].up, torch.nan))
    bank = AdapterBank(adapters, trainable=True)
    latents, timesteps, _ = batch(family, 6)
    carrier = adapted(family, bank)
    answer = carrier.denoise(latents, timesteps, carrier.encode_prompts([f"a person {i}" for i in range(6)]))
    bank.backward(answer.square().view(3, -1).mean(1).sum())
    assert answer[:2].isfinite().all()
    assert answer[4:].isfinite().all()
    assert answer[2:4].isnan().any()
    assert bank.gradients[0].isfinite().all()
    assert bank.gradients[2].isfinite().all()


@pytest.mark.parametrize("targets", ["linear", "convolution"])
def test_dropout_is_each_slots_own_and_repeats_when_recomputed(family: Any, targets: str) -> None:
    lora = LoraConfig(rank=4, targets=targets)
    adapters = [stirred(initial_adapter(family, lora, 0), 0)] * 2
    bank = AdapterBank(adapters)
    carrier = adapted(family, bank)
    latents, timesteps, text = batch(family, 2)
    both = {key: value[:1].repeat(2, 1, 1) for key, value in text.items()}

    def answer(*dropout: Dropout) -> torch.Tensor:
        bank.dropout = dropout
        return carrier.denoise(latents[:1].repeat(2, 1, 1, 1), timesteps[:1].repeat(2), both)

    plain, dropped = answer(Dropout(0.0, 1), Dropout(0.5, 1))
    again = answer(Dropout(0.5, 1), Dropout(0.5, 2))
    assert not torch.allclose(plain, dropped, atol=1e-5)
    torch.testing.assert_close(again[0], dropped)  # the same seed in another slot
    assert not torch.allclose(again[0], again[1], atol=1e-5)
    bank.dropout = None


def test_gradient_checkpointing_gives_the_same_gradients(family: Any) -> None:
    adapter = stirred(initial_adapter(family, LoraConfig(rank=4, dropout=0.3), 0), 0)
    latents, timesteps, text = batch(family, 2)
    found = []
    for checkpointing in (False, True):
        bank = AdapterBank([adapter], trainable=True)
        bank.dropout = [Dropout(0.3, 5)]
        carrier = adapted(family, bank, gradient_checkpointing=checkpointing)
        bank.backward(carrier.denoise(latents, timesteps, text).square().mean())
        found.append(bank.gradients)
    torch.testing.assert_close(found[0], found[1])
    assert found[0].abs().sum() > 0


def some(names: Sequence[str], rank: int = 2) -> dict[str, LoraWeights]:
    """An adapter of these modules, each of which holds the same numbers whatever the others are."""
    found = {}
    for name in names:
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        down, up = torch.randn(rank, 3, generator=generator), torch.randn(5, rank, generator=generator)
        found[name] = LoraWeights(down, up, 1.0)
    return found


NEIGHBOURS = [
    ["unet.a", "text_encoder.a"],
    ["unet.a", "unet.b", "unet.c", "text_encoder.a", "text_encoder.b"],
    ["unet.b", "text_encoder.b"],
    ["unet.c"],
]


@pytest.mark.parametrize("name", ["adamw", "prodigy", "adafactor"])
def test_a_slot_steps_as_it_does_alone_beside_slots_with_other_modules(name: str) -> None:
    # Prodigy finds one rate for all parts
    optim = OptimConfig(name=name, lr=1e-2, text_encoder_lr=None if name == "prodigy" else 1e-4, weight_decay=0.1)

    def stepped(bank: AdapterBank, slot: int) -> tuple[Any, Any]:
        optimizer = SlotOptimizer(optim, bank, slot)
        for step in range(3):
            for module in bank.adapters[slot]:
                generator = torch.Generator().manual_seed(step + sum(map(ord, module)))
                for gradient in (bank.stacks[module].down_gradient, bank.stacks[module].up_gradient):
                    gradient[slot].copy_(torch.randn(gradient[slot].shape, generator=generator))
            optimizer.step(1.0)
        return bank.export(slot), optimizer.export()

    together = AdapterBank([some(names) for names in NEIGHBOURS], trainable=True)
    for slot, names in enumerate(NEIGHBOURS):
        found, (tensors, numbers) = stepped(together, slot)
        expected, (own_tensors, own_numbers) = stepped(AdapterBank([some(names)], trainable=True), 0)
        for module in names:
            torch.testing.assert_close(found[module].down, expected[module].down, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(found[module].up, expected[module].up, atol=1e-6, rtol=1e-6)
        # so that a state that was saved beside neighbours goes on alone
        assert numbers == pytest.approx(own_numbers, rel=1e-5)
        assert tensors.keys() == own_tensors.keys()
        for key, tensor in tensors.items():
            torch.testing.assert_close(tensor, own_tensors[key], atol=1e-6, rtol=1e-6)


def test_dropout_does_not_depend_on_the_modules_of_the_neighbours() -> None:
    base = torch.nn.ModuleDict({letter: torch.nn.Linear(3, 5) for letter in "abc"})
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def answers(names: Sequence[Sequence[str]], slot: int) -> list[torch.Tensor]:
        bank = AdapterBank([some(each) for each in names])
        bank.dropout = [Dropout(0.5, 7 + each) for each in range(len(names))] if len(names) > 1 else [Dropout(0.5, 8)]
        carrier: Any = attach(base, "unet", bank)
        own = slice(4 * slot, 4 * slot + 4)
        return [carrier[path.removeprefix("unet.")](rows.repeat(len(names), 1))[own] for path in names[slot]]

    alone = answers([["unet.b", "unet.c"]], 0)
    beside = answers([["unet.a", "unet.b"], ["unet.b", "unet.c"]], 1)
    for found, expected in zip(beside, alone, strict=True):
        torch.testing.assert_close(found, expected)
