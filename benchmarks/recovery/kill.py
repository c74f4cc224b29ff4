"""kill -9 at random moments of a run: is every checkpoint file the undisturbed run's, and is nothing lost or doubled?

A run on the shipped model of drawn people is made once undisturbed and once killed again and again, with the commands
that a user would type. Moments are seeded and drawn from what the undisturbed run spent its time on, in turn from its
steps, the writing of its checkpoints and states, and the drawing of its sheets: each waits for the journal to come that
far, then for a random part of what comes next. One more kill comes after the run got its name and before it begins; it
is not counted, and the same command is given again.

    python -m benchmarks.recovery.kill [--kills 10] [--steps 60] [--seed 0] [--json FILE]     five minutes
    python -m benchmarks.recovery.kill --replay          the tables from the committed data
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self

from benchmarks.printing import machine, print_table, write_json
from lorasweep.track.journal import Entry, read, read_from
from lorasweep.track.mlflow_terms import image_key

RESULTS = Path(__file__).parents[1] / "results" / "kill.json"
NAME = "anna"
"""Name of both runs, since the header of a LoRA file names its run."""
DOING = {"step": "training", "checkpoint": "saving", "sample": "drawing", "scores": "judging"}
"""What a run does before it writes each kind of entry; ``saving`` is a checkpoint's LoRA file and its state."""
AIMED_AT = ("training", "saving", "drawing")
SMALL = ("sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=4", "save.count=6", "hardware.threads=1")
FOREIGN = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "LORASWEEP_CONF")
PATIENCE = 900.0
"""Seconds after which a program that neither ends nor progresses is killed."""


@dataclass(frozen=True)
class Moment:
    """``delay`` seconds after an entry of the journal was written."""

    entry: tuple[str, str]
    """Kind and key."""
    delay: float


def cold(words: Sequence[str], **options: Any) -> Any:
    """Start ``lorasweep WORD…`` in a new Python, with Popen's options, and return the Popen."""
    return subprocess.Popen([sys.executable, "-m", "lorasweep", *words], **options)


class Program:
    """``lorasweep`` in a process group of its own, and the journal that it writes; it does not outlive its ``with``."""

    def __init__(self, words: Sequence[str], scratch: Path, run: Path, start: Callable[..., Any] = cold) -> None:
        self.words, self.run, self.log = words, run, scratch / "log.txt"
        self._offset, self._seen, self._starts = 0, set[tuple[str, str]](), 0
        self._look()
        self._starts_before = self._starts
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with self.log.open("wb") as log:
            self._process = start(words, cwd=scratch, env=environment, stdout=log, stderr=log, start_new_session=True)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def seconds(self) -> float:
        """Return seconds since it was started."""
        return time.monotonic() - self._started

    def kill(self, moment: Moment | None) -> bool:
        """Kill it at the moment, or as soon as it has a name if none is given. Return False if it ended before."""
        while self._running() and not (self._reached(moment.entry) if moment else self._named()):
            time.sleep(0.001)
        until = time.monotonic() + (moment.delay if moment else 0)
        while self._running() and time.monotonic() < until:
            time.sleep(0.001)
        alive = self._running()
        self.__exit__()
        return alive

    def finish(self) -> None:
        """Wait for its end."""
        while self._running():
            time.sleep(0.05)
        if self._process.returncode not in (0, 3):  # so short a run may have no checkpoint to recommend
            raise RuntimeError(f"{self.words[0]} ended with {self._process.returncode}:\n{self.log.read_text()}")

    def _running(self) -> bool:
        if self.seconds > PATIENCE:
            raise RuntimeError(f"{self.words[0]} did not get on for {PATIENCE:g} s:\n{self.log.read_text()}")
        return self._process.poll() is None

    def _named(self) -> bool:
        return (self.run / "lock").exists()

    def _reached(self, entry: tuple[str, str]) -> bool:
        """Return whether this process has begun and the journal, to which earlier ones wrote too, has the entry."""
        self._look()
        return self._starts > self._starts_before and entry in self._seen

    def _look(self) -> None:
        entries, self._offset = read_from(self.run, self._offset)
        self._seen |= {(entry.kind, entry.key) for entry in entries}
        self._starts += sum(entry.kind == "start" for entry in entries)


def experiment(
    scratch: Path,
    kills: int,
    steps: int,
    seed: int,
    changes: Sequence[str] = (),
    start: Callable[..., Any] = cold,
) -> dict[str, Any]:
    """Return what came of both runs; every moment is a function of ``seed`` and of the undisturbed run's journal.

    Args:
        start: starts the processes that are killed, and the last one, as ``cold`` does.
    """
    from lorasweep.portraits.folder import write_person

    rng = Random(seed)
    write_person(scratch, seed)
    whole, killed = scratch / "undisturbed", scratch / "killed"
    with Program(train_words(scratch, whole, steps, changes), scratch, run_of(whole)) as program:
        program.finish()
    story = list(read(run_of(whole)))
    resume = ["resume", NAME, "--root", str(killed)]
    rows = []
    for number, moment in enumerate([None, *moments(story, kills, rng)]):
        begun = any(entry.kind == "start" for entry in read(run_of(killed)))
        again = resume if begun else train_words(scratch, killed, steps, changes)
        with Program(again, scratch, run_of(killed), start) as program:
            if not program.kill(moment):
                break
        rows.append(
            {"kill": number, "command": again[0], "seconds": program.seconds, **found_at(run_of(killed), story)}
        )
    else:
        with Program(resume, scratch, run_of(killed), start) as program:
            program.finish()
    return {"kills": rows, **compare(run_of(whole), run_of(killed)), "mlflow": in_mlflow(killed), "steps": steps}


def run_of(root: Path) -> Path:
    """Return the run's folder under a track root."""
    return root / "runs" / NAME


def train_words(scratch: Path, root: Path, steps: int, changes: Sequence[str]) -> list[str]:
    """Return a command with a small sheet, glimpses between checkpoints, and a state every few seconds besides."""
    from lorasweep.config.compose import as_override

    places = {"data.held_out_path": scratch / "held_out", "track.root": root}
    paths = [as_override(key, str(path)) for key, path in places.items()]
    often = [f"optim.steps={steps}", f"sample.every_steps={max(1, steps // 4)}", "save.state_minutes=0.05"]
    person = ["train", str(scratch / "photos"), "preset=person_portraits", f"name={NAME}"]
    return [*person, *paths, *SMALL, *often, *changes]


def moments(story: Sequence[Entry], kills: int, rng: Random) -> list[Moment]:
    """Return random moments in the order of the run, in turn from each kind of work as long as some is left."""
    spans: dict[str, list[tuple[int, Moment]]] = {doing: [] for doing in AIMED_AT}
    for before, after in itertools.pairwise(story):
        doing = DOING.get(after.kind)
        if doing in spans and before.kind in DOING:
            delay = rng.uniform(0, after.time - before.time) / 1000
            spans[doing].append((before.seq, Moment((before.kind, before.key), delay)))
    for each in spans.values():
        rng.shuffle(each)
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*spans.values()))
    chosen = itertools.islice((each for each in in_turn if each is not None), kills)
    return [moment for _, moment in sorted(chosen, key=lambda pair: pair[0])]


def found_at(run: Path, story: Sequence[Entry]) -> dict[str, Any]:
    """Return how far the killed run had come, by its journal, and which files it left half-written."""
    there = {(entry.kind, entry.key) for entry in read(run)}
    step = max((int(key) for kind, key in there if kind == "step"), default=0)
    missing = (entry for entry in story if entry.kind in DOING and (entry.kind, entry.key) not in there)
    coming = next(missing, None)
    doing = "starting" if not there else DOING[coming.kind] if coming else "picking"
    return {"step": step, "doing": doing, "half_written": sorted(path.name for path in run.rglob(".*.tmp"))}


def compare(whole: Path, killed: Path) -> dict[str, Any]:
    """Compare files by sha256; journals entry by entry, except the clock and what each process says of itself."""
    from lorasweep.train.checkpoint import list_checkpoints

    right, left = ({each.step: each.sha256 for each in list_checkpoints(run, NAME)} for run in (whole, killed))
    told = [[e for e in read(run) if e.kind in (*DOING, "pick")] for run in (whole, killed)]
    # a pick may be made again, and the newest holds
    expected, found = (Counter(f"{e.kind} {e.key}" for e in entries if e.key) for entries in told)
    said, again = ({f"{e.kind} {e.key}": e.payload for e in entries} for entries in told)
    return {
        "checkpoints": [{"step": n, "sha256": sha256, "equal": left.get(n) == sha256} for n, sha256 in right.items()],
        "entries": expected.total(),
        "lost": sorted((expected - found).elements()),
        "doubled": sorted((found - expected).elements()),
        "different": sorted(name for name, payload in said.items() if again.get(name) != payload),
    }


def in_mlflow(root: Path) -> dict[str, Any]:
    """Return what the store holds of the killed run, and whether it is what its journal holds, once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{(root / 'mlflow.db').as_posix()}")
    (experiment,) = client.search_experiments(filter_string="name = 'lorasweep'")
    (run,) = client.search_runs([experiment.experiment_id])
    told = {kind: [e.payload for e in read(run_of(root)) if e.kind == kind] for kind in DOING}
    losses = Counter((p.step, p.value) for p in client.get_metric_history(run.info.run_id, "train/loss"))
    names = (Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images"))
    images = Counter(tuple(name.split("+")[:3:2]) for name in names if name.endswith(".png"))
    drawn = Counter(
        (image_key(p, each["fresh"]), str(each["step"])) for each in told["sample"] for p in each["prompts"]
    )
    models = Counter(model.params["sha256"] for model in client.search_logged_models([experiment.experiment_id]))
    return {
        "status": run.info.status,
        "losses": losses.total(),
        "losses_once": losses == Counter((each["step"], each["loss"]) for each in told["step"]),
        "images": images.total(),
        "images_once": images == drawn,
        "checkpoints_once": models == Counter(each["sha256"] for each in told["checkpoint"]),
    }


def fine(found: dict[str, Any], kills: int) -> bool:
    """Return whether all of it is as it must be."""
    store = found["mlflow"]
    return (
        sum(row["kill"] > 0 for row in found["kills"]) == kills
        and all(line["equal"] for line in found["checkpoints"])
        and not (found["lost"] or found["doubled"] or found["different"])
        and store["status"] == "FINISHED"
        and all(store[f"{what}_once"] for what in ("losses", "images", "checkpoints"))
    )


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    heads = ("kill", "command", "after s", "step reached", "doing", "half-written")
    keys = ("kill", "command", "seconds", "step", "doing", "half_written")
    rows = [[f"{row[key]:.1f}" if key == "seconds" else row[key] for key in keys] for row in found["kills"]]
    print_table(heads, [[" ".join(cell) if isinstance(cell, list) else cell for cell in row] for row in rows])
    lines = [(c["step"], c["sha256"], "yes" if c["equal"] else "NO") for c in found["checkpoints"]]
    print_table(("checkpoint", "sha256 of the undisturbed run's file", "equal"), lines)
    for what in ("lost", "doubled", "different"):
        print(f"{what:<10} {', '.join(found[what]) or 'nothing'} of {found['entries']} journal entries")
    print("MLflow     " + ", ".join(f"{key} {value}" for key, value in found["mlflow"].items()))


def main() -> None:
    """Kill and print; the exit code is 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", action="store_true", help="the tables from the committed data")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    options = parser.parse_args()
    if options.replay:
        return show(json.loads(RESULTS.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as scratch:
        found = experiment(Path(scratch), options.kills, options.steps, options.seed)
    show(found)
    good = fine(found, options.kills)
    print(f"\n{options.kills} kills of a run of {options.steps} steps: {'as it must be' if good else 'NOT fine'}.")
    if options.json:
        write_json(options.json, {**found, "fine": good, "seed": options.seed, "machine": machine()})
    sys.exit(not good)


if __name__ == "__main__":
    main()
