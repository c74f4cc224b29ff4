"""Whether full-size models train within small cards: random weights of the real shapes under the hardware presets.

    python -m benchmarks.speed.cards --json benchmarks/results/cards.json     on a card
    python -m benchmarks.speed.cards --replay                                 the table from committed data

The weights are made on the card, layer by layer, and kept as the preset says, so that a model never lies there (or in
the computer's memory) whole. Everything else is what ``lorasweep train`` does: photos and captions are encoded, steps
are trained, a picture is drawn. torch is bound to the preset's memory on a larger card too, so a run that does not fit
ends with an error here as well. Without a card it says what it would measure; ``--tiny`` runs the same code on a CPU.
"""

import argparse
import contextlib
import hashlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.printing import machine, print_table, write_json

RESULTS = Path(__file__).parents[1] / "results" / "cards.json"
GROUPS = Path(__file__).parents[2] / "conf" / "hardware"
GB = 2**30


@dataclass(frozen=True)
class Case:
    """A model that is meant to train within a card."""

    kind: str
    resolution: int
    group: str


CASES = (Case("sd15", 512, "8gb"), Case("sdxl", 1024, "10gb"), Case("flux", 512, "16gb"), Case("flux", 1024, "16gb"))
NARROW = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FEW = {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8}
TINY: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {
        "unet": {**FEW, "cross_attention_dim": 32},
        "text_encoder": NARROW,
        "vae": FEW,
    },
    "sdxl": {
        "unet": {
            **{"block_out_channels": [32, 32, 32], "layers_per_block": 1, "transformer_layers_per_block": 1},
            **{"attention_head_dim": 2, "cross_attention_dim": 64, "projection_class_embeddings_input_dim": 1568},
        },
        "text_encoder": NARROW,
        "text_encoder_2": {**NARROW, "projection_dim": 32},
        "vae": FEW,
    },
    "flux": {
        "transformer": {
            **{"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2},
            **{"joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": [2, 2, 4]},
        },
        "text_encoder": NARROW,
        "text_encoder_2": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        "vae": FEW,
    },
}
"""Changes that make a family's shipped configurations small."""
TINY_SIDE = 64


def write_tiny_configs(kind: str, folder: Path) -> Path:
    """Write a model folder without weights: the shipped configurations, made small."""
    from lorasweep.models.loading.sources import shipped_configs

    shutil.copytree(shipped_configs(kind), folder)
    (folder / "tokenizer_2").mkdir(exist_ok=True)  # T5's ships nowhere; none is read
    for part, changes in TINY[kind].items():
        path = folder / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return folder


def hardware_of(group: str, device: str) -> Any:
    """Return the preset under ``conf/hardware`` with a precision; read without Hydra, which a machine may lack."""
    import yaml

    from lorasweep.config.card import find_card, precision_for
    from lorasweep.config.schema import HardwareConfig

    hardware = HardwareConfig(**yaml.safe_load((GROUPS / f"{group}.yaml").read_text(encoding="utf-8")))
    precision = precision_for(hardware.precision, device, find_card(device))
    return replace(hardware, device=device, precision=precision)


def run_of(case: Case, hardware: Any, model: str, root: Path) -> Any:
    """Return a run as a preset of this kind would make it: rank 16 on all linear layers, one photo a step."""
    from lorasweep.config.schema import (
        DataConfig,
        LoraConfig,
        ModelConfig,
        OptimConfig,
        PromptConfig,
        RunConfig,
        SampleConfig,
        TrackConfig,
    )

    return RunConfig(
        preset="cards",
        model=ModelConfig(family=case.kind, path=model, resolution=case.resolution),
        hardware=hardware,
        data=DataConfig(path=str(root)),
        lora=LoraConfig(rank=16, alpha=16.0, targets="linear"),
        optim=OptimConfig(steps=1_000_000),
        sample=SampleConfig(prompts={"p1": PromptConfig(text="photo of {trigger}")}, seeds=[0], steps=4, guidance=3.5),
        track=TrackConfig(root=str(root), mlflow=False),
    )


def random_family(run: Any) -> Any:
    """Return the run's base model with random weights, each part where and how ``run.hardware`` keeps it."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from lorasweep.models import PRECISIONS, readied
    from lorasweep.models.loading.low_memory import marked
    from lorasweep.models.loading.sources import WEIGHTS
    from lorasweep.plan.weightless import described, weightless_family

    device = readied(run.hardware)
    source = described(run.model)
    with FakeTensorMode():
        family: Any = weightless_family(run.model, source, PRECISIONS[run.hardware.precision])
    torch.manual_seed(0)
    parts = {part: materialised(part, getattr(family, part), run.hardware, device) for part in WEIGHTS[family.kind]}
    objective = type(family.objective).of(source.scheduler(), run.model, device)
    return marked(replace(family, **parts, objective=objective, device=device, hashes={"random": family.kind}))


def materialised(part: str, module: Any, hardware: Any, device: Any) -> Any:
    """Fill a weightless part: the weights of a layer are made, and kept as they should be, before the next one's."""
    from lorasweep.models.loading.frozen import CPU, how_kept, kept_layer, repeated_layers
    from lorasweep.models.loading.low_memory import DENOISERS, way_of

    base, away = way_of(part, module, hardware)
    away = set(away)
    for name in list(repeated_layers(module)):  # names only: a layer that is kept must leave nothing of itself behind
        layer: Any = module.get_submodule(name)
        fill(layer, device if part in DENOISERS else CPU if name in away else device)
        if base != "full" or name in away:
            there, pinned = name in away, part in DENOISERS
            kept = kept_layer(layer, how_kept(layer, base), device, away=there, pinned=pinned)
            module.set_submodule(name, kept)
    filled = set(repeated_layers(module).values())
    for owner in module.modules():
        if owner not in filled:
            fill(owner, device)
    return module


def fill(module: Any, device: Any) -> None:
    """Give a module's own weightless tensors memory: small random weights; on a CPU beside a card zeros, which are made
    at once and are good enough for the encoders."""
    import torch
    from torch import nn

    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for key, tensor in own:
        if not tensor.is_floating_point():  # CLIP's positions are the only ones
            made = torch.arange(tensor.shape[-1], device=device).expand(tensor.shape)
        elif tensor.dim() > 1 and (device.type != "cpu" or not torch.cuda.is_available()):
            made = torch.empty(tensor.shape, dtype=tensor.dtype, device=device).normal_(0, 0.02)
        else:
            make = torch.ones if key == "weight" and tensor.dim() == 1 else torch.zeros
            made = make(tensor.shape, dtype=tensor.dtype, device=device)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(module, key, nn.Parameter(made, requires_grad=False) if is_parameter else made)


def noise_photos(folder: Path, side: int, count: int = 4) -> Any:
    """Write images of noise with captions."""
    import numpy as np
    from PIL import Image

    from lorasweep.records import Dataset, Photo

    rng, photos = np.random.default_rng(0), []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        size = {"width": side, "height": side}
        photos.append(Photo(path=path, caption=f"s1lv10, {number}", sha256=sha256, repeats=100, **size))
    words = {"trigger": "s1lv10", "class_noun": "person", "fingerprint": "noise"}
    return Dataset(path=folder, train=tuple(photos), held_out=(), **words)


@contextlib.contextmanager
def watched(found: dict[str, Any], phase: str) -> Iterator[None]:
    """Record seconds of a phase and, on a card, the most that was allocated and reserved while it ran, in GB."""
    import torch

    on_card = torch.cuda.is_available()
    if on_card:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    yield
    if on_card:
        torch.cuda.synchronize()
    found[phase] = {
        "seconds": time.perf_counter() - start,
        "allocated": torch.cuda.max_memory_allocated() / GB if on_card else None,
        "reserved": torch.cuda.max_memory_reserved() / GB if on_card else None,
    }


def measure(case: Case, device: str, steps: int, model: str, root: Path) -> dict[str, Any]:
    """Load, encode, train ``steps`` after two that warm up, draw one image."""
    from lorasweep.data.prompts import fill_prompts
    from lorasweep.records import Step
    from lorasweep.train.cache import cache_folder
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.sample import Sheet, draw_adapter
    from lorasweep.train.trial import Trial

    run = run_of(case, hardware_of(case.group, device), model, root)
    dataset = noise_photos(root, case.resolution)
    phases: dict[str, Any] = {}
    with watched(phases, "loading"):
        family = random_family(run)
    with watched(phases, "encoding"):
        cohort = Cohort(family, 1, cache_folder=cache_folder(run))
        cohort.admit(Trial("cards", run, dataset, root / "trial"))
    taken: list[Step] = []
    seconds: list[float] = []
    with watched(phases, "training"):
        for _ in range(steps + 2):
            start = time.perf_counter()
            cohort._step(taken.append)  # it ends with a transfer from the card, so the clock is right
            seconds.append(time.perf_counter() - start)
    with watched(phases, "drawing"):
        sheet = Sheet.of(run, fill_prompts(run.sample, run.data))
        draw_adapter(family, cohort.adapter("cards"), taken[-1], sheet, root / "drawn", cohort.texts)
    return {
        **asdict(case),
        "base": family.hashes.get("kept", "full"),
        "precision": run.hardware.precision,
        "memory_gb": run.hardware.memory_gb,
        "seconds_a_step": statistics.median(seconds[2:]),
        "loss": taken[-1].loss,
        "phases": phases,
        "planned": planned(run, device),
    }


def planned(run: Any, device: str) -> dict[str, float]:
    """Return what ``lorasweep plan`` counts for the same phases, in GB, without the networks that score."""
    from lorasweep.plan.counting import Counting

    counts = Counting(run.model, run.hardware.precision, device.partition(":")[0])(run)
    # values, gradients and two moments in fp32
    standing = sum(counts.frozen.values()) + counts.layer + 16 * counts.values
    return {
        "encoding": (standing + max(counts.picture_in.peak, counts.text_in.peak)) / GB,
        "training": (standing + counts.step.peak) / GB,
        "drawing": (standing + 4 * counts.values + max(counts.forward.peak, counts.picture_out.peak)) / GB,
    }


def chosen(options: argparse.Namespace) -> list[Case]:
    """Return the cases that the command line names; ``--resolution`` replaces the case's."""
    cases = [case for case in CASES if options.kind in (None, case.kind)]
    if side := TINY_SIDE if options.tiny else options.resolution:
        cases = list(dict.fromkeys(replace(case, resolution=side) for case in cases))
    return [replace(case, group=options.hardware) for case in cases] if options.hardware else cases


def would_measure(cases: Sequence[Case], steps: int) -> None:
    """Print what a card would measure, for a machine without one."""
    import torch

    from lorasweep.models.loading.low_memory import base_of, on_card
    from lorasweep.models.loading.reading import skeleton

    rows = []
    for case in cases:
        hardware = hardware_of(case.group, "cuda")
        part, module = next(iter(skeleton(case.kind).items()))
        module = module.to(torch.bfloat16)
        weights = f"{on_card(part, module, hardware) / GB:.2f} GB"
        rows.append([case.kind, case.resolution, case.group, base_of(module, hardware), weights, hardware.memory_gb])
    print(
        f"No CUDA device is here. On one, each of these would be loaded with random weights, trained for {steps} steps"
    )
    print("and drawn with: the peak of each phase, seconds a step, and beside them what 'lorasweep plan' counts.\n")
    print_table(("model", "side", "hardware", "base", "denoiser's weights", "memory_gb"), rows)


def report(found: Sequence[dict[str, Any]]) -> None:
    """Print one line for each case and phase."""
    rows = []
    for case in found:
        for phase, seen in case["phases"].items():
            said = case["planned"].get(phase)
            cells = [
                f"{value:.2f}" if value is not None else "-" for value in (seen["allocated"], seen["reserved"], said)
            ]
            step = f"{case['seconds_a_step']:.3f}" if phase == "training" else ""
            rows.append([case["kind"], case["resolution"], case["group"], case["base"], phase, *cells, step])
    print_table(
        ("model", "side", "hardware", "base", "phase", "peak GB", "reserved GB", "planned GB", "s a step"), rows
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=("sd15", "sdxl", "flux"))
    parser.add_argument("--resolution", type=int, help="instead of 512 for sd15, 1024 for sdxl and both for flux")
    parser.add_argument("--hardware", help="another preset of conf/hardware for all, such as 24gb")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="the same code on tiny models, on a CPU too")
    parser.add_argument("--replay", action="store_true", help="the table from the committed data")
    parser.add_argument("--json", type=Path, help="written after every case, so that one without room costs no other")
    options = parser.parse_args(arguments)
    if options.replay:
        return report(json.loads(RESULTS.read_text(encoding="utf-8"))["cases"])
    import torch

    device, cases = "cuda" if torch.cuda.is_available() else "cpu", chosen(options)
    if device == "cpu" and not options.tiny:
        return would_measure(cases, options.steps)
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            model = str(write_tiny_configs(case.kind, root / "model")) if options.tiny else ""
            found.append(measure(case, device, options.steps, model, root))
        if device == "cuda":
            torch.cuda.empty_cache()
        if options.json:
            card = torch.cuda.get_device_name() if device == "cuda" else "none"
            write_json(options.json, {"cases": found, "machine": {**machine(), "card": card}})
    return report(found)


if __name__ == "__main__":
    main()
