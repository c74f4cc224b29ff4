"""Can a set in which some photos are mirrored be told from one in which none is?

Drawn people at 512 pixels; of each, sets of 8, 15 and 30 photos: half of the sets are consistent, in the other half
20 to 50 % of the photos are mirrored. Landmarks are those that the finder reports for the photo as it is. Only photos
in which it sees exactly one face are drawn into sets.

- AUROC of the score at each size: how often a mixed set scores higher than a consistent one. Its interval is a
  bootstrap over people, since the sets of one person are no independent draws.
- caught and false alarms at the threshold; of the photos that are named in a caught set, how many are mirrored
  (precision), and of the mirrored, how many are named (recall). If exactly half is mirrored, either half is right.
- unmarked: the same people without their mole, consistent sets, at the landmarks that were found with it. Nothing tells
  their sides apart, so the only right answer is to keep quiet.

The threshold is chosen on the people of half A, in the middle between the 5 % of mixed sets that score lowest and the
1 % of consistent ones, unmarked or not, that score highest; half B, other people, is reported.

    python -m benchmarks.check.orientation --jobs 2      draw, look, measure and print, an hour; faces found are kept
    python -m benchmarks.check.orientation --replay      the tables from the committed scores
"""

import argparse
import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.check.orientation_pool import (
    MIRRORED,
    PEOPLE,
    SIDE,
    UPRIGHT,
    draw,
    is_mirrored,
    look,
    made_by,
    people,
)
from benchmarks.check.sets import clean_album
from benchmarks.printing import machine, print_table, write_json
from benchmarks.signatures import answers, signature
from benchmarks.statistics import auroc
from lorasweep.data.orientation import Orientation, orientation

RESULTS = Path(__file__).parents[1] / "results" / "orientation.json"
SCRATCH = Path(".cache/orientation")
SIZES = (8, 15, 30)
SETS = 8
"""Consistent sets, and as many mixed and unmarked ones, of each person and size."""
SHARES = (0.2, 0.5)
"""Share of the photos of a mixed set that are mirrored."""
VERSION = 1
"""Raise it when the rule changes in a way that `probe` does not ask for."""
RESAMPLED = 2000
STREAM = 20263


def measured(seed: int, kept: Path = SCRATCH) -> list[dict[str, Any]]:
    """Return one record a set of this person: which it is, its score, and how many photos were named and mirrored.

    They come from ``kept`` if the same rule has judged the same photos before.
    """
    file = kept / f"sets-{SETS}-{judged_by()}" / f"{seed}.json"
    if not file.exists():
        write_json(file, _measured(seed, kept))
    return json.loads(file.read_text(encoding="utf-8"))


def _measured(seed: int, kept: Path) -> list[dict[str, Any]]:
    from lorasweep.vision.face_facts import aligned_face

    told = look(seed, kept)
    usable = [number for number, each in enumerate(told) if each.count == 1]
    bare = replace(clean_album(seed, UPRIGHT + MIRRORED).identity, mole_height=20.0)  # far below the picture
    crops = {number: aligned_face(np.asarray(draw(seed, number)), told[number].points) for number in usable}
    unmarked = {
        number: aligned_face(np.asarray(draw(seed, number, bare)), told[number].points)
        for number in usable
        if not is_mirrored(number)
    }
    rng = np.random.default_rng([STREAM, seed])
    found: list[dict[str, Any]] = []
    for size in SIZES:
        for _ in range(SETS):
            upright, mixed = _sampled(usable, size, rng)
            for kind, numbers, source in (
                ("consistent", upright, crops),
                ("mixed", mixed, crops),
                ("unmarked", upright, unmarked),
            ):
                found.append({"person": seed, "kind": kind, **_judged(numbers, source)})
    return found


@cache
def judged_by() -> str:
    """Return a short hash of what scores depend on besides the sets that are drawn: photos, faces and the rule."""
    return signature({"version": VERSION, "faces": made_by(), "probe": answers("orientation", probe())})


def probe() -> dict[str, Any]:
    """Return what the rule says of a fixed person's photos at their true landmarks: none mirrored, and three."""
    from lorasweep.portraits.render import landmarks
    from lorasweep.vision.face_facts import aligned_face

    album = clean_album(0, UPRIGHT + MIRRORED)

    def judged(numbers: Sequence[int]) -> Orientation:
        crops = []
        for number in numbers:
            shot = album.shots[number]
            points = landmarks(album.identity, shot.scene, SIDE, shot.jitter)
            if is_mirrored(number):
                points = (points * (-1, 1) + (SIDE - 1, 0))[[1, 0, 2, 4, 3]]
            crops.append(aligned_face(np.asarray(draw(0, number)), points))
        return orientation(np.stack(crops))

    said = {"upright": judged(range(8)), "mixed": judged([*range(5), *range(UPRIGHT, UPRIGHT + 3)])}
    return {name: [each.score, *each.mirrored] for name, each in said.items()}


def _sampled(usable: Sequence[int], size: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return photos of a consistent set and of a mixed one; fewer than ``size`` if the person has no more."""
    upright = [number for number in usable if not is_mirrored(number)]
    mirrored = [number for number in usable if is_mirrored(number)]
    low, high = math.ceil(SHARES[0] * size), math.floor(SHARES[1] * size)
    turned = min(int(rng.integers(low, high + 1)), len(mirrored))
    one = rng.choice(upright, min(size, len(upright)), replace=False)
    rest = rng.choice(upright, min(size - turned, len(upright)), replace=False)
    two = rng.permutation(np.concatenate([rest, rng.choice(mirrored, turned, replace=False)]))
    return one.tolist(), two.tolist()


def _judged(numbers: Sequence[int], crops: dict[int, Any]) -> dict[str, Any]:
    said = orientation(np.stack([crops[number] for number in numbers]))
    true = {row for row, number in enumerate(numbers) if is_mirrored(number)}
    named, rest = set(said.mirrored), set(range(len(numbers))) - true
    if len(true) == len(rest) and len(named & rest) > len(named & true):
        true = rest
    counts = {"pictures": len(numbers), "mirrored": len(true), "named": len(named), "right": len(named & true)}
    return {"score": round(said.score, 5), **counts}


def size_of(record: dict[str, Any]) -> int:
    """Return the size that a set was to have; a person with too few usable photos lacks one or two."""
    return min(SIZES, key=lambda size: abs(size - record["pictures"]))


def interval(mixed: Sequence[dict[str, Any]], consistent: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC over people drawn again, with replacement."""
    who = sorted({record["person"] for record in mixed})
    scores = {
        person: [[each["score"] for each in some if each["person"] == person] for some in (mixed, consistent)]
        for person in who
    }
    rng = np.random.default_rng(STREAM)
    found = []
    for _ in range(RESAMPLED):
        drawn = [scores[who[place]] for place in rng.integers(len(who), size=len(who))]
        above, below = zip(*drawn, strict=True)
        found.append(auroc(np.concatenate(above), np.concatenate(below)))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def threshold(records: Sequence[dict[str, Any]]) -> float:
    """Return the threshold by the rule at the top of this module, for one half's records of all sizes."""
    mixed = [record["score"] for record in records if record["kind"] == "mixed"]
    quiet = [record["score"] for record in records if record["kind"] != "mixed"]
    return round(float(np.quantile(mixed, 0.05) + np.quantile(quiet, 0.99)) / 2, 3)


def figures(records: Sequence[dict[str, Any]], above: float) -> dict[str, Any]:
    """Return the figures of each size, for one half's records, at the threshold ``above``."""
    return {str(size): _figures([each for each in records if size_of(each) == size], above) for size in SIZES}


def _figures(records: Sequence[dict[str, Any]], above: float) -> dict[str, Any]:
    kinds = {kind: [each for each in records if each["kind"] == kind] for kind in ("consistent", "mixed", "unmarked")}
    mixed, consistent = kinds["mixed"], kinds["consistent"]
    over = {kind: sum(each["score"] > above for each in some) / len(some) for kind, some in kinds.items()}
    caught = [each for each in mixed if each["score"] > above]
    named, right = sum(each["named"] for each in caught), sum(each["right"] for each in caught)
    low, high = interval(mixed, consistent)
    return {
        "people": len({each["person"] for each in records}),
        "mixed_sets": len(mixed),
        "consistent_sets": len(consistent),
        "auroc": round(auroc([each["score"] for each in mixed], [each["score"] for each in consistent]), 4),
        "interval": [round(low, 4), round(high, 4)],
        "caught": round(over["mixed"], 4),
        "false_alarms": round(over["consistent"], 4),
        "unmarked_false_alarms": round(over["unmarked"], 4),
        "precision": round(right / named, 4) if named else 0.0,
        "recall": round(right / sum(each["mirrored"] for each in caught), 4) if caught else 0.0,
    }


HEADS = (
    "pictures",
    "people",
    "sets",
    "AUROC",
    "95 %",
    "caught",
    "false alarms",
    "without a mark",
    "precision",
    "recall",
)


def summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the threshold, and the figures of each half by size."""
    halves = {half: [each for each in records if each["person"] in people(half)] for half in ("A", "B")}
    above = threshold(halves["A"])
    return {"threshold": above} | {half: figures(some, above) for half, some in halves.items()}


def show(found: dict[str, Any]) -> None:
    """Print a table for each half."""
    for half in ("A", "B"):
        print(f"Half {half}, mixed above {found['threshold']}")
        print_table(HEADS, [_row(size, each) for size, each in found[half].items()])


def _row(size: str, each: dict[str, Any]) -> list[str]:
    low, high = each["interval"]
    shares = [
        f"{each[name]:.1%}" for name in ("caught", "false_alarms", "unmarked_false_alarms", "precision", "recall")
    ]
    sets = f"{each['mixed_sets']} + {each['consistent_sets']}"
    return [size, str(each["people"]), sets, f"{each['auroc']:.3f}", f"{low:.3f} to {high:.3f}", *shares]


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="people measured at the same time, one thread each")
    parser.add_argument("--people", type=int, default=PEOPLE, help="of each half")
    parser.add_argument("--replay", action="store_true", help="the tables from the committed scores")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args(words)
    if chosen.replay:
        found = summary(json.loads(RESULTS.read_text(encoding="utf-8"))["records"])
    else:
        with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
            parts = pool.map(
                partial(measured, kept=SCRATCH), [*people("A", chosen.people), *people("B", chosen.people)]
            )
            records = [record for part in parts for record in part]
        found = summary(records)
        write_json(RESULTS, {"machine": machine(), "made_with": judged_by(), "figures": found, "records": records})
    show(found)
    if chosen.json:
        write_json(chosen.json, found)


if __name__ == "__main__":
    main()
