"""``lorasweep demo``: train on a new drawn person, then at three learning rates at once."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.pick import pick
from lorasweep.commands.runs import add_root, exit_code
from lorasweep.config.compose import as_override, load_run
from lorasweep.console import Say
from lorasweep.errors import ExitCode
from lorasweep.portraits.folder import write_person
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together

PERSON = 7
"""Seed of the demo's person, who was drawn for the demo and used for nothing else."""
RATES = (3e-4, 4e-3, 1e-2)
"""Too cold, the preset's own, and too hot."""
SHORT = ("optim.steps=40", "save.count=2", "sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=8")
"""Overrides that show the machinery at work; too few steps to learn a face."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``--root`` and ``--fast``."""
    add_root(parser)
    parser.add_argument("--fast", action="store_true", help="the same with 40 steps a run: too few to learn a face")


def main(options: Namespace) -> Answer:
    """Run the demo; the worst of its runs is the exit code."""
    outcomes = demo(options.root, fast=options.fast)
    return outcomes, ExitCode.worst(exit_code(outcome) for outcome in outcomes)


def demo(root: str | Path = "mlruns", *, fast: bool = False, say: Say = print) -> list[Outcome]:
    """Train, score and pick on drawn people, offline.

    Args:
        root: the folder of the runs, the photos and the MLflow store.
        fast: with the overrides of SHORT.

    Returns:
        The outcomes: the single run first, then one a learning rate.
    """
    folder = Path(root) / "demo"
    write_person(folder, PERSON)
    say(f"A new person of 15 photos (and 4 held out) was drawn into {folder}.")
    overrides = [
        "preset=person_portraits",
        as_override("data.path", str(folder / "photos")),
        as_override("data.held_out_path", str(folder / "held_out")),
        as_override("track.root", str(root)),
        *(SHORT if fast else ()),
    ]
    outcomes = train_together([load_run(overrides)], say=say)
    if outcomes[0].pick is not None:
        pick(root, outcomes[0].name, say=say)
    say(f"\nThe same at three learning rates, side by side: {', '.join(f'{rate:g}' for rate in RATES)}.")
    # The run above has shown other strengths already.
    rates = [load_run([*overrides, f"optim.lr={rate}", "pick.strengths=[]"]) for rate in RATES]
    outcomes += train_together(rates, width=len(rates), say=say)
    for outcome in outcomes:
        say(f"{outcome.name}: score {outcome.score:.3f}, report {outcome.folder / 'report.html'}")
    where = "" if str(root) == "mlruns" else f" --root {root}"
    say(f"Compare the runs in MLflow:  lorasweep ui{where}")
    return outcomes
