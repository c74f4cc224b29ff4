"""A model kept small, or in another memory, computes what it would have computed."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import family as contract
from contracts.tiny import SIDE, tiny_run
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lorasweep.config.card import Card
from lorasweep.config.schema import HardwareConfig, LoraConfig, ModelConfig, SampleConfig
from lorasweep.errors import UserError
from lorasweep.models import assembled, load_family
from lorasweep.models.autoencoder import encode, latent_shape
from lorasweep.models.family import model_hash
from lorasweep.models.loading import frozen, low_memory
from lorasweep.models.loading.frozen import (
    KeptConv2d,
    KeptLinear,
    bytes_on_card,
    has_bitsandbytes,
    keep,
    last_layers,
    whole,
)
from lorasweep.models.loading.low_memory import bound_memory, choose_base, on_card, placing, require_fit
from lorasweep.models.loading.reading import read_parts, skeleton
from lorasweep.models.loading.sources import find_source
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import Adapter, AdapterBank, adapted, module_shapes
from lorasweep.records import Dataset, Step
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial

KINDS = ("sd15", "sdxl", "flux")
LORA = LoraConfig(rank=4, targets="linear")
CPU = torch.device("cpu")
NF4 = pytest.param("nf4", marks=pytest.mark.skipif(not has_bitsandbytes(), reason="needs lorasweep[lowvram]"))
TURING = Card(name="RTX 2080 Ti", memory_gb=10.8, capability=(7, 5))
AMPERE = Card(name="RTX 3060", memory_gb=11.8, capability=(8, 6))


@pytest.fixture(scope="module")
def load(model_of: Callable[[str], Path]) -> Callable[..., Any]:
    """A tiny model, kept as ``hardware`` says; read once, since nothing changes a frozen one."""

    @cache
    def load(kind: str, **hardware: Any) -> Any:
        model = ModelConfig(family=kind, path=str(model_of(kind)), resolution=SIDE)
        return load_family(model, HardwareConfig(device="cpu", **hardware))

    return load


def denoiser(family: Any) -> nn.Module:
    """The part of a family that is trained on."""
    return next(iter(family.components.values()))


@pytest.fixture(scope="module")
def answered(load: Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """What two adapters side by side answer on a family, and their gradients."""

    @cache
    def adapters(kind: str) -> list[Adapter]:
        # one start for every way of keeping a model: `test_a_packed_base_...` shows that it is the same
        return [contract.stirred(initial_adapter(load(kind), LORA, seed), seed) for seed in range(2)]

    def answered(kind: str, family: Any, *, checkpointing: bool = False) -> tuple[Tensor, Tensor]:
        bank = AdapterBank(adapters(kind), trainable=True)
        latents, timesteps, text = contract.batch(family, 4)
        answer = adapted(family, bank, gradient_checkpointing=checkpointing).denoise(latents, timesteps, text)
        bank.backward(answer.square().mean())
        assert bank.gradients is not None
        return answer.detach(), bank.gradients

    return answered


@pytest.fixture(scope="module")
def plainly_answered(load: Callable[..., Any], answered: Callable[..., Any]) -> Callable[[str, str], Any]:
    """The same on a model that nothing was done to, which every other way of keeping it is compared with."""
    return cache(lambda kind, precision: answered(kind, load(kind, precision=precision)))


def made_whole(family: Any) -> Any:
    """The same family with ordinary layers that hold the very weights that the kept ones come to."""
    part = copy.deepcopy(denoiser(family))
    for name, layer in list(part.named_modules()):
        if isinstance(layer, KeptLinear | KeptConv2d):
            weight = whole(layer, torch.zeros((), dtype=family.dtype))
            plain: Any = nn.Linear(1, 1) if isinstance(layer, KeptLinear) else nn.Conv2d(1, 1, 1)
            plain.__dict__ |= {key: value for key, value in vars(layer).items() if not key.startswith("_")}
            plain.weight, plain.bias = nn.Parameter(weight, requires_grad=False), layer.bias
            part.set_submodule(name, plain)
    return dataclasses.replace(family, **{next(iter(family.components)): part})


@pytest.mark.parametrize(("precision", "checkpointing"), [("fp32", False), ("bf16", True)])
@pytest.mark.parametrize("base", ["fp8", NF4])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights_answer_and_pull_back_as_ordinary_layers_that_hold_the_same(
    load: Callable[..., Any],
    answered: Callable[..., Any],
    plainly_answered: Callable[..., Any],
    kind: str,
    base: str,
    precision: str,
    checkpointing: bool,
) -> None:
    family = load(kind, base=base, precision=precision)
    found, expected = answered(kind, family, checkpointing=checkpointing), answered(kind, made_whole(family))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
    assert not torch.equal(found[0], plainly_answered(kind, precision)[0])


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_wait_in_cpu_memory_change_no_bit(
    load: Callable[..., Any],
    answered: Callable[..., Any],
    plainly_answered: Callable[..., Any],
    kind: str,
    share: float,
) -> None:
    plain, away = load(kind), load(kind, offload=share, unload_encoders=True)
    for checkpointing in (False, True):
        found = answered(kind, away, checkpointing=checkpointing)
        assert all(torch.equal(*pair) for pair in zip(found, plainly_answered(kind, "fp32"), strict=True))
    look = SampleConfig(steps=2, guidance=2.0)
    drawn = []
    for family in (plain, away):
        text, negative = family.encode_prompts(["a person"]), family.encode_prompts([""])
        noise = torch.randn(1, *latent_shape(family.vae, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
        drawn.append(family.draw(text, negative, noise, look, [7]))
        drawn.append(encode(family.vae, torch.linspace(-1, 1, 3 * SIDE * SIDE).view(1, 3, SIDE, SIDE))[0])
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert model_hash(plain) == model_hash(away)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_base_is_another_model_with_the_same_modules_and_start(load: Callable[..., Any], kind: str) -> None:
    plain, packed = load(kind), load(kind, base="fp8")
    assert model_hash(packed) != model_hash(plain)
    assert packed.hashes["kept"] == "fp8"
    assert module_shapes(packed.components) == module_shapes(plain.components)
    started, expected = initial_adapter(packed, LORA, 3), initial_adapter(plain, LORA, 3)
    assert list(started) == list(expected)
    assert all(torch.equal(started[name].down, expected[name].down) for name in expected)


def test_fp8_keeps_every_weight_to_three_binary_digits_however_small_a_row_is() -> None:
    weight = torch.randn(8, 500) * torch.logspace(-9, 9, 8)[:, None]
    parts = frozen.packed(weight, "fp8")
    again = parts["weight"].float() * parts["scale"]
    largest = weight.abs().amax(1, keepdim=True)
    seen = weight.abs() > largest * 2.0**-13  # below that e4m3 itself runs out of exponent
    assert ((again - weight).abs() / weight.abs())[seen].max() <= 2.0**-4
    assert ((again - weight).abs() / largest).max() <= 2.0**-4


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:1", 1)])
def test_the_card_that_is_named_gives_no_more_memory_than_the_preset_says(
    monkeypatch: pytest.MonkeyPatch, device: str, number: int
) -> None:
    bounds = {}
    monkeypatch.setattr("torch.cuda.memory._lazy_init", lambda: None)
    monkeypatch.setattr(
        torch._C, "_cuda_setMemoryFraction", lambda share, at: bounds.update({at: share}), raising=False
    )
    card = Card(name="RTX 3060", memory_gb=10.0, capability=(8, 6))
    bound_memory(HardwareConfig(device=device, memory_gb=7.0), torch.device(device), card)
    assert bounds == {number: 0.7}


def test_no_model_is_trained_with_the_attention_that_reads_beyond_its_tensors(load: Callable[..., Any]) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    load("flux", threads=1)  # a key of its own: loaded now, not found among those that were loaded before
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize(("base", "error"), [("full", 0.0), ("fp8", 0.03), pytest.param("nf4", 0.12, marks=NF4.marks)])
@pytest.mark.parametrize(
    "layer", [nn.Linear(96, 64), nn.Conv2d(16, 8, 3, stride=2, padding=1)], ids=["matrix", "kernel"]
)
def test_a_kept_layer_comes_to_nearly_the_weight_that_it_was_given(layer: Any, base: str, error: float) -> None:
    again = whole(frozen.kept_layer(layer, frozen.how_kept(layer, base), CPU, away=False), layer.weight.detach())
    assert again.shape == layer.weight.shape
    assert float((again - layer.weight).norm() / layer.weight.norm()) <= error


def test_autocast_reaches_a_kept_layer_as_it_reaches_an_ordinary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card normalisations answer in fp32 even beside a base in bf16; weights are not to be made in that."""
    made: list[Tensor] = []
    monkeypatch.setattr(frozen, "whole", lambda *words: made.append(whole(*words)) or made[-1])
    layer = nn.Linear(96, 64).bfloat16().requires_grad_(False)
    found = []
    for each in (layer, frozen.kept_layer(layer, "full", CPU, away=True)):
        x = torch.linspace(-1, 1, 96).expand(3, 96).clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            answer = each(x)
        answer.float().square().sum().backward()
        assert x.grad is not None
        found.append((answer, x.grad))
    assert all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(*found, strict=True))
    assert {tensor.dtype for tensor in (found[0][0], *made)} == {torch.bfloat16}


def test_no_whole_weight_waits_for_the_way_back(
    load: Callable[..., Any], answered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = load("flux", base="fp8")
    made: list[Tensor] = []  # these are kept to the end, so that no address is used twice
    saved: list[Tensor] = []

    def watched(layer: nn.Module, like: Tensor) -> Tensor:
        made.append(whole(layer, like))
        return made[-1]

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    monkeypatch.setattr(frozen, "whole", watched)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answered("flux", family)
    assert len(made) > 40
    assert len(saved) > 100
    places = [{tensor.untyped_storage().data_ptr() for tensor in tensors} for tensors in (made, saved)]
    assert places[0].isdisjoint(places[1])


@pytest.mark.parametrize("base", ["full", "fp8", NF4])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_part_will_take_is_what_it_takes(load: Callable[..., Any], kind: str, base: str) -> None:
    part = copy.deepcopy(denoiser(load(kind)))
    away = set(last_layers(part, 0.3))
    expected = bytes_on_card(part, base, away)
    keep(part, base, CPU, away)
    here = (tensor for name, tensor in _tensors(part) if name.rpartition(".")[0] not in away or name.endswith("bias"))
    assert sum(tensor.nbytes for tensor in here) == pytest.approx(expected, rel=0.01)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())


@pytest.fixture
def on_fake_cuda(model_of: Callable[[str], Path]) -> Callable[..., tuple[Any, FakeTensorMode]]:
    """A family whose tensors have a device and no memory, so that no card need be there."""

    def load(kind: str, **hardware: Any) -> tuple[Any, FakeTensorMode]:
        cuda, mode = torch.device("cuda"), FakeTensorMode()
        place = placing(HardwareConfig(device="cuda", **hardware), cuda)

        def fake(part: str, module: nn.Module) -> nn.Module:
            made: dict[int, Any] = {}
            for owner in module.modules():
                for key, tensor in _own(owner):
                    shadow = made.setdefault(id(tensor), mode.from_tensor(tensor.detach()))
                    is_parameter = isinstance(tensor, nn.Parameter)
                    setattr(owner, key, nn.Parameter(shadow, requires_grad=False) if is_parameter else shadow)
            with mode:
                return place(part, module)

        model = ModelConfig(family=kind, path=str(model_of(kind)), resolution=SIDE)
        source = find_source(model)
        found: Any = assembled(model, source, read_parts(source, torch.bfloat16, fake), CPU, torch.bfloat16, {})
        with mode:
            objective = found.objective
            there = {"device": cuda} if kind == "flux" else {"alphas": mode.from_tensor(objective.alphas).to(cuda)}
            return dataclasses.replace(found, objective=dataclasses.replace(objective, **there), device=cuda), mode

    return load


def _own(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


@pytest.mark.parametrize("base", ["full", "fp8"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_card_holds_what_it_should_and_everything_is_computed_on_it(
    on_fake_cuda: Callable[..., Any], kind: str, base: str
) -> None:
    family, mode = on_fake_cuda(kind, base=base, offload=0.5, unload_encoders=True)
    layers = frozen.repeated_layers(denoiser(family))
    waiting = [layer for layer in layers.values() if layer.weight.device.type == "cpu"]
    share = sum(layer.weight.numel() for layer in waiting) / sum(layer.weight.numel() for layer in layers.values())
    assert 0.5 <= share < 0.6
    assert all(layer.bias.device.type == "cuda" for layer in waiting if layer.bias is not None)
    for part in (family.text_encoder, family.vae):
        repeated = frozen.repeated_layers(part)
        for name, tensor in part.named_parameters():
            layer, _, key = name.rpartition(".")
            assert (tensor.device.type == "cpu") == (layer in repeated and key == "weight"), name
    with mode, torch.no_grad():
        text = family.encode_prompts(["a person"])
        latents, _ = encode(family.vae, torch.zeros(1, 3, SIDE, SIDE))
        timesteps = torch.zeros(1, device="cuda") if kind == "flux" else torch.zeros(1, device="cuda").long()
        answer = family.denoise(latents, timesteps, text)
        picture = family.vae.decode(answer).sample
        pulled = [_pulled(layer) for layer in waiting]
    assert {tensor.device.type for tensor in (*text.values(), latents, answer, picture, *pulled)} == {"cuda"}


def _pulled(layer: Any) -> Tensor:
    """The gradient of a layer's input, without autograd, which wants a real card."""
    if isinstance(layer, KeptLinear):
        shape = torch.Size((2, layer.in_features))
        return layer.pulled(torch.zeros(2, layer.out_features, device="cuda"), shape)
    x = torch.zeros(1, layer.in_channels, 8, 8, device="cuda")
    return layer.pulled(layer.applied(x), x.shape)


def test_tied_weights_stay_tied(load: Callable[..., Any]) -> None:
    encoder = load("flux", unload_encoders=True).text_encoder_2
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


@pytest.mark.parametrize(
    ("memory_gb", "base"),
    [(None, "full"), (80, "full"), (27, "full"), (21, "fp8"), (16, "fp8"), (15, "nf4"), (3, "nf4")],
)
def test_the_base_is_packed_as_tightly_as_the_memory_asks(memory_gb: float | None, base: str) -> None:
    flux = {"full": 22.17 * 2**30, "fp8": 11.16 * 2**30, "nf4": 6.32 * 2**30}
    assert choose_base({name: int(size) for name, size in flux.items()}, memory_gb) == base


GROUPS = [("sd15", 7, "full"), ("sdxl", 7, "fp8"), ("sdxl", 9, "fp8"), ("sdxl", 11, "full"), ("flux", 11, "nf4")]
GROUPS += [("flux", 15, "nf4"), ("flux", 21, "fp8"), ("flux", None, "full")]


@cache
def full_size(kind: str) -> tuple[str, nn.Module]:
    """The denoiser of a family as its makers publish it, without memory."""
    name, part = next(iter(skeleton(kind).items()))
    return name, part.to(torch.bfloat16)


@pytest.mark.parametrize(("kind", "memory_gb", "base"), GROUPS)
def test_full_size_models_are_kept_by_the_memory_of_each_group(kind: str, memory_gb: float | None, base: str) -> None:
    name, part = full_size(kind)
    hardware = HardwareConfig(precision="bf16", memory_gb=memory_gb)
    assert low_memory.base_of(part, hardware) == base
    assert on_card(name, part, hardware) == bytes_on_card(part, base)
    half = dataclasses.replace(hardware, offload=0.5)
    assert on_card(name, part, half) < on_card(name, part, hardware)


@pytest.mark.parametrize(
    ("hardware", "card", "sentence"),
    [
        (
            {"precision": "bf16"},
            TURING,
            "hardware.precision is bf16, which RTX 2080 Ti has not; use auto, fp16 or fp32.",
        ),
        (
            {"memory_gb": 12},
            AMPERE,
            "hardware.memory_gb is 12, but RTX 3060 has 11.8; use 11 or less, or hardware=cpu.",
        ),
    ],
)
def test_what_a_card_cannot_do_is_told_in_a_sentence(hardware: dict[str, Any], card: Card, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        require_fit(HardwareConfig(device="cuda", **hardware), torch.device("cuda"), card)
    assert str(caught.value) == sentence
    require_fit(HardwareConfig(device="cpu", **hardware), CPU, None)
    require_fit(HardwareConfig(device="cuda", precision="fp16", memory_gb=10), torch.device("cuda"), card)


def test_nf4_without_its_package_is_told_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_memory, "has_bitsandbytes", lambda: False)
    sentence = r"hardware.base is nf4, which needs bitsandbytes; install lorasweep\[lowvram\], or use fp8\.$"
    with pytest.raises(UserError, match=sentence):
        load_family(ModelConfig(path="nowhere"), HardwareConfig(device="cpu", base="nf4"))


def test_where_only_nf4_fits_and_its_package_is_missing_the_way_without_it_is_named(
    load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_memory, "has_bitsandbytes", lambda: False)
    memory_gb = 1.5 * bytes_on_card(denoiser(load("flux")), "fp8") / 2**30
    with pytest.raises(UserError, match=r"fit as NF4 only; install lorasweep\[lowvram\], or keep ") as caught:
        load("flux", memory_gb=memory_gb)
    share = float(str(caught.value).rpartition("hardware.offload=")[2].rstrip("."))
    assert 0 < share < 1
    assert load("flux", memory_gb=memory_gb, offload=share).hashes["kept"] == "fp8"


@pytest.mark.parametrize("kind", KINDS)
def test_fp16_follows_fp32_in_every_family_under_its_own_loss_scale(
    load: Callable[..., Any], model_of: Callable[[str], Path], dataset: Dataset, tmp_path: Path, kind: str
) -> None:
    found: dict[str, list[Step]] = {}
    for precision in ("fp32", "fp16"):
        run = tiny_run(model_of(kind), lora={"targets": "linear", "text_encoder": True}, steps=3)
        run = dataclasses.replace(
            run,
            model=dataclasses.replace(run.model, family=kind),
            hardware=HardwareConfig(device="cpu", precision=precision),
        )
        cohort = Cohort(load(kind, precision=precision), 1)
        cohort.admit(Trial(precision, run, dataset, tmp_path / precision))
        assert cohort._slots[0].state.loss_scale == (2.0**16 if precision == "fp16" else 1.0)
        while cohort.busy:
            cohort.run_interval(found.setdefault(precision, []).append)
    pairs = list(zip(found["fp16"], found["fp32"], strict=True))
    assert [half.loss for half, _ in pairs] == pytest.approx([full.loss for _, full in pairs], rel=0.02)
    assert [half.grad_norm for half, _ in pairs] == pytest.approx([full.grad_norm for _, full in pairs], rel=0.1)
    assert found["fp16"] != found["fp32"]
