"""What does training and drawing several LoRAs side by side bring on a CPU, beside PEFT alone, one after another?

All loops run in one warm process on one thread, step by step in turn, over the frozen UNet of the drawn world, whose
latents are 16x16 at 64 pixels and 8x8 at 32; latents and captions are cached on both sides. Time is processor time,
which other programs on the machine disturb least.

- training: C x the PEFT step / the cohort's step, the median of pairs; at batch 1 the goals are 2 for C = 8 on 16x16
  latents and 3.5 on 8x8, and at most 1.05 PEFT steps for C = 1. The drawn world's preset trains with batch 4;
- parity: the largest difference of a loss between a cohort of eight rates and each rate alone, over 50 steps;
- drawing: one sample each of eight adapters at once against one by one, 2.5 on 8x8; and sheets of eight samples each,
  which leave little to win, since one by one has a full batch too.

    python -m benchmarks.speed.cohort [--pairs 20] [--json FILE]     a quarter of an hour
    python -m benchmarks.speed.cohort --replay          the tables from committed data
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.printing import measure_or_replay, print_table
from benchmarks.speed.step_time import PeftLoop, cohort_step, photos, setting, timed

RESULTS = Path(__file__).parents[1] / "results" / "cohort.json"
WIDTHS = (1, 2, 4, 8)
CASES = {"16x16, batch 1": (64, 1), "8x8, batch 1": (32, 1), "16x16, batch 4": (64, 4), "8x8, batch 4": (32, 4)}
"""Name to pixels and batch size."""
GOALS = {
    "c8_over_peft_16x16": 2.0,
    "c8_over_peft_8x8": 3.5,
    "c1_step_over_peft_16x16": 1.05,
    "c1_step_over_peft_8x8": 1.05,
    "largest_loss_difference": 1e-5,
    "draw_8_at_once_8x8": 2.5,
}
AT_MOST = ("c1_step_over_peft_16x16", "c1_step_over_peft_8x8", "largest_loss_difference")
RATES = tuple(float(rate) for rate in np.geomspace(1e-4, 4e-3, 8))


def training(family: Any, dataset: Any, name: str, pairs: int, folder: Path) -> dict[str, float]:
    """Return C x the PEFT step / the cohort's step, by width."""
    resolution, batch_size = CASES[name]
    run = setting("portraits", 1e-3, 1_000_000, resolution=resolution, batch_size=batch_size)
    plain = PeftLoop(family, dataset, run).step
    found: dict[str, float] = {}
    for width in WIDTHS:  # each beside a PEFT step of its own: what ran just before leaves its mark on the caches
        times = interleaved({"peft": plain, "ours": cohort_step(family, dataset, run, width, folder / name)}, pairs)
        found[str(width)] = round(float(np.median(width * times["peft"] / times["ours"])), 4)
        found["peft_seconds"] = round(float(np.median(times["peft"])), 5)
    return found


def interleaved(loops: Mapping[str, Callable[[], object]], pairs: int) -> dict[str, np.ndarray]:
    """Return processor seconds of each loop's step, all in turn, repeatedly, after two that warm up."""
    for step in loops.values():
        step(), step()
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(pairs):
        for name, step in loops.items():
            times[name].append(timed(step)[0])
    return {name: np.array(values) for name, values in times.items()}


def parity(family: Any, dataset: Any, folder: Path, steps: int = 50) -> float:
    """Return the largest difference of a loss between eight rates side by side and each of them alone."""
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial

    def losses(rates: Sequence[float], place: str) -> dict[str, list[float]]:
        cohort = Cohort(family, len(rates))
        found: dict[str, list[float]] = {}
        for rate in rates:
            run = setting("portraits", rate, steps, batch_size=1)
            cohort.admit(Trial(f"{rate:g}", run, dataset, folder / place / f"{rate:g}"))
        while cohort.busy:
            cohort.run_interval(lambda step: found.setdefault(step.trial, []).append(step.loss))
        return found

    together = losses(RATES, "together")
    alone = {name: values for rate in RATES for name, values in losses([rate], "alone").items()}
    return max(float(np.abs(np.subtract(together[name], alone[name])).max()) for name in together)


def drawing(family: Any, resolution: int, cells: int, pairs: int) -> float:
    """Return the time of eight adapters one by one over their time at once; ``cells`` samples of each."""
    from lorasweep.config.compose import load_run
    from lorasweep.data.prompts import fill_prompts
    from lorasweep.models.lora.layer import AdapterBank, adapted
    from lorasweep.train.cache import TextCache
    from lorasweep.train.sample import Sheet, drawing_inputs
    from lorasweep.train.state import starting_adapter

    words = ["preset=person_portraits", "data.path=photos", f"model.resolution={resolution}", "sample.steps=4"]
    run = load_run([*words, "sample.seeds=[0]"])
    sheet = Sheet.of(run, fill_prompts(run.sample, run.data))
    adapters, texts = [starting_adapter(run, family) for _ in range(max(WIDTHS))], TextCache(family)

    def draw(some: Sequence[Any]) -> Callable[[], object]:
        drawn = adapted(family, AdapterBank(some, family.device))
        return lambda: _without_gradients(
            drawn.draw, drawing_inputs(family, sheet.cells[:cells], sheet, texts, len(some))
        )

    singles = [draw([adapter]) for adapter in adapters]
    loops = {"at once": draw(adapters), "one by one": lambda: [single() for single in singles]}
    times = interleaved(loops, pairs)
    return round(float(median(times["one by one"] / times["at once"])), 4)


def _without_gradients(function: Callable[..., object], inputs: Sequence[Any]) -> object:
    import torch

    with torch.no_grad():
        return function(*inputs)


def measure(pairs: int) -> dict[str, Any]:
    """Measure all of it."""
    import torch

    from lorasweep.models import load_family

    torch.set_num_threads(1)
    run = setting("portraits", 1e-3, 1)
    family = load_family(run.model, run.hardware)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset = photos(folder / "person")
        found = {name: training(family, dataset, name, pairs, folder) for name in CASES}
        difference = parity(family, dataset, folder)
    drawn = {
        f"{latents}, {cells} each": drawing(family, resolution, cells, max(3, pairs // 4))
        for latents, resolution in (("16x16", 64), ("8x8", 32))
        for cells in (1, 8)
    }
    return {"training": found, "largest_loss_difference": difference, "drawing": drawn, "pairs": pairs}


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what has a goal, under names that stay."""
    trained = found["training"]
    return {
        "c8_over_peft_16x16": trained["16x16, batch 1"]["8"],
        "c8_over_peft_8x8": trained["8x8, batch 1"]["8"],
        "c1_step_over_peft_16x16": 1 / trained["16x16, batch 1"]["1"],
        "c1_step_over_peft_8x8": 1 / trained["8x8, batch 1"]["1"],
        "largest_loss_difference": found["largest_loss_difference"],
        "draw_8_at_once_8x8": found["drawing"]["8x8, 1 each"],
    }


def met(name: str, value: float) -> bool:
    """Return whether a figure reaches its goal."""
    return value <= GOALS[name] if name in AT_MOST else value >= GOALS[name]


def show(found: Mapping[str, Any]) -> None:
    """Print the tables."""
    heads = ["trials' steps per PEFT step", *(f"C = {width}" for width in WIDTHS), "PEFT, s a step"]
    rows = [
        [name, *(f"{case[str(width)]:.2f}" for width in WIDTHS), f"{case['peft_seconds']:.4f}"]
        for name, case in found["training"].items()
    ]
    print_table(heads, rows)
    print_table(
        ["drawing eight adapters", "at once / one by one"], [[n, f"{v:.2f}"] for n, v in found["drawing"].items()]
    )
    print_table(
        ["figure", "measured", "goal", ""],
        [
            [
                name,
                f"{value:.3g}",
                f"{'≤' if name in AT_MOST else '≥'} {GOALS[name]:g}",
                "" if met(name, value) else "MISSED",
            ]
            for name, value in figures(found).items()
        ],
    )


if __name__ == "__main__":
    measure_or_replay(__doc__, RESULTS, measure, show, figures)
