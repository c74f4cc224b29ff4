"""How good is what a search finds, and what does it cost? Searches replayed on the table of rates and ranks.

A trial of the search is the cell next to the sampler's suggestion: scores of eight samples a checkpoint decide when it
ends and what it is picked at, eight others what the pick is worth, and the search's winner is the trial worth most. So
a replayed search sees half of what a run draws and is noisier than a real one. All of it is the shipped code: space,
sampler, rules, pick. Trials follow one another; side by side (`at once`) they learn of each other only after all ended.

- regret: the oracle's quality of the best checkpoint of the whole table (for `lr`: of the default rank's rows), less
  that of the winner's pick. The best of 192 noisy means looks better than it is, so that even somebody who always knew
  the best cell would seem to lose; `fair` chooses the best by one half of the oracle's samples and reads the other.
- cost: optimiser steps. Goals: `lr` within 0.02 at no more than half of eight log-spaced rates, `lr_rank` within 0.02
  at no more than 35 % of the table.

Numbers of trials and samplers were chosen on the first two people and are reported on the others.

    python -m benchmarks.search.quality --jobs 2       some minutes
    python -m benchmarks.search.quality --replay       the tables from committed outcomes
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker.rules import WEIGHTS, Choice
from benchmarks.picker.runs import DEFAULT_RANK, Trajectory, read_shards, redraw
from benchmarks.printing import machine, print_table, write_json
from benchmarks.search.rules import RULE, Trial, ended, trial_of
from benchmarks.search.table import PEOPLE, PLAN
from benchmarks.search.table import RESULTS as SHARDS
from lorasweep.config.search import SearchConfig

RESULTS = Path(__file__).parents[1] / "results" / "search_quality.json"
CHOSEN_ON, REPORTED = PEOPLE[:2], PEOPLE[2:]
PICTURES, REDRAWS, SEEDS = 8, 20, 5
ALL = 99
"""More trials than a grid has cells."""
WHOLE = {"prune": False, "stop_past_peak": False}
SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "lr": ("lr", {}),
    "lr_rank": ("lr_rank", {}),
    "eight rates, whole": ("lr", {"sampler": "grid", "trials": ALL, **WHOLE}),
    "the whole table": ("lr_rank", {"sampler": "grid", "trials": ALL, **WHOLE}),
    "lr, trials whole": ("lr", WHOLE),
    "lr_rank, trials whole": ("lr_rank", WHOLE),
    **{f"lr, {name}": ("lr", {"sampler": name}) for name in ("tpe", "random", "grid", "qmc")},
    **{f"lr_rank, {name}": ("lr_rank", {"sampler": name}) for name in ("gp", "random", "qmc")},
    **{f"lr, {count} at once": ("lr", {"width": count}) for count in (2, 4)},
    "lr, qmc, 4 at once": ("lr", {"width": 4, "sampler": "qmc"}),
    **{f"lr_rank, {count} at once": ("lr_rank", {"width": count}) for count in (4, 11)},
    **{f"lr, {count} trials": ("lr", {"trials": count}) for count in (3, 5, 6, 8)},
    **{f"lr, tpe, {count} trials": ("lr", {"sampler": "tpe", "trials": count, "prune": True}) for count in (6, 8)},
    **{f"lr_rank, {count} trials": ("lr_rank", {"trials": count}) for count in (6, 8, 14, 18)},
}
"""Name to the shipped search and its changes: `lr` ships with GP and 4 trials without pruning, `lr_rank` with TPE and
11."""
BEGUN = {f"lr, begun at {rate:g}": rate for rate in (1e-3, 2e-3, 8e-3, 1.5e-2)}
"""The shipped `lr`, begun at another rate than the preset's 4e-3, which does well for many people."""
SEARCHES |= {name: ("lr", {}) for name in BEGUN}
GOALS = {"lr": (0.02, 0.5), "lr_rank": (0.02, 0.35)}
"""Regret and share of the cost."""
Cell = tuple[float, int]


@dataclass(frozen=True)
class Table:
    """One person's cells on one draw of samples."""

    trials: Mapping[Cell, Trial]

    def near(self, rate: float, rank: int) -> Trial:
        """Return the cell of this rank whose rate is nearest on a logarithmic scale."""
        cells = [cell for cell in self.trials if cell[1] == rank]
        return self.trials[min(cells, key=lambda cell: abs(np.log(cell[0] / rate)))]


@cache
def shipped(name: str) -> SearchConfig:
    """Return a search as it ships."""
    from lorasweep.config.search import load_search

    return load_search(name, {"width": 1})


@cache
def _space(name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the search's dimensions around the table's run, and the run's own values."""
    from lorasweep.config.compose import load_run
    from lorasweep.config.signature import leaves
    from lorasweep.search.space import resolve

    search = shipped(name)
    run = load_run([*PLAN.words, "data.path=photos", *search.base])
    own = leaves(run)
    return resolve(search.space, own, {}), own


def play(search: SearchConfig, table: Table, seed: int, first: float | None = None) -> dict[str, float]:
    """Replay one search: oracle quality of what it finds, steps that it trains, trials, and how many were pruned.

    ``search.width`` trials are asked for at a time and told when all of them are over; trials of one wave do not learn
    of each other. ``first`` is the rate that is tried first; None stands for the preset's.
    """
    import optuna

    from lorasweep.search.study import curves_of

    space, _ = _space(search.name)
    study, wanted = _study(search, seed, first)
    best, quality, spent, given_up = -1.0, 0.0, 0, 0
    for start in range(0, wanted, search.width):
        whole = curves_of(study)
        wave = [study.ask() for _ in range(min(search.width, wanted - start))]
        suggested = [{dimension.key: dimension.suggest(asked) for dimension in space} for asked in wave]
        for asked, params in zip(wave, suggested, strict=True):
            trial = table.near(params["optim.lr"], params.get("lora.rank", DEFAULT_RANK))
            count, hopeless = ended(trial, whole, ends_past_peak=search.stop_past_peak, gives_up=search.prune)
            for step, score in trial.curve(count).items():
                asked.report(score, step)
            spent += trial.steps[count - 1]
            given_up += hopeless
            value = trial.values[count - 1]
            if hopeless:
                study.tell(asked, state=optuna.trial.TrialState.PRUNED)
                continue
            study.tell(asked, min(max(trial.scores[:count]), RULE.floor) if value is None else value)
            if value is not None and value > best:
                best, quality = value, trial.qualities[count - 1]
    return {"quality": quality, "spent": spent, "trials": wanted, "given_up": given_up}


def _study(search: SearchConfig, seed: int, first: float | None) -> tuple[Any, int]:
    """Return an empty study with what is tried first, and the number of its trials."""
    import optuna

    from lorasweep.search.study import enqueue, make_sampler

    space, own = _space(search.name)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if search.sampler != "grid":
        study = optuna.create_study(direction="maximize", sampler=make_sampler(search.sampler, space, seed, 0))
        start = {**own, "optim.lr": own["optim.lr"] if first is None else first}
        enqueue(study, space, [{each.key: start[each.key] for each in space}, *search.recipes])
        return study, search.trials
    # Optuna's grid ends a study by itself, which only its own loop may do: the same cells, in a random order
    study = optuna.create_study(direction="maximize")
    cells = list(itertools.product(*(dimension.grid() for dimension in space)))
    for place in np.random.default_rng(seed).permutation(len(cells)):
        study.enqueue_trial({each.key: value for each, value in zip(space, cells[place], strict=True)})
    return study, min(search.trials, len(cells))


def best_of(runs: Iterable[Trajectory]) -> dict[str, float]:
    """Return the oracle quality of the best checkpoint: as it looks, and fairly, chosen by one half of its samples."""
    read = np.concatenate([run.read for run in runs])
    halves = [read[:, place::2].mean(axis=1) for place in (0, 1)]
    fair = np.mean([halves[1][halves[0].argmax()], halves[0][halves[1].argmax()]])
    return {"best": float(read.mean(axis=1).max()), "fair": float(fair)}


def judge(person: int) -> dict[str, Any]:
    """Return all searches of one person, by name."""
    from dataclasses import replace

    runs = read_shards(SHARDS, [person])
    shape = (len(runs[0].evidence.prompts), len(runs[0].evidence.seeds))
    rng = np.random.default_rng([person, PICTURES])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SEARCHES}
    for number in range(REDRAWS):
        part = redraw(*shape, PICTURES, rng)
        choices = {(run.rate, run.rank): Choice(run=run, part=part, weights=WEIGHTS) for run in runs}
        table = Table({cell: trial_of(choice) for cell, choice in choices.items()})
        for name, (kind, changes) in SEARCHES.items():
            search = replace(shipped(kind), **changes)
            seeds = [SEEDS * number + seed for seed in range(_seeds(search))]
            found[name] += [play(search, table, seed, BEGUN.get(name)) for seed in seeds]
    bests = {"lr": best_of(run for run in runs if run.rank == DEFAULT_RANK), "lr_rank": best_of(runs)}
    return {"person": person, "bests": bests, "searches": found, "steps": PLAN.config(PLAN.first).optim.steps}


def _seeds(search: SearchConfig) -> int:
    """Return 1 for a grid tried whole, which is the same in any order."""
    return 1 if search.sampler == "grid" and search.trials == ALL and not search.prune else SEEDS


def summary(name: str, people: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return means over people of what a search loses and costs."""
    kind, _ = SEARCHES[name]
    cells = sum(rank == DEFAULT_RANK or kind == "lr_rank" for _, rank in (_cell(run) for run in PLAN.runs))
    rows = []
    for person in people:
        found, best = person["searches"][name], person["bests"][kind]
        quality = np.array([each["quality"] for each in found])
        rows.append(
            {
                "regret": float(np.mean(best["best"] - quality)),
                "fair": float(np.mean(best["fair"] - quality)),
                "within": float(np.mean(best["best"] - quality <= GOALS[kind][0])),
                "cost": float(np.mean([each["spent"] for each in found])) / (cells * person["steps"]),
                "trials": float(np.mean([each["trials"] for each in found])),
                "given_up": float(np.mean([each["given_up"] for each in found])),
            }
        )
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _cell(run: str) -> Cell:
    rate, _, rank = run.partition("/")
    return float(rate), int(rank)


def table_of(people: Sequence[Mapping[str, Any]]) -> list[list[object]]:
    """Return a row for each search."""
    rows: list[list[object]] = []
    for name in SEARCHES:
        found = summary(name, people)
        rows.append(
            [
                name,
                *(f"{found[key]:+.4f}" for key in ("regret", "fair")),
                *(f"{found[key]:.0%}" for key in ("within", "cost")),
                *(f"{found[key]:.1f}" for key in ("trials", "given_up")),
            ]
        )
    return rows


def figures(people: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what has a goal, under names that stay; of the people whom nothing was chosen on."""
    reported = [person for person in people if person["person"] in REPORTED]
    found = {name: summary(name, reported) for name in GOALS}
    return {f"{name}_{key}": round(found[name][key], 4) for name in GOALS for key in ("regret", "fair", "cost")}


def show(people: Sequence[Mapping[str, Any]]) -> None:
    """Print the tables."""
    heads = ["search", "regret", "fair", "within 0.02", "cost", "trials", "given up"]
    for words, some in (("chosen on", CHOSEN_ON), ("reported", REPORTED)):
        there = [person for person in people if person["person"] in some]
        if there:
            print(f"People {', '.join(str(person['person']) for person in there)} ({words})")
            print_table(heads, table_of(there))
    if not all(any(person["person"] == wanted for person in people) for wanted in REPORTED):
        return
    found = figures(people)
    rows = []
    for name, (regret, cost) in GOALS.items():
        for key, goal in (("regret", regret), ("cost", cost)):
            value = found[f"{name}_{key}"]
            rows.append([f"{name}_{key}", f"{value:.4f}", f"≤ {goal:g}", "" if value <= goal else "MISSED"])
    print_table(["figure", "measured", "goal", ""], rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--people", type=int, nargs="+", default=list(PEOPLE))
    parser.add_argument("--replay", action="store_true", help="from the committed outcomes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    if chosen.replay:
        people = json.loads(RESULTS.read_text(encoding="utf-8"))["people"]
    else:
        there = [person for person in chosen.people if (SHARDS / f"person-{person}.json").exists()]
        with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
            people = list(pool.map(judge, there))
        write_json(RESULTS, {"machine": machine(), "people": people})
    show(people)
    if chosen.json:
        write_json(chosen.json, figures(people))


if __name__ == "__main__":
    main()
