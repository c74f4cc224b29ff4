"""What does width bring on a card? C LoRAs side by side against one after another, on full-size random models.

The honest baseline is PEFT on the same frozen weights in the same warm process, with latents and texts cached, batch 1,
bf16, rank 16 on all linear layers, AdamW and clipping. Steps of all loops are timed in turn, each to its last transfer
from the card; a cohort of C does C trials' steps at once. Beside them stands the share of the card's bf16 peak: the
model's own operations, forward and backward, as torch counts them in PEFT's step, by the second, over ``PEAK``.

    python -m benchmarks.speed.cohort_card --json benchmarks/results/cohort_card.json     on a card, ten minutes
    python -m benchmarks.speed.cohort_card --replay                                       the table from committed data
    python -m benchmarks.speed.cohort_card --tiny                                         the same code on tiny models
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.printing import machine, print_table, write_json
from benchmarks.speed.cards import TINY_SIDE, Case, noise_photos, random_family, run_of, write_tiny_configs

RESULTS = Path(__file__).parents[1] / "results" / "cohort_card.json"
PEAK = 989e12
"""Dense bf16 operations a second of an H100 or H200, as its maker states."""
DENOISER = {"sd15": "unet", "sdxl": "unet", "flux": "transformer"}


@dataclass(frozen=True)
class Setting:
    """A model at a size, and the widths that are tried on it."""

    kind: str
    resolution: int
    widths: tuple[int, ...]


SETTINGS = (
    Setting("sdxl", 1024, (1, 2, 4, 8)),
    Setting("sd15", 512, (1, 4, 8, 16)),
    Setting("flux", 512, (1, 2, 4)),
    Setting("flux", 1024, (1, 2)),
)


class PeftLoop:
    """What a trainer without cohorts does: PEFT's layers, one LoRA, inputs cached."""

    def __init__(self, family: Any, run: Any, dataset: Any) -> None:
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        from lorasweep.models.lora.layer import structural_clone
        from lorasweep.train.cache import LatentCache, TextCache
        from lorasweep.train.trial import Trial, crop_of

        part = DENOISER[run.model.family]
        config = LoraConfig(
            r=run.lora.rank, lora_alpha=run.lora.alpha, target_modules=family.targets(run.lora)[part], lora_dropout=0.0
        )
        net: Any = inject_adapter_in_model(config, structural_clone(getattr(family, part)))
        self.parameters = [each for each in net.parameters() if each.requires_grad]
        for parameter in self.parameters:
            parameter.data = parameter.data.float()
        self.family, self.run = replace(family, **{part: net}), run
        self.optimizer = torch.optim.AdamW(self.parameters, lr=run.optim.lr)
        trial = Trial("peft", run, dataset, Path())
        self.sizes = [crop_of(placement) for placement in trial.placements]
        caches = LatentCache(family), TextCache(family)
        pairs = [caches[0](photo, place) for photo, place in zip(trial.pictures, trial.placements, strict=True)]
        self.means, self.stds = (torch.stack(part) for part in zip(*pairs, strict=True))
        self.texts = [caches[1]([photo.caption], 0) for photo in trial.pictures]

    def forward(self) -> Any:
        """Return the loss of a batch of one."""
        import torch

        row = int(torch.randint(len(self.means), (1,)))
        latents = (self.means[row] + self.stds[row] * torch.randn_like(self.means[row]))[None]
        noise = torch.randn_like(latents)
        objective = self.family.objective
        timesteps = objective.timesteps(torch.rand(1, dtype=torch.float64), self.run.optim, latents.shape[1:])
        text = self.family.training_text(self.texts[row], [self.sizes[row]], [self.run.optim.guidance])
        answer = self.family.denoise(objective.noised(latents, noise, timesteps), timesteps, text)
        return torch.nn.functional.mse_loss(answer, objective.target(latents, noise, timesteps))

    def step(self) -> None:
        """Take one optimiser step."""
        import torch

        loss = self.forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.run.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()

    def operations(self) -> int:
        """Return the operations of a step's forward and backward pass."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.forward().backward()
        self.optimizer.zero_grad()
        return counter.get_total_flops()


def cohort_of(family: Any, run: Any, dataset: Any, width: int, root: Path) -> Any:
    """Return a cohort of ``width`` trials at rates of their own, its first step taken."""
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial

    cohort = Cohort(family, width)
    for number in range(width):
        own = replace(run, seed=number, optim=replace(run.optim, lr=1e-5 * (number + 1)))
        cohort.admit(Trial(f"{number}", own, dataset, root / f"{width}-{number}"))
    cohort._step(lambda _: None)
    return cohort


def timed(steps: int, step: Callable[[], object]) -> list[float]:
    """Return seconds of each step, after two that warm up; each ends with a transfer from the card."""
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[2:]


def measured_width(family: Any, run: Any, dataset: Any, width: int, root: Path, steps: int) -> dict[str, Any]:
    """Return seconds of a step and the most memory; None for both if the cohort halved itself for lack of memory."""
    cohort = cohort_of(family, run, dataset, width, root)
    if len(cohort.trials) < width:
        return {"width": width, "seconds": None, "peak_gb": None}
    _reset_peak()
    seconds = median(timed(steps, lambda: cohort._step(lambda _: None)))
    return {"width": width, "seconds": seconds, "peak_gb": _peak()}


def measure(setting: Setting, hardware: Any, steps: int, model: str, root: Path) -> dict[str, Any]:
    """Measure PEFT, then each width, then PEFT again, so that a drift of the clock shows."""
    import torch

    run = run_of(Case(setting.kind, setting.resolution, ""), hardware, model, root)
    dataset = noise_photos(root, setting.resolution)
    family = random_family(run)
    plain = PeftLoop(family, run, dataset)
    operations = plain.operations()
    first = timed(steps, plain.step)
    found = []
    for width in setting.widths:
        found.append(measured_width(family, run, dataset, width, root, steps))
        gc.collect()
        if found[-1]["seconds"] is None:
            break
    again = timed(steps, plain.step)
    peft = median([*first, *again])
    for each in found:
        taken = each["seconds"]
        each["speed_up"] = each["width"] * peft / taken if taken else None
        each["share_of_peak"] = each["width"] * operations / taken / PEAK if taken else None
    return {
        **asdict(setting),
        "peft_seconds": peft,
        "peft_share_of_peak": operations / peft / PEAK,
        "peft_drift": median(again) / median(first),
        "operations": operations,
        "steps": steps,
        "found": found,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cudnn_attention": torch.backends.cuda.cudnn_sdp_enabled(),
    }


def _reset_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> float | None:
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None


def report(found: Sequence[dict[str, Any]]) -> None:
    """Print one line for each loop."""
    rows = []
    for case in found:
        name = f"{case['kind']} {case['resolution']}"
        rows.append([name, "PEFT", f"{case['peft_seconds']:.4f}", "1.00", f"{case['peft_share_of_peak']:.1%}", ""])
        for each in case["found"]:
            if each["seconds"] is None:
                rows.append([name, f"cohort of {each['width']}", "out of memory", "", "", ""])
                continue
            peak = f"{each['peak_gb']:.1f}" if each["peak_gb"] else ""
            share = f"{each['share_of_peak']:.1%}"
            cells = [f"{each['seconds']:.4f}", f"{each['speed_up']:.2f}", share, peak]
            rows.append([name, f"cohort of {each['width']}", *cells])
    print_table(("model", "loop", "s a step", "trials' steps per PEFT step", "of the peak", "GB"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; results are written case by case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=tuple(DENOISER))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="the same code on tiny models, on a CPU too")
    parser.add_argument("--replay", action="store_true", help="the table from the committed data")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.replay:
        return report(json.loads(RESULTS.read_text(encoding="utf-8"))["cases"])
    import torch

    from lorasweep.config.schema import HardwareConfig

    on_card = torch.cuda.is_available()
    if not on_card and not options.tiny:
        print("No CUDA device is here; with --tiny the same code runs on tiny models.")
        return None
    hardware = HardwareConfig(device="cuda" if on_card else "cpu", precision="bf16" if on_card else "fp32")
    found = []
    for setting in SETTINGS:
        if options.kind not in (None, setting.kind):
            continue
        chosen = replace(setting, resolution=TINY_SIDE) if options.tiny else setting
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            model = str(write_tiny_configs(setting.kind, root / "model")) if options.tiny else ""
            found.append(measure(chosen, hardware, options.steps, model, root))
        gc.collect()
        if on_card:
            torch.cuda.empty_cache()
        if options.json:
            write_json(options.json, {"cases": found, "machine": machine() | {"device": found[-1]["device"]}})
    report(found)
    return None


if __name__ == "__main__":
    main()
