"""From records to figures, and from figures to missed goals: pure functions. The goals are those of
`benchmarks.evaluator`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.evaluator.faults import FAULTS, MIDDLE, RESPONSIBLE
from benchmarks.evaluator.sheets import GAMING, HONEST
from benchmarks.statistics import auroc, rank_correlation
from lorasweep.records import COMPONENTS

GROUNDS = ("base", "renders", "run", "photos")
GOALS = {
    "dose": 0.9,
    "auc": 0.95,
    "others": 1 / 3,
    "good": 0.9,
    "floor": 0.2,
    "null": 0.01,
    "rise": 0.02,
    "fall": 0.8,
    "copied": 0.1,
    "kept": 0.9,
    "mirrored": 0.02,
    "swapped": 0.1,
}
EXCEPTIONS = (
    ("mosaic", "identity"),
    ("mosaic", "geometry"),
    ("warp", "identity"),
    ("burn", "identity"),
    ("contrast", "identity"),
    ("saturation", "identity"),
    ("posterise", "identity"),
    ("smooth face", "identity"),
    ("four eyes", "identity"),
    ("doubled", "identity"),
    ("copies", "prompt"),
)
FACTORS = dict(RESPONSIBLE) | {"another person": "identity", "other prompts": "prompt", "copies": "novelty"}
WORDS = ("under", "good")
RULES = ("score", "cosine", "clip_t", "sharpness")


def figures(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return everything the goals are about, for the records of one half."""
    people = [record for record in records if "person" in record]
    photos = [record for record in records if "photos" in record]
    grounds = GROUNDS if photos else GROUNDS[:-1]
    return {
        "people": len(people),
        "photo_sets": len(photos),
        "curves": {ground: _curves(ground, people, photos) for ground in grounds},
        "dose": {ground: _dose(ground, people, photos) for ground in grounds},
        "auc": {ground: _auc(ground, people, photos) for ground in grounds if ground != "run"},
        "matrix": _matrix(people),
        "anchors": anchors_of([record["anchors"] for record in people]),
        "gaming": _gaming([record["gaming"] for record in people]),
    }


def responses(ground: str, fault: str, people: Sequence[Any], photos: Sequence[Any]) -> np.ndarray:
    """Return [sets, doses] of the responsible component."""
    if ground == "photos":
        rows = [record["photos"]["curves"][fault] for record in photos]
    else:
        column = COMPONENTS.index(RESPONSIBLE[fault])
        rows = [[dose[column] for dose in record["doses"]["curves"][ground][fault]] for record in people]
    return np.array(rows, dtype=np.float64)


def faults_on(ground: str, people: Sequence[Any], photos: Sequence[Any]) -> list[str]:
    """Return the faults that were planted, in their order."""
    there = photos[0]["photos"]["curves"] if ground == "photos" else people[0]["doses"]["curves"][ground]
    return [fault for fault in FAULTS if fault in there]


def _curves(ground: str, people: Sequence[Any], photos: Sequence[Any]) -> dict[str, list[float]]:
    return {
        fault: _rounded(responses(ground, fault, people, photos).mean(axis=0))
        for fault in faults_on(ground, people, photos)
    }


def _dose(ground: str, people: Sequence[Any], photos: Sequence[Any]) -> dict[str, float]:
    return {
        fault: round(float(np.mean([rank_correlation(-row) for row in responses(ground, fault, people, photos)])), 3)
        for fault in faults_on(ground, people, photos)
    }


def _auc(ground: str, people: Sequence[Any], photos: Sequence[Any]) -> dict[str, float]:
    found = {}
    for fault in faults_on(ground, people, photos):
        if ground == "photos":
            honest = [record["photos"]["honest"] for record in photos]
            harmed = [record["photos"]["curves"][fault][MIDDLE] for record in photos]
        else:
            column = ("artifact", "geometry").index(RESPONSIBLE[fault])
            sets = [record["doses"]["eights"][ground] for record in people]
            honest, harmed = ([half[column] for part in sets for half in part[name]] for name in ("honest", fault))
        found[fault] = round(auroc(honest, harmed), 3)
    return found


def _matrix(people: Sequence[Any]) -> dict[str, list[float]]:
    """Return the mean loss by factor and component in the run."""
    planted = faults_on("run", people, ())
    factors = [factor for factor in FACTORS if factor in planted or factor not in FAULTS]
    losses: dict[str, list[np.ndarray]] = {factor: [] for factor in factors}
    for record in people:
        clean = np.array(record["doses"]["curves"]["run"][planted[0]][0], dtype=np.float64)
        for factor in factors:
            losses[factor].append(clean - np.array(_factor(record, factor), dtype=np.float64))
    return {factor: _rounded(np.mean(rows, axis=0)) for factor, rows in losses.items()}


def _factor(record: dict[str, Any], factor: str) -> list[float]:
    anchors = record["anchors"]
    others = {
        "another person": anchors["blend_middle"],
        "other prompts": anchors["swapped"],
        "copies": anchors["copies"]["same"],
    }
    return others[factor] if factor in others else record["doses"]["curves"]["run"][factor][MIDDLE]


def anchors_of(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means, or worst cases, over people."""
    blends = np.array([each["blend"] for each in found])
    ways = found[0]["copies"]

    def mean_copies(way: str, name: str) -> float:
        return round(float(np.mean([each["copies"][way][COMPONENTS.index(name)] for each in found])), 3)

    mirror = {key: _mean(each["mirrored"][key] for each in found) for key in found[0]["mirrored"]}
    return {
        "photos": {
            sheet: [min(each[sheet]["photos"] for each in found), _mean(each[sheet]["photos"] for each in found)]
            for sheet in ("sheet", "own_scenes")
        },
        "base": {sheet: max(each[sheet]["base"] for each in found) for sheet in ("sheet", "own_scenes")},
        "words": {
            sheet: [sum(each[sheet]["words"][end] == word for each in found) for end, word in enumerate(WORDS)]
            for sheet in ("sheet", "own_scenes")
        },
        "null": max(each["null"] for each in found),
        "blend": _rounded(blends.mean(axis=0)),
        "rise": round(float(np.diff(blends, axis=1).max()), 3),
        "fall": round(float((blends[:, 0] - blends[:, -1]).min()), 3),
        "copied": {way: mean_copies(way, "novelty") for way in ways},
        "kept": {way: mean_copies(way, "identity") for way in ways},
        "mirrored": mirror,
        "swapped": _mean(each["swapped"][COMPONENTS.index("prompt")] for each in found),
    }


def _gaming(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means by sheet and rule, and how many dishonest sheets rank at or above an honest one."""
    means = {
        sheet: {rule: _mean(each[sheet][rule] for each in found) for rule in RULES} for sheet in (*HONEST, *GAMING)
    }
    above = {
        rule: {
            sheet: sum(each[sheet][rule] >= min(each[honest][rule] for honest in HONEST) for each in found)
            for sheet in GAMING
        }
        for rule in RULES
    }
    return {"means": means, "above": above, "people": len(found)}


def misses(found: dict[str, Any]) -> list[str]:
    """Return a line for every goal that is not met."""
    lines = [f"dose: {f} on {g} {v}" for g, row in found["dose"].items() for f, v in row.items() if v < GOALS["dose"]]
    lines += [f"auc: {f} on {g} {v}" for g, row in found["auc"].items() for f, v in row.items() if v < GOALS["auc"]]
    for factor, row in found["matrix"].items():
        own = row[COMPONENTS.index(FACTORS[factor])]
        lines += [
            f"matrix: {factor} costs {name} {loss}, its own {FACTORS[factor]} {own}"
            for name, loss in zip(COMPONENTS, row, strict=True)
            if name != FACTORS[factor] and (factor, name) not in EXCEPTIONS and abs(loss) >= GOALS["others"] * own
        ]
    lines += anchor_misses(found["anchors"], found["people"])
    above = found["gaming"]["above"]["score"]
    return lines + [f"gaming: {sheet} outranks honest pictures of {n} people" for sheet, n in above.items() if n]


def anchor_misses(found: dict[str, Any], people: int) -> list[str]:
    """Return the anchors' part of ``misses``."""
    wrong: list[tuple[bool, str]] = []
    for sheet in ("sheet", "own_scenes"):
        wrong += [
            (found["photos"][sheet][0] < GOALS["good"], f"photos ({sheet}) score {found['photos'][sheet][0]} at worst"),
            (found["base"][sheet] >= GOALS["floor"], f"base samples ({sheet}) score {found['base'][sheet]} at best"),
            (found["words"][sheet] != [people] * 2, f"of {people}, under and good ({sheet}): {found['words'][sheet]}"),
        ]
    wrong += [
        (found["null"] > GOALS["null"], f"the base's own pictures lose {found['null']}"),
        (found["rise"] > GOALS["rise"], f"identity rises by {found['rise']} on the way to somebody else"),
        (found["fall"] < GOALS["fall"], f"identity falls by {found['fall']} only on the way to somebody else"),
        (found["swapped"] > GOALS["swapped"], f"prompts changed over leave prompt {found['swapped']}"),
    ]
    lost = found["mirrored"]["straight"] - found["mirrored"]["mole_put_back"]
    wrong += [(lost > GOALS["mirrored"], f"mirrored photos lose {lost:.3f} of identity")]
    for way, left in found["copied"].items():
        wrong += [(left > GOALS["copied"], f"copies ({way}) leave novelty {left}")]
    for way, kept in found["kept"].items():
        wrong += [(way != "mirrored" and kept < GOALS["kept"], f"copies ({way}) keep identity {kept}")]
    return [f"anchors: {line}" for miss, line in wrong if miss]


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]
