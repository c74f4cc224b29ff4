"""Is a folder that diffusers' own DreamBooth script trained scored and picked from rightly? Held against the oracle.

Runs ``examples/dreambooth/train_dreambooth_lora.py`` of a diffusers checkout, unchanged, on the portraits model for a
drawn person, then ``lorasweep evaluate FOLDER`` and ``lorasweep pick FOLDER``. The oracle, which no scorer may use,
reads every sheet. Expected: every file is read with no key left over, the script's last file (its last checkpoint once
more) is the only one skipped, a file is picked, and its oracle quality is within 0.05 of the best file's.

    git clone --depth 1 https://github.com/huggingface/diffusers
    python -m benchmarks.real.dreambooth --diffusers diffusers      some four minutes on two cores
    python -m benchmarks.real.dreambooth --replay                   the tables from the committed data
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.picker.arc import read_arc
from benchmarks.printing import machine, print_table, write_json

RESULTS = Path(__file__).parents[1] / "results" / "dreambooth.json"
SCRIPT = Path("examples/dreambooth/train_dreambooth_lora.py")
PERSON = 519
"""Seed of a drawn person that nothing was tuned on."""
STEPS, EVERY = 400, 50
MOST_REGRET = 0.05
"""How far the pick's oracle quality may lie below the best file's."""


class Trained(NamedTuple):
    """What a run of the script took, and its losses."""

    seconds: float
    to_last_file: float
    """Seconds from its start until its last LoRA file was written; a pipeline is loaded again after that."""
    losses: list[float]
    """Of every step, in the three digits that its progress bar shows."""


def train_with_diffusers(script: Path, photos: Path, output: Path, steps: int, every: int) -> Trained:
    """Run the script as its README says."""
    from lorasweep.portraits.manifest import WEIGHTS

    pictures = output.with_name("pictures")  # the script opens every file of the folder as a picture
    pictures.mkdir(parents=True)
    for picture in photos.glob("*.png"):
        shutil.copy(picture, pictures)
    settings = {
        "pretrained_model_name_or_path": WEIGHTS / "pipeline",
        "instance_data_dir": pictures,
        "instance_prompt": "a photo of s1lv10 person",
        "output_dir": output,
        "resolution": 64,
        "train_batch_size": 4,
        "learning_rate": 2e-3,
        "lr_warmup_steps": 0,
        "rank": 16,
        "max_train_steps": steps,
        "checkpointing_steps": every,
        "seed": 0,
        "mixed_precision": "no",
    }
    words = [f"--{name}={value}" for name, value in settings.items()]
    start, began = time.perf_counter(), time.time()
    done = subprocess.run(
        [sys.executable, str(script), *words],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    written = (output / "pytorch_lora_weights.safetensors").stat().st_mtime
    return Trained(time.perf_counter() - start, written - began, losses_in(done.stderr))


def losses_in(progress: str) -> list[float]:
    """Return the loss after each step, from a progress bar that was drawn several times a step."""
    shown = re.findall(r"(\d+)/\d+ \[[^\]]*loss=([0-9.e+-]+|nan|inf)", progress)
    found = {int(step): float(loss) for step, loss in shown}
    return [found[step] for step in sorted(found)]


def evaluate(folder: Path, home: Path, root: Path) -> tuple[Any, Any]:
    """Run ``lorasweep evaluate`` and ``pick`` on the folder, as a user would; return the outcome and the answer."""
    from lorasweep.commands.evaluate import evaluate
    from lorasweep.commands.pick import pick

    words = ["preset=person_portraits", f"references={home / 'held_out'}", f"data.path={home / 'photos'}"]
    outcome = evaluate(root, str(folder), [*words, "track.mlflow=false"])
    return outcome, pick(root, str(folder), home / "picked")


def measure(checkout: Path, home: Path, steps: int, every: int) -> dict[str, Any]:
    """Train, evaluate, pick, and read the sheets with the oracle."""
    from lorasweep.portraits.folder import write_person
    from lorasweep.track.recall import read_run

    identity = write_person(home, PERSON)
    trained = train_with_diffusers(checkout / SCRIPT, home / "photos", home / "output", steps, every)
    start = time.perf_counter()
    outcome, picked = evaluate(home / "output", home, home / "mlruns")
    view = read_run(outcome.folder)
    names = {each.step: view.file_name(each.path) for each in view.checkpoints if each.path}
    return {
        "seconds": {"train": round(trained.seconds), "evaluate and pick": round(time.perf_counter() - start)},
        "names": names,
        "skipped": list(outcome.skipped),
        "picked_file": picked.file.name if picked.file else None,
        "strength": picked.pick.strength,
        "reason": picked.pick.reason,
        "arc": read_arc(view, identity, home / "photos"),
    }


def show(found: dict[str, Any]) -> dict[str, Any]:
    """Print one line a file, and the figures that matter."""
    arc = found["arc"]
    rows = []
    for place, step in enumerate(arc["steps"]):
        score = arc["scores"][place].get("score")
        marks = "picked" if step == arc["picked"] else ""
        oracle = [f"{arc[key][place]:.3f}" for key in ("quality", "distance", "scene")]
        name = found["names"].get(step, "base model")
        rows.append([name, step, "" if score is None else f"{score:.3f}", *oracle, marks])
    print_table(["file", "step", "score", "oracle quality", "distance", "scene", ""], rows)
    at_pick = arc["quality"][arc["steps"].index(arc["picked"])] if arc["picked"] in arc["steps"] else None
    regret = None if at_pick is None else round(max(arc["quality"][1:]) - at_pick, 4)
    figures = {
        "files": len(found["names"]),
        "skipped": len(found["skipped"]),
        "picked": found["names"].get(arc["picked"]),
        "strength": found["strength"],
        "regret": regret,
        "goal": regret is not None and regret <= MOST_REGRET,
    }
    print_table(["figure", "measured"], list(figures.items()))
    for line in (*found["skipped"], found["reason"]):
        print(line)
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--diffusers", type=Path, metavar="CHECKOUT", help="a checkout of diffusers")
    what.add_argument("--replay", action="store_true", help="the tables from the committed data")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimiser steps (default: {STEPS})")
    parser.add_argument("--every", type=int, default=EVERY, help=f"steps between checkpoints (default: {EVERY})")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    if chosen.replay:
        found = json.loads(RESULTS.read_text(encoding="utf-8"))
        show({**found, "names": {int(step): name for step, name in found["names"].items()}})
        return
    if not (chosen.diffusers / SCRIPT).is_file():
        raise SystemExit(f"--diffusers is {chosen.diffusers}, which holds no {SCRIPT}; give a checkout of diffusers.")
    with tempfile.TemporaryDirectory() as home:
        found = measure(chosen.diffusers.resolve(), Path(home), chosen.steps, chosen.every)
    figures = show(found)
    if chosen.json:
        write_json(chosen.json, {"machine": machine(), "figures": figures, **found})


if __name__ == "__main__":
    main()
