"""Does the pick find the checkpoint that somebody who knows the truth would have taken? And do other rules?

Real LoRA runs on drawn people (`picker.trajectories`, `picker.ways`): an oracle that no score may use says how good
every sample is. Of the 32 samples of each checkpoint 16, 8 or 4 are drawn at random, 200 times, and as many others
stand in for the finalists' fresh seeds; every rule picks from the same samples. What counts was written down first:

- truth: the mean oracle quality of the samples that should show the subject in a photo, all seeds; soundness is the
  part of it that damage takes away;
- acceptable: within 0.05 of the run's best; the *latest acceptable* one is what "the latest that still works" means;
- regret: the best quality less the pick's, or less the base model's if nothing is picked; perfect is that of the latest
  acceptable one;
- within one: at most one checkpoint away from the latest acceptable one; no pick is a miss;
- intervals over people: bootstrap over people, since runs of one person are alike;
- a score's interval covers if the score of all 32 samples lies in it; with 4 samples these are of half the prompts, so
  less than the nominal share is expected there;
- a false alarm: an acceptable checkpoint that is called under or over;
- order: of the pairs of a run's checkpoints at least 0.05 apart in soundness the share that the artifact component
  orders alike, ties half, mean over the runs whose soundness falls by 0.1 after its best; before collapse: among
  checkpoints with soundness 0.1 and more;
- caught: artifact at most 0.7 where soundness is below half of the run's best; kept: at least 0.9 within 0.05 of it;
- cause: at a checkpoint that is over-trained and called so, the component whose part of the oracle's quality fell most
  since the run's best, or one of which less than a tenth is left (likeness: identity, scene: prompt, soundness:
  artifact or geometry, copying: novelty);
- goals are those of `figures.goals`, at 16 samples, half B, all runs together and each way to over-train on its own.

Thresholds and rules were chosen on half A alone.

    python -m benchmarks.picker --jobs 2      from the committed trajectories; minutes
    python -m benchmarks.picker --half A --redraws 20     a quick look while rules are chosen, nothing is written
    python -m benchmarks.picker --replay      the tables from benchmarks/results/picker.json; seconds
    python -m benchmarks.picker --anew        from the trajectories that were made again; --replay goes with it
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker.figures import WHOLE, summary
from benchmarks.picker.rules import BUDGETS, OURS, OURS_BEST, RULES, WEIGHTS, Choice
from benchmarks.picker.runs import Trajectory, read_shards, redraw
from benchmarks.picker.sight import by_stand_in, of_redraw, on_noise, pooled
from benchmarks.picker.tables import tables
from benchmarks.picker.trajectories import HALVES, PLAN, made_anew
from benchmarks.picker.trajectories import RESULTS as SHARDS
from benchmarks.picker.ways import HALVES as OF_WAYS
from benchmarks.picker.ways import read_ways
from benchmarks.printing import fill_page, machine, markdown_table, print_table, write_json
from benchmarks.statistics import rank_correlation

RESULTS = Path(__file__).parents[1] / "results" / "picker.json"
RESULTS_ANEW = RESULTS.with_name("picker_anew.json")
PAGE = Path(__file__).parents[2] / "docs" / "evaluator.md"
MARKS = ("<!-- figures: python -m benchmarks.picker --replay --docs -->", "<!-- end of the picker's figures -->")
SIZES = (16, 8, 4)
REDRAWS, STOOD_IN = 200, 20
"""Redraws of everything, and of what only says what something else than the base model's own images would do."""


def judge_run(run: Trajectory, redraws: int, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Return everything that the tables need of one run."""
    shape = (len(run.evidence.prompts), len(run.evidence.seeds))
    whole = [each.score for each in _whole(run).scores]
    picks: dict[str, dict[str, list[int | None]]] = {}
    seen: dict[str, dict[str, Any]] = {}
    for size in sizes:
        rng = np.random.default_rng([run.person, round(1e6 * run.rate), size])
        rules = RULES | BUDGETS if size == WHOLE else {name: RULES[name] for name in (OURS, OURS_BEST)}
        chosen: dict[str, list[int | None]] = {name: [] for name in rules}
        looks: list[dict[str, Any]] = []
        for _ in range(redraws):
            choice = Choice(run=run, part=redraw(*shape, size, rng), weights=WEIGHTS)
            for name, rule in rules.items():
                chosen[name].append(rule(choice))
            looks.append(of_redraw(choice))
        picks[str(size)], seen[str(size)] = chosen, pooled(looks, run, whole)
    return {
        "person": run.person,
        "way": run.way,
        "rate": run.rate,
        "steps": list(run.steps),
        "quality": [round(float(value), 4) for value in run.quality],
        "soundness": [round(float(value), 4) for value in run.soundness],
        "base_quality": round(run.base_quality, 4),
        "picks": picks,
        "seen": seen,
        "stand_ins": by_stand_in(run, min(redraws, STOOD_IN), WHOLE),
        **_reliability(run),
    }


def _whole(run: Trajectory, **changes: object) -> Choice:
    """Return a choice with all samples, none left for the finalists."""
    prompts, seeds = len(run.evidence.prompts), len(run.evidence.seeds)
    part = redraw(prompts, seeds, prompts * seeds, np.random.default_rng(0))
    return Choice(run=run, part=part, weights=WEIGHTS).replaced(**changes)


def _reliability(run: Trajectory) -> dict[str, Any]:
    """Return the rank correlation of the curve between halves of the seeds, and picks with other weights or face
    network."""
    prompts, seeds = len(run.evidence.prompts), len(run.evidence.seeds)
    halves = redraw(prompts, seeds, prompts * (seeds // 2), np.random.default_rng(run.person))
    one = Choice(run=run, part=halves, weights=WEIGHTS)
    other = Choice(run=run, part=halves.swapped(), weights=WEIGHTS)
    standing = RULES[OURS](_whole(run))
    moved = [
        RULES[OURS](_whole(run, weights=WEIGHTS | {name: WEIGHTS[name] * factor}))
        for name in WEIGHTS
        for factor in (0.5, 1.5)
    ]
    return {
        "split_half": round(rank_correlation(one.own_score[np.argsort(other.own_score)]), 4),
        "standing": standing,
        "moved": moved,
        "second": RULES[OURS](_whole(run, second_network=True)),
    }


def judge_people(runs: Sequence[Trajectory], redraws: int, sizes: Sequence[int], jobs: int) -> list[dict[str, Any]]:
    """Return what the tables need of these runs."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(partial(judge_run, redraws=redraws, sizes=sizes), runs))


def outcomes_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line asks for: committed outcomes, or new ones, which are written if they are
    complete."""
    results = RESULTS_ANEW if chosen.anew else RESULTS
    if chosen.replay:
        if not results.exists():
            raise SystemExit(f"{results} is not there yet; run 'python -m benchmarks.picker' without --replay.")
        return json.loads(results.read_text(encoding="utf-8"))
    folder = made_anew(PLAN) if chosen.anew else SHARDS
    runs = read_shards(folder, HALVES[chosen.half])
    if not runs:
        raise SystemExit(
            f"{folder} holds nobody of half {chosen.half}; run 'python -m benchmarks.picker.trajectories'."
        )
    runs += [] if chosen.anew else read_ways(OF_WAYS[chosen.half])
    judged = judge_people(runs, chosen.redraws, chosen.sizes, chosen.jobs)
    found = {"machine": machine(), "redraws": chosen.redraws, "artifact_on_noise": on_noise(runs[0]), "runs": judged}
    if chosen.half == "B" and chosen.redraws == REDRAWS and tuple(chosen.sizes) == SIZES:
        write_json(results, found)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=tuple(HALVES), default="B", help="A for choosing, B for reporting")
    parser.add_argument("--redraws", type=int, default=REDRAWS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="pictures a checkpoint")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--anew", action="store_true", help="of what 'trajectories --anew' has made")
    parser.add_argument("--replay", action="store_true", help="from the committed outcomes")
    parser.add_argument("--docs", action="store_true", help="also write the tables into docs/evaluator.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    if chosen.docs and chosen.anew:
        parser.error("--docs writes the tables of the committed trajectories; leave --anew out")
    outcomes = outcomes_of(chosen)
    runs, noise = outcomes["runs"], outcomes.get("artifact_on_noise", float("nan"))
    for title, heads, rows in tables(runs, noise):
        print(title)
        print_table(heads, rows)
    if chosen.docs:
        parts = [f"**{title}**\n\n{markdown_table(heads, rows)}" for title, heads, rows in tables(runs, noise)]
        fill_page(PAGE, MARKS, parts)
    if chosen.json:
        write_json(chosen.json, summary(runs, noise))


if __name__ == "__main__":
    main()
