import dataclasses

import pytest
import torch
from contracts.tiny import SIDE, tiny_run
from contracts.tiny_models import write_tiny

from lorasweep.config.schema import HardwareConfig, ModelConfig
from lorasweep.models import load_family
from lorasweep.plan.counting import Counting, ledger_of
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
