"""What does keeping a record of a run cost its training, and how soon does the next trial of a search train?

- tracking: seconds of the training thread in the journal, in checkpoints and in training states, as a share of its
  seconds in optimiser steps, with MLflow on and a checkpoint every 50 steps, as in the drawn world's preset; at most
  2 %. Beside it the processor time of the thread that delivers to MLflow, which training does not wait for.
- a trial's start: seconds from the last entry of one trial's journal to the first optimiser step of the next, in a
  search whose trials follow one another: the report, the answer to Optuna, the parent's page, the next suggestion, its
  composition, its folder and its adapter. The median; the goal is 0.5 and it takes 0.8: 0.4 s of processor time, a
  quarter of that Hydra's composition, then some twenty flushes to disk, each of which makes a `kill -9` harmless.

Wall time, since waiting for a disk counts.

    python -m benchmarks.speed.overhead [--pairs 20] [--json FILE]     ten steps and half a trial each; some minutes
    python -m benchmarks.speed.overhead --replay
"""

import functools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Self
from unittest.mock import patch

from benchmarks.printing import measure_or_replay, print_table

RESULTS = Path(__file__).parents[1] / "results" / "overhead.json"
PERSON = 631
GOALS = {"tracking_share": 0.02, "trial_start_seconds": 0.5}
STEPS, JOURNAL, CHECKPOINTS, STATES = "steps", "journal", "checkpoints", "training states"
WORDS = ("preset=person_portraits", "optim.schedule=constant", "hardware.threads=1")
SMALL = (
    *("optim.steps=24", "save.count=3", "sample.steps=4", "sample.seeds=[0]", "sample.fresh_seeds=[1000]"),
    *("pick.strengths=[]", "evaluate.budget=null"),
)
"""Trials that are soon over: what lies between two of them does not depend on their length."""


class Stopwatch:
    """Seconds of its own thread in functions that are watched, less those in other watched functions that they call."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: list[tuple[str, float, float]] = []
        """(label, start, end) of every call."""
        self._inner = 0.0
        self._thread = threading.current_thread()
        self._patches: list[Any] = []

    def watch(self, owner: object, name: str, label: str) -> None:
        """Count calls of ``owner.name`` towards ``label`` inside ``with``."""
        plain = getattr(owner, name)

        @functools.wraps(plain)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not self._thread:
                return plain(*args, **kwargs)
            outer, self._inner, start = self._inner, 0.0, time.perf_counter()
            try:
                return plain(*args, **kwargs)
            finally:
                end = time.perf_counter()
                self.seconds[label] += end - start - self._inner
                self.calls.append((label, start, end))
                self._inner = outer + end - start

        self._patches.append(patch.object(owner, name, timed))

    def __enter__(self) -> Self:
        for each in self._patches:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._patches:
            each.stop()


def _watched() -> Stopwatch:
    from lorasweep.track.tracker import JournalTracker
    from lorasweep.train import cohort

    watch = Stopwatch()
    watch.watch(cohort.Cohort, "_step", STEPS)
    watch.watch(cohort, "save_checkpoint", CHECKPOINTS)
    watch.watch(cohort, "save_state", STATES)
    for name in ("step", "checkpoint", "validation", "fixed_batch", "flush"):
        watch.watch(JournalTracker, name, JOURNAL)
    watch.watch(JournalTracker, "end", "end")
    return watch


def tracking(photos: Path, root: Path, steps: int) -> dict[str, float]:
    """Return seconds of the training thread by purpose, and of the thread that delivers to MLflow."""
    from lorasweep.config.compose import load_run
    from lorasweep.run.training import train_together

    length = [f"optim.steps={steps}", "save.every_steps=50", "evaluate.enabled=false"]
    run = load_run([*WORDS, *length, f"data.path={photos}", f"track.root={root}"])
    with _watched() as watch:
        own, whole = time.thread_time(), time.process_time()
        train_together([run], width=1, say=lambda _: None)
        background = time.process_time() - whole - (time.thread_time() - own)
    parts = (STEPS, JOURNAL, CHECKPOINTS, STATES)
    return {**{part: round(watch.seconds[part], 4) for part in parts}, "in the background": round(background, 4)}


def starts(photos: Path, root: Path, trials: int) -> list[float]:
    """Return seconds between two trials of a search."""
    from lorasweep.config.compose import load_run
    from lorasweep.config.schema import RunConfig
    from lorasweep.config.search import load_search
    from lorasweep.search.searching import search

    def compose(words: Sequence[str]) -> RunConfig:
        return load_run(list(words))

    plan = load_search("lr", {"trials": trials, "width": 1, "prune": False, "stop_past_peak": False})
    words = [*WORDS, *SMALL, f"data.path={photos}", f"track.root={root}"]
    with _watched() as watch:
        search(plan, compose, words, say=lambda _: None)
    return gaps(watch.calls)


def gaps(calls: Sequence[tuple[str, float, float]]) -> list[float]:
    """Return seconds from each end of a trial to the next optimiser step; calls in the order in which they ended."""
    found: list[float] = []
    ended: float | None = None
    for label, start, end in calls:
        if label == "end":
            ended = end
        elif label == STEPS and ended is not None:
            found.append(start - ended)
            ended = None
    return found


def measure(pairs: int) -> dict[str, Any]:
    """Measure both."""
    from lorasweep.portraits.folder import write_person

    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_person(home / "person", PERSON)
        photos = home / "person" / "photos"
        spent = tracking(photos, home / "mlruns", 10 * pairs)
        between = starts(photos, home / "search", max(3, pairs // 2))
    return {"tracking": spent, "steps": 10 * pairs, "starts": [round(seconds, 4) for seconds in between]}


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what has a goal, under names that stay."""
    spent = found["tracking"]
    share = (spent[JOURNAL] + spent[CHECKPOINTS] + spent[STATES]) / spent[STEPS]
    return {"tracking_share": round(share, 5), "trial_start_seconds": round(median(found["starts"]), 4)}


def show(found: Mapping[str, Any]) -> None:
    """Print the tables."""
    spent = found["tracking"]
    rows = [[part, f"{seconds:.2f}", f"{seconds / spent[STEPS]:.2%}"] for part, seconds in spent.items()]
    print_table([f"{found['steps']} steps", "seconds", "of the steps"], rows)
    between = ", ".join(f"{seconds:.2f}" for seconds in found["starts"])
    print(f"Between two trials, s: {between}\n")
    rows = [
        [name, f"{value:.4f}", f"≤ {GOALS[name]:g}", "" if value <= GOALS[name] else "MISSED"]
        for name, value in figures(found).items()
    ]
    print_table(["figure", "measured", "goal", ""], rows)


if __name__ == "__main__":
    measure_or_replay(__doc__, RESULTS, measure, show, figures)
