"""``lorasweep demo``: a new drawn person, one run, then three learning rates at once: too cold, right and too hot."""

from collections.abc import Callable
from pathlib import Path

from lorasweep.portraits.folder import write_person
from lorasweep.run.outcome import Outcome

PERSON = 7
"""Seed of the demo's person, who was drawn for the demo and used for nothing else."""
RATES = (3e-4, 4e-3, 1e-2)
"""Too cold, the preset's own, and too hot."""


def demo(root: str | Path = "mlruns", *, fast: bool = False, say: Callable[[str], None] = print) -> list[Outcome]:
    """Train, look, score and pick on the embedded world, offline.

    Args:
        root: where the run, the photos and the MLflow store go.
        fast: the same in small, to see the machinery work: too short to learn a face.

    Returns the outcomes: the single run first, then one a learning rate.
    """
    from lorasweep.commands.finished import pick
    from lorasweep.config.compose import as_override, load_run
    from lorasweep.run.training import train_together

    folder = Path(root) / "demo"
    write_person(folder, PERSON)
    say(f"A new person of 15 photos (and 4 held out) was drawn into {folder}.")
    overrides = [
        "preset=person_portraits",
        as_override("data.path", str(folder / "photos")),
        as_override("data.held_out_path", str(folder / "held_out")),
        as_override("track.root", str(root)),
    ]
    if fast:
        overrides += [
            "optim.steps=40",
            "save.count=2",
            "sample.seeds=[0]",
            "sample.fresh_seeds=[1000]",
            "sample.steps=8",
        ]
    outcomes = train_together([load_run(overrides)], say=say)
    if outcomes[0].pick is not None:
        pick(root, outcomes[0].name, say=say)
    say(f"\nThe same at three learning rates, side by side: {', '.join(f'{rate:g}' for rate in RATES)}.")
    # other strengths were looked at once above
    rates = [load_run([*overrides, f"optim.lr={rate}", "pick.strengths=[]"]) for rate in RATES]
    outcomes += train_together(rates, width=len(rates), say=say)
    for outcome in outcomes:
        say(f"{outcome.name}: score {outcome.score:.3f}, report {outcome.folder / 'report.html'}")
    where = "" if str(root) == "mlruns" else f" --root {root}"
    say(f"Compare the runs in MLflow:  lorasweep ui{where}")
    return outcomes
