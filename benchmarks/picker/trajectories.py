"""LoRA runs on drawn people from too cold to too hot, and what can be seen in every sample of their checkpoints.

This is the data of `benchmarks.picker`. For every checkpoint of every run it holds what the scorers saw in each of 32
samples (never a score: rules may change, hours of training need not be repeated), and the reading of the oracle, which
knows who the person is. So any evaluator and any rule can be judged against the truth.

    python -m benchmarks.picker.trajectories --jobs 2       make what is missing: hours, one file a person, resumable
    python -m benchmarks.picker.trajectories --people 601 --anew     one shard made again, beside the committed one
    python -m benchmarks.picker.trajectories --draw          only train and draw, all side by side: minutes on a card

Rules and thresholds are chosen on the people of half A and reported on those of half B.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker.looks import look, portions, shard_of
from benchmarks.picker.runs import RATE, read_shard
from benchmarks.picker.shards import Plan, sample
from benchmarks.printing import print_table, write_json

RESULTS = Path(__file__).parents[1] / "results" / "trajectories"
HALVES = {"A": tuple(range(601, 607)), "B": tuple(range(607, 613))}
"""Seeds of people who were used for nothing else."""
PEOPLE_TOGETHER = 3
"""People whose runs one process trains as a cohort: a third less time than one after the other."""
RATES = (3e-4, 1e-3, 3e-3, 6e-3, 8e-3)
"""At a constant rate the first one is still learning at the end, the last one falls apart before the half. They and the
number of steps were chosen on person 101."""
SEEDS = (0, 1, 2, 3)
PLAN = Plan(
    name="trajectories",
    words=(
        "preset=person_portraits",
        "optim.schedule=constant",
        "save.count=12",
        "optim.steps=480",
        f"sample.seeds={list(SEEDS)}",
        "sample.fresh_seeds=[1000]",
        "pick.strengths=[]",
        "track.mlflow=false",
        "hardware.threads=1",
        "hardware.precision=fp32",
    ),
    runs={f"{rate:g}": (f"optim.lr={rate}",) for rate in RATES},
    read_seeds=SEEDS,
)


def make(plan: Plan, people: Sequence[int], jobs: int) -> Iterator[dict[str, Any]]:
    """Yield shards as they are finished; latents that exist are not drawn again.

    A few people for each process are drawn at once and looked at before the next ones are, so that an interrupted
    night keeps what it has made.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for start in range(0, len(people), jobs * PEOPLE_TOGETHER):
            some = people[start : start + jobs * PEOPLE_TOGETHER]
            undrawn = [person for person in some if not plan.latents(person).exists()]
            shared = [undrawn[process::jobs] for process in range(jobs)]
            list(pool.map(partial(sample, plan), filter(None, shared)))
            for person in some:
                plan.write(plan.photos(person).parent, person)  # latents may have been drawn elsewhere
            for person in some:
                parts = portions(plan, person)
                looked = dict(zip(parts, pool.map(partial(look, plan), parts), strict=True))
                yield shard_of(plan, person, looked)


def shards(
    plan: Plan,
    people: Sequence[int],
    folder: Path,
    jobs: int,
    *,
    anew: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one shard a person: those in `folder` that the present code made, then the others, made and kept there.

    Args:
        about: facts that are written down beside what was seen.
    """
    missing = []
    for person in people:
        file = folder / plan.shard(person)
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not anew and found.get("made_with") == plan.ingredients():
            yield found
        else:
            missing.append(person)
    for made in make(plan, missing, jobs) if missing else ():
        told = {**(about or {}), **made}
        write_json(folder / plan.shard(made["person"]), told)
        yield told


def made_anew(plan: Plan) -> Path:
    """Return the folder of shards that are compared with the committed ones."""
    return plan.root / "anew"


COMPARED = ["person", "run", "largest difference", "up to the best", "of the best", "latest acceptable"]


def compare(made: dict[str, Any], committed: dict[str, Any]) -> list[list[object]]:
    """Return by run, under the heads COMPARED, the largest difference of the oracle's mean quality at a checkpoint, the
    largest up to the committed best one, that of the best ones, and by how many checkpoints the latest acceptable one
    has moved."""
    rows: list[list[object]] = []
    for one, other in zip(read_shard(made), read_shard(committed), strict=True):
        apart, best = np.abs(one.quality - other.quality), one.quality.max() - other.quality.max()
        moved = one.latest_acceptable - other.latest_acceptable
        name = f"{one.rate:g}" if one.way == RATE else one.way
        differences = (f"{apart.max():.4f}", f"{apart[: other.best + 1].max():.4f}", f"{best:+.4f}")
        rows.append([one.person, name, *differences, f"{moved:+d}" if moved else "0"])
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[*HALVES["A"], *HALVES["B"]])
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each; one draws a person")
    parser.add_argument("--draw", action="store_true", help="only train and draw, all side by side: on a card")
    parser.add_argument("--anew", action="store_true", help="make what is committed again, beside it")
    parser.add_argument("--to", type=Path, help="folder of the shards, instead of the committed one")
    chosen = parser.parse_args()
    if chosen.draw:
        return sample(PLAN, chosen.people)
    folder = chosen.to or (made_anew(PLAN) if chosen.anew else RESULTS)
    for made in shards(PLAN, chosen.people, folder, chosen.jobs, anew=chosen.anew):
        committed = RESULTS / f"person-{made['person']}.json"
        if chosen.anew and committed.exists():
            print_table(COMPARED, compare(made, json.loads(committed.read_text(encoding="utf-8"))))
    return None


if __name__ == "__main__":
    main()
