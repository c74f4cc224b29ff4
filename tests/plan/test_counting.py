import dataclasses
import json
import shutil
from itertools import chain

import pytest
import torch
from contracts.single_file import write_single_file
from contracts.tiny import SIDE, tiny_run
from contracts.tiny_models import write_tiny
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from lorasweep.config.schema import HardwareConfig, ModelConfig
from lorasweep.models import load_family
from lorasweep.plan.counting import Counting, ledger_of
from lorasweep.plan.ledger import FLOPS
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial

WITHIN = 0.15
"""What ``lorasweep plan`` promises."""
PLAIN = {"targets": "attention", "rank": 4, "text_encoder": False}
CASES = [
    ("sd15", {"rank": 32}, {"batch_size": 4}, 1),
    ("sd15", {"targets": "convolution"}, {}, 3),
    ("sd15", {"targets": "linear", "text_encoder": True}, {"gradient_checkpointing": True}, 1),
    ("sdxl", {}, {"precision": "bf16"}, 1),
    ("sdxl", {"targets": "convolution", "text_encoder": True}, {"batch_size": 4, "gradient_checkpointing": True}, 3),
    ("flux", {"rank": 32}, {}, 1),
    ("flux", {"targets": "linear", "text_encoder": True}, {"batch_size": 4}, 3),
    ("flux", {"dropout": 0.1}, {"gradient_checkpointing": True, "batch_size": 4, "precision": "bf16"}, 1),
]
"""Family, lora.*, hardware.* and batch size, width."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: write_tiny(kind, root / kind) for kind in ("sd15", "sdxl", "flux")}


def tiny(kind, models, lora, more):
    run = tiny_run(models[kind], lora={**PLAIN, **lora}, batch_size=more.get("batch_size", 1))
    hardware = {key: value for key, value in more.items() if key != "batch_size"}
    return dataclasses.replace(
        run,
        model=ModelConfig(family=kind, path=str(models[kind]), resolution=SIDE),
        hardware=HardwareConfig(device="cpu", **hardware),
    )


@pytest.fixture
def cohort(models, dataset, tmp_path):
    """A real cohort of a run, photos and captions encoded, ready for its first step."""

    def build(run, width):
        cohort = Cohort(load_family(run.model, run.hardware), width)
        for number in range(width):
            trial = Trial(f"t{number}", dataclasses.replace(run, seed=number), dataset, tmp_path / str(number))
            cohort.admit(trial)
        for photo, placement in zip(trial.pictures, trial.placements, strict=True):
            cohort.latents(photo, placement)
        cohort.texts([*(photo.caption for photo in dataset.train), ""], run.sample.clip_skip)
        return cohort

    return build


@pytest.mark.parametrize(("kind", "lora", "more", "width"), CASES)
def test_a_real_step_needs_what_was_counted_without_weights(kind, lora, more, width, models, cohort):
    run = tiny(kind, models, lora, more)
    counted = Counting(run.model, run.hardware.precision, "cpu")(run, width).step
    real = cohort(run, width)
    bank = real._stack()
    kept, seen = kept_by(real, bank)
    ledger = ledger_of(real.family, bank)
    with ledger:
        real._accumulate(bank)
    assert counted.peak == pytest.approx(ledger.peak, rel=WITHIN)
    assert counted.flops == pytest.approx(ledger.flops, rel=WITHIN)
    assert counted.kept == pytest.approx(kept, rel=WITHIN)
    if not run.hardware.gradient_checkpointing:  # what its closures hold is shown to no hook
        assert counted.kept == pytest.approx(seen, rel=WITHIN)


def test_flops_are_those_of_torchs_own_counter(models, cohort):
    real = cohort(tiny("flux", models, {"targets": "linear"}, {}), 2)
    bank = real._stack()
    mapping = {call: count for call, count in FLOPS.items() if call not in flop_registry}
    assert {str(call) for call in mapping} == {
        "aten._scaled_dot_product_flash_attention_for_cpu",
        "aten._scaled_dot_product_flash_attention_for_cpu_backward",
    }
    counter, ledger = FlopCounterMode(display=False), ledger_of(real.family, bank)
    counter.flop_registry |= mapping
    with counter, ledger:
        real._accumulate(bank)
    assert ledger.flops == counter.get_total_flops() > 0


def kept_by(real, bank):
    """Bytes alive between loss and way back, and what torch's own hooks for saved tensors see of them."""
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    ledger = ledger_of(real.family, bank)
    with ledger, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = real._losses(0)
        kept = ledger.now
    assert loss.isfinite().all()
    return kept, sum(size for key, size in saved.items() if key not in ledger._known)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_the_weights_that_are_counted_are_those_that_are_loaded(kind, precision, models):
    run = tiny(kind, models, {}, {"precision": precision})
    counted = Counting(run.model, precision, "cpu")(run).frozen
    family = load_family(run.model, run.hardware)
    parts = {**family.components, "vae": family.vae}
    tensors = {name: chain(part.parameters(), part.buffers()) for name, part in parts.items()}
    assert counted == {name: sum(tensor.nbytes for tensor in held) for name, held in tensors.items()}


@pytest.mark.parametrize("unload", [False, True])
def test_the_text_that_is_counted_for_flux_is_that_of_its_kind(unload, models, tmp_path):
    """schnell reads half as many tokens as dev, from a single file too; fp16 computes T5 in fp32."""
    folder = shutil.copytree(models["flux"], tmp_path / "dev")
    path = folder / "tokenizer_2" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 512}), encoding="utf-8")
    whole = write_single_file("flux", folder, tmp_path / "dev.safetensors", parts=["transformer"])
    state = {key: tensor for key, tensor in load_file(whole).items() if "guidance_in." not in key}
    save_file(state, tmp_path / "schnell.safetensors")
    found = {}
    for name in ("dev", "schnell"):
        model = ModelConfig(
            family="flux", path=str(tmp_path / f"{name}.safetensors"), config=str(folder), resolution=SIDE
        )
        run = tiny("flux", models, {}, {"precision": "fp16", "unload_encoders": unload})
        run = dataclasses.replace(run, model=model)
        counted = Counting(model, "fp16", "cpu")(run)
        family = load_family(model, run.hardware)
        text = family.encode_prompts(["a"])
        assert counted.text == sum(tensor.nbytes for tensor in text.values())
        ledger = ledger_of(family)
        with ledger, torch.no_grad():
            family.encode_prompts([""])
        assert counted.text_in.peak == pytest.approx(ledger.peak, rel=WITHIN)
        found[name] = text["states"].shape[1]
    assert found == {"dev": 512, "schnell": 256}
