"""What does searching 8 rates x 8 budgets cost, beside ways to do it without a cohort?

At a constant rate the checkpoint at step t is the run of t steps, so that 8 runs of the largest budget hold all 64
cells. Ours trains the eight side by side. The honest baseline shares trunks too, in one warm process with PEFT, one
rate after another. Beside it stand the usual ways: every cell trained by itself, in one warm process; a process a rate;
a process a cell. Steps and starts are measured (interleaved, one thread, processor time; a start is a process that
imports, loads the model and makes a PEFT UNet); totals for the budgets of a real search are computed from them. Drawing
and scoring are the same for all and left out.

    python -m benchmarks.speed.sweep_cost [--pairs 20] [--json FILE]     ten minutes
    python -m benchmarks.speed.sweep_cost --replay
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.printing import measure_or_replay, print_table
from benchmarks.speed.cohort import interleaved
from benchmarks.speed.step_time import PeftLoop, cohort_step, photos, setting

RESULTS = Path(__file__).parents[1] / "results" / "sweep_cost.json"
RATES = 8
BUDGETS = tuple(range(50, 401, 50))
GOAL = 2.0
CASES = {"16x16, batch 1": (64, 1), "8x8, batch 1": (32, 1), "16x16, batch 4": (64, 4)}
STARTS = 3
START = """
from pathlib import Path
import tempfile, torch
from benchmarks.speed.step_time import PeftLoop, photos, setting
from lorasweep.models import load_family
torch.set_num_threads(1)
run = setting("portraits", 1e-3, 1)
with tempfile.TemporaryDirectory() as folder:
    PeftLoop(load_family(run.model, run.hardware), photos(Path(folder)), run)
"""


def costs(peft: float, cohort: float, start: float) -> dict[str, float]:
    """Return seconds of each way.

    Args:
        peft: seconds of a PEFT step.
        cohort: of a step of all eight rates.
        start: of a process.
    """
    trunks, cells = RATES * max(BUDGETS), RATES * sum(BUDGETS)
    return {
        "a cohort of 8": start + max(BUDGETS) * cohort,
        "one warm process, shared trunks": start + trunks * peft,
        "one warm process, every cell": start + cells * peft,
        "a process a rate": RATES * start + trunks * peft,
        "a process a cell": RATES * len(BUDGETS) * start + cells * peft,
    }


def started() -> float:
    """Return processor seconds of a process that is ready to train with PEFT."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", START], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(pairs: int) -> dict[str, Any]:
    """Return seconds of a start, and of steps by case."""
    import torch

    from lorasweep.models import load_family

    torch.set_num_threads(1)
    family = load_family(setting("portraits", 1e-3, 1).model, setting("portraits", 1e-3, 1).hardware)
    steps: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        dataset = photos(Path(scratch) / "person")
        for name, (resolution, batch_size) in CASES.items():
            run = setting("portraits", 1e-3, 1_000_000, resolution=resolution, batch_size=batch_size)
            loops = {
                "peft": PeftLoop(family, dataset, run).step,
                "cohort": cohort_step(family, dataset, run, RATES, Path(scratch) / name),
            }
            steps[name] = {loop: median(times) for loop, times in interleaved(loops, pairs).items()}
    return {"start": median(started() for _ in range(STARTS)), "steps": steps, "pairs": pairs}


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return how many times the cohort's cost each way takes, by case."""
    figures: dict[str, float] = {}
    for case, steps in found["steps"].items():
        each = costs(steps["peft"], steps["cohort"], found["start"])
        ours = each.pop("a cohort of 8")
        figures |= {f"{case}: {name}": round(seconds / ours, 3) for name, seconds in each.items()}
    return figures


def show(found: Mapping[str, Any]) -> None:
    """Print the table of each case."""
    print(f"a start {found['start']:.1f} s; budgets {', '.join(map(str, BUDGETS))} steps\n")
    for case, steps in found["steps"].items():
        each = costs(steps["peft"], steps["cohort"], found["start"])
        ours = each["a cohort of 8"]
        rows = [[name, f"{seconds / ours:.2f}", f"{seconds:.0f}"] for name, seconds in each.items()]
        print_table([f"{case} ({steps['peft']:.3f} s a PEFT step)", "times the cohort's cost", "seconds"], rows)
        ratio = each["one warm process, shared trunks"] / ours
        print(f"Against shared trunks {ratio:.2f}, goal ≥ {GOAL:g}{'' if ratio >= GOAL else ': MISSED'}.\n")


if __name__ == "__main__":
    measure_or_replay(__doc__, RESULTS, measure, show, figures)
