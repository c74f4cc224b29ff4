"""The same LoRA trained by diffusers' own DreamBooth script and by us: time from start to last file, and both losses.

Both are commands of their own, as a person would give them, one after the other, on the portraits model with the same
photos, caption, rank, modules, rate, batch, steps and number of files. The script encodes photos and caption anew at
every step; ours checks the photos first, caches latents and texts, and keeps a journal and MLflow. No samples are
drawn. Noise differs, so losses are compared as means over many steps.

    git clone --depth 1 https://github.com/huggingface/diffusers
    python -m benchmarks.speed.peers --diffusers diffusers [--pairs 3] [--json FILE]     ten minutes
    python -m benchmarks.speed.peers --replay
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.printing import machine, print_table, write_json
from benchmarks.real.dreambooth import SCRIPT, Trained, train_with_diffusers

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
PERSON = 632
STEPS, EVERY, WINDOW = 300, 50, 50
CAPTION = "a photo of s1lv10 person"
GOAL = 1.0
"""Our time over the script's."""


def train_with_ours(photos: Path, root: Path, steps: int, every: int) -> Trained:
    """Run ``lorasweep train`` with the script's settings."""
    from lorasweep.track.recall import read_run

    words = [
        *("preset=person_portraits", "lora=attention", "lora.rank=16", "lora.alpha=16"),
        *("optim.lr=2e-3", "optim.schedule=constant", "optim.batch_size=4", f"optim.steps={steps}"),
        *(f"save.every_steps={every}", "evaluate.enabled=false", f"track.root={root}"),
    ]
    start, began = time.perf_counter(), time.time()
    command = [sys.executable, "-m", "lorasweep", "train", str(photos), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise SystemExit(f"lorasweep train failed:\n{done.stderr[-3000:]}")
    seconds = time.perf_counter() - start
    (folder,) = (each.parent for each in (root / "runs").glob("*/journal.jsonl"))
    view = read_run(folder)
    written = max(each.path.stat().st_mtime for each in view.checkpoints if each.path)
    return Trained(seconds, written - began, [step.loss for step in view.steps])


def measure(checkout: Path, pairs: int, steps: int) -> dict[str, Any]:
    """Run both in turn, `pairs` times."""
    from lorasweep.portraits.folder import write_person

    found: dict[str, list[Trained]] = {"diffusers": [], "lorasweep": []}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_person(home / "person", PERSON)
        photos = home / "person" / "photos"
        for picture in photos.glob("*.png"):
            picture.with_suffix(".txt").write_text(CAPTION, encoding="utf-8")
        for number in range(pairs):
            place = home / str(number)
            found["diffusers"].append(train_with_diffusers(checkout / SCRIPT, photos, place / "theirs", steps, EVERY))
            found["lorasweep"].append(train_with_ours(photos, place / "ours", steps, EVERY))
    return {
        "steps": steps,
        "seconds": {name: [round(each.to_last_file, 2) for each in runs] for name, runs in found.items()},
        "losses": {name: [round(loss, 4) for loss in runs[0].losses] for name, runs in found.items()},
    }


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what has a goal, under names that stay."""
    ours, theirs = found["seconds"]["lorasweep"], found["seconds"]["diffusers"]
    ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
    last = {name: mean(losses[-2 * WINDOW :]) for name, losses in found["losses"].items()}
    return {
        "seconds_over_diffusers": round(ratio, 4),
        "last_loss_over_diffusers": round(last["lorasweep"] / last["diffusers"], 4),
    }


def windows(losses: Sequence[float]) -> list[float]:
    """Return means over ``WINDOW`` steps each."""
    return [mean(losses[start : start + WINDOW]) for start in range(0, len(losses), WINDOW)]


def show(found: Mapping[str, Any]) -> None:
    """Print the tables."""
    heads = [f"{found['steps']} steps", "seconds to the last file", "median"]
    rows = [
        [name, ", ".join(f"{s:.1f}" for s in took), f"{median(took):.1f}"] for name, took in found["seconds"].items()
    ]
    print_table(heads, rows)
    curves = {name: windows(losses) for name, losses in found["losses"].items()}
    heads = ["mean loss of steps", *curves]
    rows = [
        [f"{place * WINDOW + 1} to {(place + 1) * WINDOW}", *(f"{value:.4f}" for value in values)]
        for place, values in enumerate(zip(*curves.values(), strict=True))
    ]
    print_table(heads, rows)
    ratio = figures(found)["seconds_over_diffusers"]
    print(f"Ours / its time {ratio:.2f}, goal ≤ {GOAL:g}{'' if ratio <= GOAL else ': MISSED'}.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diffusers", type=Path, metavar="CHECKOUT", help="a checkout of diffusers")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--replay", action="store_true", help="from the committed figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    if chosen.replay:
        found = json.loads(RESULTS.read_text(encoding="utf-8"))
    else:
        if chosen.diffusers is None or not (chosen.diffusers / SCRIPT).is_file():
            raise SystemExit(
                f"--diffusers is {chosen.diffusers}, which holds no {SCRIPT}; give a checkout of diffusers."
            )
        found = {**measure(chosen.diffusers.resolve(), chosen.pairs, chosen.steps), "machine": machine()}
        write_json(RESULTS, found)
    show(found)
    if chosen.json:
        write_json(chosen.json, figures(found))


if __name__ == "__main__":
    main()
