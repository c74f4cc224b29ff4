"""What does ending trials early cost a search, and what does it save? Replayed on the trajectories of drawn people.

A person's five rates are trials, each on two draws of 16 samples a checkpoint and as many fresh ones, in a random
order, one after the other. A trial past its peak is picked from what it has; one that stays behind is pruned. The
winner is the trial with the best score of its pick on fresh samples. Regret is its oracle quality below that of the
winner among whole trials, on the same samples in the same order; it can be negative by luck.

Five rates of ten trials are no search, since they are far apart and always the same: this says whether the rules do
harm, not how good a search is.

    python -m benchmarks.search.rules --jobs 2     a few minutes
    python -m benchmarks.search.rules --replay     the tables from committed outcomes
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker.rules import WEIGHTS, Choice
from benchmarks.picker.runs import read_shards, redraw
from benchmarks.picker.trajectories import HALVES
from benchmarks.picker.trajectories import RESULTS as SHARDS
from benchmarks.printing import machine, print_table, write_json
from lorasweep.config.schema import PickConfig
from lorasweep.search.pruning import Curve, hopeless, past_peak

RESULTS = Path(__file__).parents[1] / "results" / "search_rules.json"
PICTURES, DRAWS, ORDERS = 16, 2, 10
VARIANTS = {"whole": (False, False), "past peak": (True, False), "given up": (False, True), "both": (True, True)}
"""Whether trials end past their peak, and whether they are pruned."""
RULE = PickConfig()


@dataclass(frozen=True)
class Trial:
    """One rate on one draw of samples."""

    steps: tuple[int, ...]
    scores: tuple[float, ...]
    values: tuple[float | None, ...]
    """Steady score of the pick on fresh samples, if the trial ended after so many checkpoints; None without a pick."""
    qualities: tuple[float, ...]
    """Oracle quality of that pick."""
    base: float
    """Score of the base model on the same samples."""

    def curve(self, count: int) -> Curve:
        """As its search sees it after so many checkpoints."""
        return {0: self.base, **dict(zip(self.steps[:count], self.scores[:count], strict=True))}


def trial_of(choice: Choice) -> Trial:
    """Return what the trial would be worth at each length."""
    run = choice.run
    picks = [choice.picked(RULE, range(count)) for count in range(1, len(run.steps) + 1)]
    return Trial(
        steps=run.steps,
        scores=tuple(float(each.score) for each in choice.scores),
        values=tuple(None if pick.step is None else pick.worth for pick in picks),
        qualities=tuple(
            run.base_quality if pick.step is None else float(run.quality[run.steps.index(pick.step)]) for pick in picks
        ),
        base=float(choice.base.score),
    )


def search(trials: Sequence[Trial], *, ends_past_peak: bool, gives_up: bool) -> dict[str, float]:
    """Return quality of the winner, steps trained as a share of all, and how many trials were pruned."""
    whole: list[Curve] = []
    best, quality, spent, given_up = -1.0, 0.0, 0, 0
    for trial in trials:
        count, hopeless_now = ended(trial, whole, ends_past_peak=ends_past_peak, gives_up=gives_up)
        spent += trial.steps[count - 1]
        given_up += hopeless_now
        if hopeless_now:
            continue
        whole.append(trial.curve(count))
        value = trial.values[count - 1]
        if value is not None and value > best:
            best, quality = value, trial.qualities[count - 1]
    return {"quality": quality, "spent": spent / sum(trial.steps[-1] for trial in trials), "given_up": given_up}


def ended(trial: Trial, whole: Sequence[Curve], *, ends_past_peak: bool, gives_up: bool) -> tuple[int, bool]:
    """Return the number of checkpoints of the trial, and whether it was pruned there."""
    for count in range(1, len(trial.steps)):
        curve = trial.curve(count)
        if ends_past_peak and past_peak(curve, RULE.delta):
            return count, False
        if gives_up and hopeless(curve, whole, trial.steps[-1], RULE.delta):
            return count, True
    return len(trial.steps), False


def judge(person: int, orders: int = ORDERS) -> dict[str, Any]:
    """Return all searches of one person, by variant."""
    runs = read_shards(SHARDS, [person])
    rng = np.random.default_rng([person, PICTURES])
    shape = (len(runs[0].evidence.prompts), len(runs[0].evidence.seeds))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    trials = [
        trial_of(Choice(run=run, part=redraw(*shape, PICTURES, rng), weights=WEIGHTS))
        for run in runs
        for _ in range(DRAWS)
    ]
    for _ in range(orders):
        order = [trials[place] for place in rng.permutation(len(trials))]
        for name, (peak, behind) in VARIANTS.items():
            found[name].append(search(order, ends_past_peak=peak, gives_up=behind))
    return {"person": person, "searches": found}


def table(people: Sequence[dict[str, Any]]) -> list[list[object]]:
    """Return a row for each variant: regret with its interval over people, steps, pruned trials."""
    rows: list[list[object]] = []
    for name in VARIANTS:
        lost = np.array(
            [np.mean([w["quality"] - v["quality"] for w, v in zip(*_pair(each, name), strict=True)]) for each in people]
        )
        error = lost.std(ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else float("nan")
        searches = [search for each in people for search in each["searches"][name]]
        spent, given_up = (np.mean([each[key] for each in searches]) for key in ("spent", "given_up"))
        rows.append([name, f"{lost.mean():+.4f} ± {1.96 * error:.4f}", f"{spent:.0%}", f"{given_up:.1f}"])
    return rows


def _pair(person: dict[str, Any], name: str) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    return person["searches"]["whole"], person["searches"][name]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--replay", action="store_true", help="from the committed outcomes")
    chosen = parser.parse_args()
    if chosen.replay:
        people = json.loads(RESULTS.read_text(encoding="utf-8"))["people"]
    else:
        with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
            people = list(pool.map(partial(judge), [person for half in HALVES.values() for person in half]))
        write_json(RESULTS, {"machine": machine(), "people": people})
    print(f"{len(people)} people, {DRAWS} x 5 trials in {ORDERS} orders")
    print_table(["trials", "quality lost", "steps trained", "given up of 10"], table(people))


if __name__ == "__main__":
    main()
