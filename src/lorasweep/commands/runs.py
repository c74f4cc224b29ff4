"""What commands on a run that is already there have in common: arguments, and checks of what the run holds."""

from argparse import ArgumentParser
from pathlib import Path

from lorasweep.errors import ExitCode, UserError, exit_code_of
from lorasweep.outcomes import RunVerdict
from lorasweep.records import Checkpoint, RunView
from lorasweep.run.recorder import Outcome
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import find_run


def add_run(parser: ArgumentParser) -> None:
    """Declare ``RUN`` and ``--root``."""
    which = "a run's name or folder, a folder of another trainer's files, or 'last' for the newest run"
    parser.add_argument("run", metavar="RUN", help=which)
    add_root(parser)


def add_root(parser: ArgumentParser) -> None:
    """Declare ``--root``."""
    parser.add_argument(
        "--root", type=Path, default=Path("mlruns"), metavar="DIR", help="the folder of runs (default: mlruns)"
    )


def view_of(root: str | Path, what: str) -> RunView:
    """Return what the journal says of a run; ``what`` is its name or folder, or 'last'. Raise UserError for none."""
    return read_run(find_run(Path(root), what).path)


def checkpoint_at(view: RunView, step: int) -> Checkpoint:
    """Return the checkpoint at a step, whose file is on disk. Raise UserError if the run has none there."""
    files = {checkpoint.step: checkpoint for checkpoint in view.checkpoints if checkpoint.path is not None}
    if step not in files:
        steps = ", ".join(map(str, sorted(files))) or "none"
        raise UserError(f"{view.name} has no checkpoint at step {step}; it has {steps}.")
    return files[step]


def require_training(view: RunView, verb: str) -> None:
    """Raise UserError if the run only scored another trainer's files: there is no training to ``verb``."""
    if view.source is not None:
        raise UserError(
            f"{view.name} only scored the files of {view.source}, so there is no training to {verb}; "
            "start one from a file with 'lorasweep train DIR lora.init=FILE'."
        )


def exit_code(outcome: Outcome) -> ExitCode:
    """Return how a command ends that trained or scored a run. One that makes no pick, as of a style, is fine."""
    if outcome.error is not None:
        return exit_code_of(outcome.error)
    if outcome.pick is not None and outcome.pick.step is None and outcome.pick.run_verdict != RunVerdict.LOOK:
        return ExitCode.NO_CHECKPOINT
    return ExitCode.SKIPPED if outcome.skipped else ExitCode.FINE
