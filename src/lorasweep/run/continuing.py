"""Going on with a run that is there: after a crash, for more steps, or on all photos."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path

from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.records import Checkpoint, RunView
from lorasweep.run.entries import entries_of
from lorasweep.run.multirun import Multirun, children_of
from lorasweep.run.outcome import Outcome
from lorasweep.run.training import train_entries, train_together
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, find_run


def resume(root: str | Path, what: str, *, say: Say = print) -> list[Outcome]:
    """Go on with an interrupted run, or with every unfinished run of a multirun; bit-equal on a CPU."""
    found = find_run(Path(root), what)
    views = children_of(found) or [read_run(found.path)]
    waiting = [view for view in views if view.status not in ("finished", "failed", "running")]
    if not waiting:
        raise UserError(f"{found.name} is {views[0].status}; there is nothing to resume.")
    if waiting[0].source is not None:
        return [_evaluated(waiting[0], say)]
    entries = entries_of([from_plain(view.config) for view in waiting], [RunFolder(view.folder) for view in waiting])
    parent = waiting[0].parent
    with Multirun(entries[0].run, parent) if parent else nullcontext() as multirun:
        return train_entries(entries, "auto", multirun, say)


def _evaluated(view: RunView, say: Say) -> Outcome:
    """The rest of a folder's evaluation."""
    from lorasweep.foreign.evaluation import evaluate_again

    outcome = evaluate_again(view, say=say)
    if outcome.pick is not None:
        say(f"{outcome.name}: {outcome.pick.reason}")
    return outcome


def extend(root: str | Path, what: str, steps: int, step: int | None = None, *, say: Say = print) -> Outcome:
    """Train so many more steps from a checkpoint's weights, as a run of its own.

    The optimiser starts anew and the seed is the next one, so that the new steps do not repeat the order and the noise
    of the first ones.

    Args:
        step: of the checkpoint to start from; None means the last one.
    """
    view = read_run(find_run(Path(root), what).path)
    require_training(view, "extend")
    start = _checkpoint(view, step)
    run = from_plain(view.config)
    run = dataclasses.replace(
        run,
        name=None,
        seed=run.seed + 1,
        lora=dataclasses.replace(run.lora, init=str(start.path)),
        optim=dataclasses.replace(run.optim, steps=steps, warmup_steps=min(run.optim.warmup_steps, steps)),
    )
    say(f"Going on for {steps} steps from {start.path}.")
    (outcome,) = train_together([run], say=say)
    return outcome


def _checkpoint(view: RunView, step: int | None) -> Checkpoint:
    files = {checkpoint.step: checkpoint for checkpoint in view.checkpoints if checkpoint.path is not None}
    if not files:
        raise UserError(f"{view.name} has no checkpoint to go on from; train it first.")
    if step is not None and step not in files:
        raise UserError(f"{view.name} has no checkpoint at step {step}; it has {', '.join(map(str, sorted(files)))}.")
    return files[max(files) if step is None else step]


def refit(root: str | Path, what: str, *, say: Say = print) -> Outcome:
    """Train on all photos, held-out ones included, for the picked number of steps; nothing is left to judge it with."""
    view = read_run(find_run(Path(root), what).path)
    require_training(view, "refit")
    if view.pick is None or view.pick.step is None:
        raise UserError(f"{view.name} has no picked checkpoint to refit; pick one first with 'lorasweep pick'.")
    run = from_plain(view.config)
    run = dataclasses.replace(
        run,
        name=f"{view.name}-refit",
        data=dataclasses.replace(run.data, train_on="all"),
        optim=dataclasses.replace(run.optim, steps=view.pick.step),
        save=dataclasses.replace(run.save, every_steps=view.pick.step),
        evaluate=dataclasses.replace(run.evaluate, enabled=False),
    )
    (outcome,) = train_together([run], say=say)
    return outcome


def require_training(view: RunView, verb: str) -> None:
    """Raise UserError where a run only judged another trainer's files: there is no training to repeat or go on with."""
    if view.source is not None:
        raise UserError(
            f"{view.name} only scored the files of {view.source}, so there is no training to {verb}; "
            "start one from a file with 'lorasweep train DIR lora.init=FILE'."
        )
