"""Every rate and rank of a grid, trained on drawn people: the table on which searches are replayed.

The grid is that of the shipped `lr` search, a factor of ten to each side of the preset's rate, times three ranks, at a
constant rate. As in `picker.trajectories`, a shard holds for every checkpoint what the scorers saw in each sample and
the oracle's reading, but sheets are half as large: `benchmarks.search.quality` takes a checkpoint's score from eight
samples and the pick's from eight others.

    python -m benchmarks.search.table --jobs 2           make what is missing: an hour a person on a core, resumable
    python -m benchmarks.search.table --draw             only train and draw, all side by side: minutes on a card
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.picker.shards import Plan, sample
from benchmarks.picker.trajectories import shards

RESULTS = Path(__file__).parents[1] / "results" / "search_table"
PEOPLE = tuple(range(621, 626))
"""Seeds of people who were used for nothing else."""
RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(4e-4, 4e-2, 8))
RANKS = (4, 16, 64)
SEEDS = (0, 1)
PLAN = Plan(
    name="search-table",
    words=(
        "preset=person_portraits",
        "optim.schedule=constant",
        "save.count=8",
        "optim.steps=320",
        f"sample.seeds={list(SEEDS)}",
        "sample.fresh_seeds=[1000]",
        "pick.strengths=[]",
        "track.mlflow=false",
        "hardware.threads=1",
        "hardware.precision=bf16",
    ),
    runs={
        f"{rate:g}/{rank}": (f"optim.lr={rate}", f"lora.rank={rank}", f"lora.alpha={rank}")
        for rank in RANKS
        for rate in RATES
    },
    read_seeds=SEEDS,
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=list(PEOPLE))
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each; one draws a person")
    parser.add_argument("--draw", action="store_true", help="only train and draw, all side by side: on a card")
    parser.add_argument("--to", type=Path, default=RESULTS, help="folder of the shards, instead of the committed one")
    chosen = parser.parse_args()
    if chosen.draw:
        return sample(PLAN, chosen.people)
    for made in shards(PLAN, chosen.people, chosen.to, chosen.jobs):
        print(f"person {made['person']}: {len(made['runs'])} runs", flush=True)
    return None


if __name__ == "__main__":
    main()
