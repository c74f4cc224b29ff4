"""The tables that `benchmarks.picker` prints and writes into docs/evaluator.md, from its committed outcomes."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.picker.rules import BUDGETS, OURS, RULES
from benchmarks.picker.runs import DELTA

Runs = Sequence[dict[str, Any]]
Table = tuple[str, list[str], list[list[object]]]
GOALS = {"mean_regret": 0.015, "share_regret_above_0_1": 0.01, "within_one_epoch": 0.85}
WHOLE = 16
"""Samples per checkpoint in every table except the comparison of sheet sizes."""


def figures(runs: Runs, rule: str = OURS, size: int = WHOLE) -> dict[str, float]:
    """Return one rule's figures over all redraws of all runs."""
    rows = [_outcome(run, place) for run in runs for place in run["picks"][str(size)][rule]]
    regrets, away = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "mean_regret": _round(regrets.mean()),
        "share_regret_above_0_1": _round((regrets > 0.1).mean()),
        "within_one_epoch": _round((away <= 1).mean()),
        "latest_acceptable": _round((away == 0).mean()),
        "acceptable": _round((regrets <= DELTA).mean()),
    }


def interval(runs: Runs, name: str, rule: str = OURS, size: int = WHOLE) -> tuple[float, float]:
    """Return the 90 % interval of a figure, from redrawing people with all of their runs."""
    people = sorted({run["person"] for run in runs})
    each = [figures([run for run in runs if run["person"] == person], rule, size)[name] for person in people]
    rng = np.random.default_rng(0)
    means = rng.choice(each, size=(2000, len(people))).mean(axis=1)
    return _round(np.quantile(means, 0.05)), _round(np.quantile(means, 0.95))


def reliability(runs: Runs) -> dict[str, float]:
    """Return how much the curve and the pick owe to chance, to the weights and to the face network."""
    moved = [_near(place, run["standing"]) for run in runs for place in run["moved"]]
    curves = [run["split_half"] for run in runs if not np.isnan(run["split_half"])]
    return {
        "split_half_spearman": _round(np.median(curves)),
        "split_half_below_0_8": _round(np.mean(np.array(curves) < 0.8)),
        "same_pick_other_weights": _round(np.mean(moved)),
        "same_pick_other_face_network": _round(np.mean([_near(run["second"], run["standing"]) for run in runs])),
    }


def verdicts(runs: Runs) -> dict[str, float]:
    """Return how the verdicts on single checkpoints agree with the oracle."""
    counts: dict[str, int] = {}
    for run in runs:
        for pair, count in run["verdicts"].items():
            counts[pair] = counts.get(pair, 0) + count
    said = {pair: count for pair, count in counts.items() if not pair.endswith("/uncertain")}
    right = sum(count for pair, count in said.items() if len(set(pair.split("/"))) == 1)
    good = {pair: count for pair, count in counts.items() if pair.startswith("good/")}
    wrong = sum(count for pair, count in good.items() if pair in ("good/under", "good/over"))
    return {
        "agreement": _round(right / sum(said.values())),
        "uncertain": _round(1 - sum(said.values()) / sum(counts.values())),
        "false_alarms": _round(wrong / sum(good.values())),
        "interval_coverage": _round(np.mean([run["covered"] for run in runs])),
    }


def summary(runs: Runs) -> dict[str, Any]:
    """Return all figures under stable names: ours at 16 samples on top."""
    sizes = sorted((int(size) for size in runs[0]["picks"]), reverse=True)
    baselines = {name: figures(runs, name) for name in RULES if name != OURS}
    return {
        "runs": len(runs),
        "people": len({run["person"] for run in runs}),
        **figures(runs),
        "intervals": {name: interval(runs, name) for name in GOALS},
        "baselines": baselines,
        "by_pictures": {str(size): figures(runs, OURS, size) for size in sizes},
        "by_budget": {name: figures(runs, name) for name in BUDGETS},
        "reliability": reliability(runs),
        "verdicts": verdicts(runs),
        "met": met(runs),
    }


def met(runs: Runs) -> dict[str, bool]:
    """Return the goals, one by one."""
    found, steady = figures(runs), reliability(runs)
    others = [figures(runs, name)["latest_acceptable"] for name in RULES if name != OURS]
    return {
        "mean_regret": found["mean_regret"] <= GOALS["mean_regret"],
        "share_regret_above_0_1": found["share_regret_above_0_1"] <= GOALS["share_regret_above_0_1"],
        "within_one_epoch": found["within_one_epoch"] >= GOALS["within_one_epoch"],
        "latest_acceptable_more_often_than_any_other": found["latest_acceptable"] > max(others),
        "split_half_spearman": steady["split_half_spearman"] >= 0.8,
        "same_pick_other_weights": steady["same_pick_other_weights"] >= 0.9,
        "same_pick_other_face_network": steady["same_pick_other_face_network"] >= 0.9,
    }


def tables(runs: Runs) -> list[Table]:
    """Return title, heads and rows of everything there is to print."""
    return [_rules(runs), _sizes(runs), _goals(runs), _runs(runs)]


def _rules(runs: Runs) -> Table:
    heads = ["rule", "mean regret", "regret > 0.1", "acceptable", "within one", "exactly the latest"]
    rows: list[list[object]] = []
    for name in RULES:
        found = figures(runs, name)
        shares = ("share_regret_above_0_1", "acceptable", "within_one_epoch", "latest_acceptable")
        rows.append([name, f"{found['mean_regret']:.4f}", *(f"{found[share]:.1%}" for share in shares)])
    return f"Rules on the same {WHOLE} pictures a checkpoint", heads, rows


def _sizes(runs: Runs) -> Table:
    """Return all ways of drawing less, by the share of samples that they draw."""
    everything = WHOLE * 12
    ways = [(OURS, "all 12", 12), *((name, name, _checkpoints(name)) for name in BUDGETS)]
    found = [
        (checkpoints * int(size) / everything, label, size, figures(runs, rule, int(size)))
        for size in runs[0]["picks"]
        for rule, label, checkpoints in ways
        if rule in runs[0]["picks"][size]
    ]
    shares = ("share_regret_above_0_1", "within_one_epoch", "latest_acceptable")
    rows: list[list[object]] = [
        [f"{share:.0%}", label, size, f"{each['mean_regret']:.4f}", *(f"{each[name]:.1%}" for name in shares)]
        for share, label, size, each in sorted(found, key=lambda row: -row[0])
    ]
    heads = [
        "drawn",
        "checkpoints",
        "pictures of each",
        "mean regret",
        "regret > 0.1",
        "within one",
        "exactly the latest",
    ]
    return "Ours where less is drawn", heads, rows


def _checkpoints(name: str) -> int:
    """Return how many checkpoints a way draws: `6 of 12, then 2 next to the pick` draws 8."""
    first, _, *then = [int(number) for number in re.findall(r"\d+", name)]
    return first + sum(then)


def _goals(runs: Runs) -> Table:
    values: dict[str, float] = {**figures(runs), **reliability(runs)}
    best = max(figures(runs, name)["latest_acceptable"] for name in RULES if name != OURS)
    values["latest_acceptable_more_often_than_any_other"] = values["latest_acceptable"]
    goal: dict[str, str] = {name: f"<= {bound}" for name, bound in GOALS.items()}
    goal |= {"within_one_epoch": ">= 0.85", "split_half_spearman": ">= 0.8"}
    goal |= {"same_pick_other_weights": ">= 0.9", "same_pick_other_face_network": ">= 0.9"}
    goal["latest_acceptable_more_often_than_any_other"] = f"> {best}"
    rows: list[list[object]] = [
        [name.replace("_", " "), values[name], goal[name], "yes" if yes else "NO"] for name, yes in met(runs).items()
    ]
    rows += [[name.replace("_", " "), value, "", ""] for name, value in verdicts(runs).items()]
    rows += [["share of curves with split-half below 0.8", values["split_half_below_0_8"], "", ""]]
    return "Figures and goals", ["figure", "measured", "goal", "met"], rows


def _runs(runs: Runs) -> Table:
    """Return one line a rate: what the runs are like."""
    rates = sorted({run["rate"] for run in runs})
    rows: list[list[object]] = []
    for rate in rates:
        part = [run for run in runs if run["rate"] == rate]
        found = figures(part)
        rows.append(
            [
                f"{rate:g}",
                len(part),
                f"{_mean(part, lambda run: run['base_quality']):.3f}",
                f"{_mean(part, lambda run: max(run['quality'])):.3f}",
                f"{_mean(part, lambda run: run['quality'][-1]):.3f}",
                f"{_mean(part, lambda run: int(np.argmax(run['quality'])) + 1):.1f}",
                f"{found['mean_regret']:.4f}",
                f"{found['within_one_epoch']:.1%}",
            ]
        )
    heads = ["rate", "runs", "q(base)", "q(best)", "q(last)", "best at", "regret", "within one"]
    return "Runs by learning rate", heads, rows


def _mean(runs: Runs, value: Callable[[dict[str, Any]], float]) -> float:
    return float(np.mean([value(run) for run in runs]))


def _near(place: int | None, other: int | None) -> bool:
    return place == other if place is None or other is None else abs(place - other) <= 1


def _outcome(run: dict[str, Any], place: int | None) -> tuple[float, float]:
    """Return regret, and the number of checkpoints between the pick and the latest acceptable one."""
    quality = np.array(run["quality"])
    latest = int(np.flatnonzero(quality >= quality.max() - DELTA)[-1])
    value = run["base_quality"] if place is None else quality[place]
    return float(quality.max() - value), np.inf if place is None else float(abs(place - latest))


def _round(value: Any) -> float:
    return round(float(value), 4)
