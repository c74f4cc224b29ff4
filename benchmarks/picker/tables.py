"""The tables that `benchmarks.picker` prints and writes into docs/evaluator.md, from its committed outcomes."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.picker.figures import (
    BASELINES,
    WHOLE,
    Bounds,
    Runs,
    better_baselines,
    by_goal,
    figures,
    goals,
    met,
    missed,
    reliability,
    sight,
    stand_ins,
    verdicts,
    ways_of,
)
from benchmarks.picker.rules import BUDGETS, OURS, RULES
from benchmarks.picker.runs import RATE

Table = tuple[str, list[str], Sequence[Sequence[object]]]


def tables(runs: Runs, noise: float = float("nan")) -> list[Table]:
    """Return title, heads and rows of everything there is to print."""
    shown = [
        _rules(runs),
        _sizes(runs),
        _goals(runs, noise),
        _stand_ins(runs),
        _ways(runs),
        _baselines(runs),
        _runs(runs),
    ]
    return [table for table in shown if table[2]]


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


def _goals(runs: Runs, noise: float) -> Table:
    """Return every figure that has a goal, at 16, 8 and 4 samples; then what is told without one."""
    sizes = [int(size) for size in runs[0]["picks"]]
    found = {size: by_goal(runs, size) for size in sizes}
    reached = met(runs, noise)
    rows = [
        [_words(name), *(_told(found[WHOLE][name]), _bound(bounds), _yes(reached[name]))]
        + [_told(found[size][name]) for size in sizes[1:]]
        for name, bounds in goals(found[WHOLE]).items()
    ]
    steady, others = reliability(runs), better_baselines(runs)
    best = max(figures(runs, name)["latest_acceptable"] for name in BASELINES)
    more = {
        "artifact_on_noise": (_told(noise), "<= 0.05"),
        "no_better_baseline": (", ".join(others) or "none", "none"),
        "latest_acceptable_more_often_than_any_other": (_told(found[WHOLE]["exactly"]), f"> {best:.4f}"),
        "split_half_spearman": (_told(steady["split_half_spearman"]), ">= 0.8"),
        "same_pick_other_weights": (_told(steady["same_pick_other_weights"]), ">= 0.9"),
        "same_pick_other_face_network": (_told(steady["same_pick_other_face_network"]), ">= 0.9"),
    }
    blank = [""] * (len(sizes) - 1)
    rows += [[_words(name), value, goal, _yes(reached[name]), *blank] for name, (value, goal) in more.items()]
    said = verdicts(runs)
    told = {name: said[name] for name in ("agreement", "uncertain")}
    told["share of curves with split-half below 0.8"] = steady["split_half_below_0_8"]
    rows += [[_words(name), _told(value), "", "", *blank] for name, value in told.items()]
    return "Figures and goals", ["figure", "measured", "goal", "met", *(f"at {size}" for size in sizes[1:])], rows


def _stand_ins(runs: Runs) -> Table:
    """Return what the artifact component sees if less is known of the base model."""
    found = {"all of the base model's images": sight(runs), **stand_ins(runs)}
    named = ("artifact_soundness_order", "artifact_soundness_order_before", "artifact_caught", "artifact_kept")
    rows = [[name, *(_told(each[figure]) for figure in named)] for name, each in found.items()]
    heads = ["compared with", "order", "before collapse", "caught", "kept"]
    return f"Artifact at {WHOLE} pictures by what they are compared with", heads, rows if len(rows) > 1 else []


def _ways(runs: Runs) -> Table:
    """Return the same figures of each way to over-train; a star marks a goal that is missed."""
    ways = {way: by_goal(mine) for way, mine in ways_of(runs).items()}
    lost = {way: missed(found) for way, found in ways.items()}
    names = [*goals(by_goal(runs)), "perfect_latest_regret"]
    rows = [["runs", *(str(len(mine)) for mine in ways_of(runs).values())]]
    rows += [
        [_words(name), *(_told(found[name]) + "*" * (name in lost[way]) for way, found in ways.items())]
        for name in names
    ]
    return "By what is done wrong (* misses its goal)", ["figure", *ways], rows


def _baselines(runs: Runs) -> Table:
    """Return every rule's mean regret on each way to over-train; a star marks one that is surely better than ours."""
    ways = ways_of(runs)
    better = {way: better_baselines(mine) for way, mine in ways.items()}
    rows: list[list[object]] = [
        [
            name,
            *(f"{figures(mine, name)['mean_regret']:.4f}" + "*" * (name in better[way]) for way, mine in ways.items()),
        ]
        for name in RULES
    ]
    return (
        "Mean regret by what is done wrong (* better than ours beyond the 90 % interval over people)",
        ["rule", *ways],
        rows,
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _told(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"


def _yes(reached: bool) -> str:
    return "yes" if reached else "NO"


def _bound(bounds: Bounds) -> str:
    least, most = bounds
    if np.isinf(most):
        return f">= {least:g}"
    return f"{least:g} to {most:g}" if least else f"<= {most:.4g}"


def _runs(runs: Runs) -> Table:
    """Return one line a rate and a way: what the runs are like."""
    kinds = {f"{run['rate']:g}" for run in ways_of(runs).get(RATE, [])}
    parts = {
        kind: [run for run in ways_of(runs)[RATE] if f"{run['rate']:g}" == kind] for kind in sorted(kinds, key=float)
    }
    rows: list[list[object]] = []
    for name, part in {**parts, **{way: mine for way, mine in ways_of(runs).items() if way != RATE}}.items():
        found = figures(part)
        rows.append(
            [
                name,
                len(part),
                f"{_mean(part, lambda run: run['base_quality']):.3f}",
                f"{_mean(part, lambda run: max(run['quality'])):.3f}",
                f"{_mean(part, lambda run: run['quality'][-1]):.3f}",
                f"{_mean(part, lambda run: int(np.argmax(run['quality'])) + 1):.1f}",
                f"{found['mean_regret']:.4f}",
                f"{found['within_one_epoch']:.1%}",
            ]
        )
    heads = ["rate or way", "runs", "q(base)", "q(best)", "q(last)", "best at", "regret", "within one"]
    return "Runs by learning rate, and by what is done wrong", heads, rows


def _mean(runs: Runs, value: Callable[[dict[str, Any]], float]) -> float:
    return float(np.mean([value(run) for run in runs]))
