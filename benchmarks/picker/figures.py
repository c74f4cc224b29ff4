"""Figures of the pick from the outcomes that `benchmarks.picker` keeps of each run, and their goals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.picker.rules import BUDGETS, OURS, OURS_BEST, RULES
from benchmarks.picker.runs import DELTA, RATE

Runs = Sequence[dict[str, Any]]
WHOLE = 16
"""Samples per checkpoint in every figure except the comparison of sheet sizes."""
BASELINES = tuple(name for name in RULES if name not in (OURS, OURS_BEST))
INTERVALS = ("mean_regret", "share_regret_above_0_1", "within_one_epoch")
"""Figures that are told with their interval over people."""
Bounds = tuple[float, float]


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


def better_baselines(runs: Runs) -> list[str]:
    """Return the rules of others whose mean regret is below ours by more than the 90 % interval over people."""
    people = sorted({run["person"] for run in runs})
    rng = np.random.default_rng(0)
    draws = rng.integers(len(people), size=(2000, len(people)))

    def regrets(rule: str) -> np.ndarray:
        of_person = [[run for run in runs if run["person"] == person] for person in people]
        return np.array([figures(mine, rule)["mean_regret"] for mine in of_person])

    ours = regrets(OURS)
    return [name for name in BASELINES if np.quantile((ours - regrets(name))[draws].mean(axis=1), 0.05) > 0]


def perfect_regret(runs: Runs) -> float:
    """Return the mean regret of a rule that always finds the latest acceptable checkpoint."""
    return _round(np.mean([_outcome(run, _latest(run))[0] for run in runs]))


def stand_ins(runs: Runs) -> dict[str, dict[str, float]]:
    """Return the same by what sheets are compared with instead of all that is known of the base model."""
    names = list(dict.fromkeys(name for run in runs for name in run.get("stand_ins", {})))
    return {name: _sight([run["stand_ins"][name] for run in runs if name in run["stand_ins"]]) for name in names}


def sight(runs: Runs, size: int = WHOLE) -> dict[str, float]:
    """Return what the artifact component sees; NaN if no run falls, or none was looked at."""
    return _sight([run["seen"][str(size)] for run in runs if str(size) in run.get("seen", {})])


def _sight(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    named = {"artifact_soundness_order": "order", "artifact_soundness_order_before": "order_before"}
    orders = {name: [each[kept] for each in found if each.get(kept) is not None] for name, kept in named.items()}
    shares = {"artifact_caught": "caught", "artifact_kept": "kept"}
    return {
        **{name: _round(np.mean(values)) if values else float("nan") for name, values in orders.items()},
        **{name: _share(*np.sum([each[kept] for each in found] or [(0, 0)], axis=0)) for name, kept in shares.items()},
    }


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


def verdicts(runs: Runs, size: int = WHOLE) -> dict[str, float]:
    """Return how the verdicts on single checkpoints, their causes and the intervals agree with the oracle."""
    seen = [_seen(run, size) for run in runs]
    counts, causes = _added(each["verdicts"] for each in seen), _added(each.get("causes", {}) for each in seen)
    said = {pair: count for pair, count in counts.items() if not pair.endswith("/uncertain")}
    good = {pair: count for pair, count in counts.items() if pair.startswith("good/")}
    alarms = sum(count for pair, count in good.items() if pair in ("good/under", "good/over"))
    return {
        "agreement": _share(_equal(said), sum(said.values())),
        "uncertain": _round(1 - _share(sum(said.values()), sum(counts.values()))),
        "false_alarms": _share(alarms, sum(good.values())),
        "cause_right": _share(_equal(causes), sum(causes.values())),
        "interval_coverage": _round(np.mean([each["covered"] for each in seen])),
    }


def _seen(run: dict[str, Any], size: int) -> dict[str, Any]:
    """Return what was seen at a size; older outcomes hold that of WHOLE alone, among everything else."""
    if "seen" in run:
        return run["seen"][str(size)]
    return run if size == WHOLE else {"verdicts": {}, "covered": float("nan")}


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for pair, count in each.items():
            total[pair] = total.get(pair, 0) + count
    return total


def _equal(counts: Mapping[str, int]) -> int:
    return sum(count for pair, count in counts.items() if len(set(pair.split("/"))) == 1)


def by_goal(runs: Runs, size: int = WHOLE) -> dict[str, float]:
    """Return the figures that have a goal, at 16, 8 or 4 samples."""
    ours, said = figures(runs, OURS, size), verdicts(runs, size)
    best = figures(runs, OURS_BEST, size)["mean_regret"] if OURS_BEST in runs[0]["picks"][str(size)] else float("nan")
    return {
        **sight(runs, size),
        "mean_regret": ours["mean_regret"],
        "perfect_latest_regret": perfect_regret(runs),
        "best_regret": best,
        "regret_above_0_1": ours["share_regret_above_0_1"],
        "acceptable": ours["acceptable"],
        "within_one": ours["within_one_epoch"],
        "exactly": ours["latest_acceptable"],
        "false_alarms": said["false_alarms"],
        "cause_right": said["cause_right"],
        "interval_coverage": said["interval_coverage"],
    }


def goals(found: Mapping[str, float], *, one_way: bool = False) -> dict[str, Bounds]:
    """Return the least and the most that each figure may be; a single way may order a little worse than all."""
    infinite = float("inf")
    return {
        "artifact_soundness_order": (0.95 if one_way else 0.98, infinite),
        "artifact_soundness_order_before": (0.95 if one_way else 0.97, infinite),
        "artifact_caught": (0.99, infinite),
        "artifact_kept": (0.98, infinite),
        "mean_regret": (0.0, found["perfect_latest_regret"] + 0.003),
        "best_regret": (0.0, 0.008),
        "regret_above_0_1": (0.0, 0.005),
        "acceptable": (0.97, infinite),
        "within_one": (0.95, infinite),
        "exactly": (0.80, infinite),
        "false_alarms": (0.0, 0.05),
        "cause_right": (0.90, infinite),
        "interval_coverage": (0.88, 0.94),
    }


def missed(found: Mapping[str, float]) -> set[str]:
    """Return the figures of one way that miss their goals; one that says nothing of this way misses none."""
    bounds = goals(found, one_way=True)
    return {name for name, (least, most) in bounds.items() if found[name] < least or found[name] > most}


def met(runs: Runs, noise: float = float("nan")) -> dict[str, bool]:
    """Return the goals of all runs together, one by one."""
    found, steady = by_goal(runs), reliability(runs)
    others = [figures(runs, name)["latest_acceptable"] for name in BASELINES]
    reached = {name: least <= found[name] <= most for name, (least, most) in goals(found).items()}
    return {
        **reached,
        "artifact_on_noise": noise <= 0.05,
        "no_better_baseline": not better_baselines(runs),
        "share_regret_above_0_1": reached["regret_above_0_1"],
        "within_one_epoch": reached["within_one"],
        "latest_acceptable_more_often_than_any_other": found["exactly"] > max(others),
        "split_half_spearman": steady["split_half_spearman"] >= 0.8,
        "same_pick_other_weights": steady["same_pick_other_weights"] >= 0.9,
        "same_pick_other_face_network": steady["same_pick_other_face_network"] >= 0.9,
    }


def ways_of(runs: Runs) -> dict[str, list[dict[str, Any]]]:
    """Return the runs by what is done wrong in them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        found.setdefault(run.get("way", RATE), []).append(run)
    return found


def summary(runs: Runs, noise: float = float("nan")) -> dict[str, Any]:
    """Return all figures under stable names: ours at 16 samples on top."""
    sizes = sorted((int(size) for size in runs[0]["picks"]), reverse=True)
    ways = {
        way: {"runs": len(mine), **by_goal(mine), "better_baselines": better_baselines(mine)}
        for way, mine in ways_of(runs).items()
    }
    return {
        "runs": len(runs),
        "people": len({run["person"] for run in runs}),
        **figures(runs),
        **by_goal(runs),
        "artifact_on_noise": noise,
        "better_baselines": better_baselines(runs),
        "ways": ways,
        "intervals": {name: interval(runs, name) for name in INTERVALS},
        "baselines": {name: figures(runs, name) for name in RULES if name != OURS},
        "by_pictures": {str(size): {**figures(runs, OURS, size), **by_goal(runs, size)} for size in sizes},
        "by_budget": {name: figures(runs, name) for name in BUDGETS},
        "stand_ins": stand_ins(runs),
        "reliability": reliability(runs),
        "verdicts": verdicts(runs),
        "met": met(runs, noise),
    }


def _near(place: int | None, other: int | None) -> bool:
    return place == other if place is None or other is None else abs(place - other) <= 1


def _outcome(run: dict[str, Any], place: int | None) -> tuple[float, float]:
    """Return regret, and the number of checkpoints between the pick and the latest acceptable one."""
    quality = np.array(run["quality"])
    value = run["base_quality"] if place is None else quality[place]
    return float(quality.max() - value), np.inf if place is None else float(abs(place - _latest(run)))


def _latest(run: dict[str, Any]) -> int:
    """Return the latest acceptable checkpoint."""
    quality = np.array(run["quality"])
    return int(np.flatnonzero(quality >= quality.max() - DELTA)[-1])


def _share(part: float, whole: float) -> float:
    return _round(part / whole) if whole else float("nan")


def _round(value: Any) -> float:
    return round(float(value), 4)
