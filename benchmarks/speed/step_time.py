"""What does a training step cost beside a plain PEFT loop over the same UNet, and is side by side as good as alone?

Both loops run in one warm process on one thread, step by step in turn, over the same frozen weights, with latents and
text embeddings cached, at batch 4, rank 16, AdamW and gradient clipping. The PEFT loop draws its noise with
``torch.randn``; ours with its counter-based generator, which is part of its step. Time is processor time, which other
programs on the machine disturb least; wall time is reported too.

- a cohort of one: at most 1.05 x the PEFT step (median of paired ratios);
- a cohort of C: C x the PEFT step / its own step is the speed-up over training one after another;
- a cohort of 3 rates for 50 steps: every loss within 1e-5 of the solo run's.

    python -m benchmarks.speed.step_time [--quick] [--model FOLDER|portraits] [--json FILE]     some minutes
    python -m benchmarks.speed.step_time --replay          the tables from the committed data
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.printing import machine, print_table, write_json

RESULTS = Path(__file__).parents[1] / "results" / "step_time.json"
WIDTHS = (1, 4, 8)
RATES = (1e-4, 1e-3, 4e-3)


def setting(model: str, lr: float, steps: int, *, resolution: int = 64, batch_size: int = 4) -> Any:
    """Return the run that is timed."""
    from lorasweep.config.schema import (
        DataConfig,
        HardwareConfig,
        LoraConfig,
        ModelConfig,
        OptimConfig,
        RunConfig,
        SaveConfig,
    )

    return RunConfig(
        preset="benchmark",
        model=ModelConfig(path=model, resolution=resolution),
        hardware=HardwareConfig(device="cpu"),
        data=DataConfig(path="photos"),
        lora=LoraConfig(rank=16, alpha=16.0),
        optim=OptimConfig(lr=lr, steps=steps, batch_size=batch_size),
        save=SaveConfig(count=1, state_minutes=1e6),
    )


def photos(folder: Path) -> Any:
    """Return twelve drawn photos as a data set."""
    from lorasweep.data.dataset import read_dataset
    from lorasweep.portraits.folder import write_person

    write_person(folder, 1, photos=12, held_out=1)
    run = setting("portraits", 1e-3, 1)
    run.data.path, run.data.held_out = str(folder / "photos"), 0.0
    return read_dataset(run.data)


class PeftLoop:
    """The loop that a diffusers example script would run, inputs cached."""

    def __init__(self, family: Any, dataset: Any, run: Any) -> None:
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        from lorasweep.data.buckets import square_placement
        from lorasweep.models.lora.layer import structural_clone
        from lorasweep.train.cache import LatentCache, TextCache

        config = LoraConfig(r=run.lora.rank, lora_alpha=run.lora.alpha, target_modules=family.targets(run.lora)["unet"])
        self.family, self.run = family, run
        self.unet: Any = inject_adapter_in_model(config, structural_clone(family.unet))
        self.parameters = [p for p in self.unet.parameters() if p.requires_grad]
        optim = run.optim
        self.optimizer = torch.optim.AdamW(self.parameters, lr=optim.lr, weight_decay=optim.weight_decay)
        place = square_placement((64, 64), run.model.resolution)
        moments = [LatentCache(family)(photo, place) for photo in dataset.train]
        self.means, self.stds = (torch.stack(part) for part in zip(*moments, strict=True))
        self.texts = TextCache(family)([photo.caption for photo in dataset.train], 0)["states"]

    def step(self) -> None:
        """Take one optimiser step."""
        import torch

        rows = torch.randint(len(self.means), (self.run.optim.batch_size,))
        latents = self.means[rows] + self.stds[rows] * torch.randn_like(self.means[rows])
        noise = torch.randn_like(latents)
        timesteps = torch.randint(len(self.family.objective.alphas), (len(rows),))
        shown = self.family.objective.noised(latents, noise, timesteps)
        answer = self.unet(shown, timesteps, self.texts[rows], return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(answer, self.family.objective.target(latents, noise, timesteps))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.run.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()


def cohort_step(family: Any, dataset: Any, run: Any, width: int, folder: Path) -> Callable[[], object]:
    """Return a function that takes one optimiser step of a cohort of ``width``."""
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial

    cohort = Cohort(family, width)
    for number in range(width):
        cohort.admit(Trial(f"{number}", replace(run, seed=number), dataset, folder / f"{width}-{number}"))
    return lambda: cohort._step(lambda step: None)


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of processor and of the wall clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(family: Any, dataset: Any, run: Any, pairs: int, folder: Path) -> dict[str, Any]:
    """Time interleaved steps: PEFT, then each width, repeatedly."""
    plain = PeftLoop(family, dataset, run).step
    steps = {width: cohort_step(family, dataset, run, width, folder) for width in WIDTHS}
    for step in (plain, *steps.values()):
        step(), step()
    times: dict[str, list[tuple[float, float]]] = {"peft": [], **{str(width): [] for width in WIDTHS}}
    for _ in range(pairs):
        times["peft"].append(timed(plain))
        for width, step in steps.items():
            times[str(width)].append(timed(step))
    cpu = {name: np.array([pair[0] for pair in values]) for name, values in times.items()}
    wall = {name: np.array([pair[1] for pair in values]) for name, values in times.items()}
    return {
        "cohort_of_one_over_peft": float(median(cpu["1"] / cpu["peft"])),
        "cohort_of_one_over_peft_wall": float(median(wall["1"] / wall["peft"])),
        "quartiles": [float(q) for q in np.quantile(cpu["1"] / cpu["peft"], (0.25, 0.75))],
        "speed_up": {str(width): float(median(width * cpu["peft"] / cpu[str(width)])) for width in WIDTHS},
        "seconds": {name: float(median(values)) for name, values in cpu.items()},
        "pairs": pairs,
    }


def parity(family: Any, dataset: Any, model: str, steps: int, folder: Path) -> dict[str, float]:
    """Return the largest difference of a loss between a cohort of 3 rates and each rate alone."""
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial

    def losses(rates: tuple[float, ...], place: str) -> dict[str, list[float]]:
        cohort = Cohort(family, len(rates))
        found: dict[str, list[float]] = {}
        for rate in rates:
            cohort.admit(Trial(f"{rate:g}", setting(model, rate, steps), dataset, folder / place / f"{rate:g}"))
        while cohort.busy:
            cohort.run_interval(lambda step: found.setdefault(step.trial, []).append(step.loss))
        return found

    together = losses(RATES, "together")
    return {
        f"{rate:g}": float(
            np.abs(np.array(together[f"{rate:g}"]) - losses((rate,), f"alone-{rate:g}")[f"{rate:g}"]).max()
        )
        for rate in RATES
    }


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"cohort of one / PEFT: {found['cohort_of_one_over_peft']:.3f} (goal <= 1.05)\n")
    rows = [["PEFT", f"{found['seconds']['peft']:.3f}", "1.00"]]
    rows += [[f"cohort of {w}", f"{found['seconds'][str(w)]:.3f}", f"{found['speed_up'][str(w)]:.2f}"] for w in WIDTHS]
    print_table(("loop", "cpu s a step", "trials' steps per PEFT step"), rows)
    differences = found["largest_loss_difference"].items()
    head = f"largest loss difference over {found['parity_steps']} steps"
    print_table(("rate", head), [[rate, f"{difference:.1e}"] for rate, difference in differences])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 pairs and 10 steps instead of 30 and 50")
    parser.add_argument("--model", default="portraits")
    parser.add_argument("--replay", action="store_true", help="the tables from the committed data")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.replay:
        return show(json.loads(RESULTS.read_text(encoding="utf-8")))
    import torch

    from lorasweep.models import load_family

    torch.set_num_threads(1)
    run = setting(options.model, 1e-3, 1_000_000)
    family = load_family(run.model, run.hardware)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset = photos(folder / "person")
        found = measure(family, dataset, run, 5 if options.quick else 30, folder)
        steps = 10 if options.quick else 50
        found["largest_loss_difference"] = parity(family, dataset, options.model, steps, folder)
        found["parity_steps"] = steps
    show(found)
    if options.json:
        write_json(options.json, {**found, "machine": machine()})
    return None


if __name__ == "__main__":
    main()
