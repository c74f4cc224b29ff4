"""``lorasweep evaluate RUN``: score a run again, or a folder of another trainer's files, and pick."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.photos import add_overrides
from lorasweep.commands.pick import tell_pick
from lorasweep.commands.runs import add_run, exit_code, view_of
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.data.lora_folder import is_lora_folder
from lorasweep.errors import UserError
from lorasweep.foreign.evaluation import evaluate_again, evaluate_folder
from lorasweep.records import RunView
from lorasweep.run.entries import Entry, dataset_of
from lorasweep.run.recorder import Outcome
from lorasweep.run.session import Purpose, Session
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN [key=value …]``."""
    add_run(parser)
    add_overrides(parser)


def main(options: Namespace) -> Answer:
    """Score and print the pick; skipped files of a folder have an exit code of their own."""
    outcome = evaluate(options.root, options.run, options.overrides, config_dirs=options.config_dir)
    return outcome, exit_code(outcome)


def evaluate(
    root: str | Path,
    what: str,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    say: Say = print,
) -> Outcome:
    """Score a run's checkpoints again, or a folder of LoRA files that another trainer made, and pick.

    Args:
        what: a run, or a folder of ``.safetensors`` files that is none.
        overrides: for a folder only: a preset, the base model, ``references=DIR`` and other keys.
        config_dirs: folders of your own presets.
    """
    if is_lora_folder(Path(what)):
        outcome = evaluate_folder(root, what, overrides, config_dirs=config_dirs, say=say)
    else:
        view = _known(root, what, overrides)
        outcome = evaluate_again(view, say=say) if view.source else _evaluate_run(view)
    if outcome.pick is not None:
        view = read_run(outcome.folder)
        tell_pick(view, view.file_name(outcome.file) if outcome.file else "", outcome.file, say)
    return outcome


def _known(root: str | Path, what: str, overrides: Sequence[str]) -> RunView:
    """Return the run. Raise UserError if a folder was meant, or if a run was given with overrides."""
    try:
        view = view_of(root, what)
    except UserError as error:
        if Path(what).is_file():
            raise UserError(f"{what} is a file; give the folder that holds it, or a run.") from error
        if overrides and not Path(what).exists():
            raise UserError(f"{what} does not exist; give a folder of LoRA files.") from error
        if Path(what).is_dir():
            raise UserError(f"{what} holds no .safetensors file; give a folder of LoRA files, or a run.") from error
        raise
    if overrides:
        raise UserError(
            f"{overrides[0]!r} was given with the run {view.name}, which is scored with its own configuration; "
            "overrides are for a folder of another trainer's files."
        )
    return view


def _evaluate_run(view: RunView) -> Outcome:
    """Draw what is missing, score every checkpoint with today's scorers, and pick again."""
    run = from_plain(view.config)
    with Session(Purpose.SCORE, run) as session:
        recorder = session.open(Entry(run, dataset_of(run), RunFolder(view.folder)))
        recorder.catch_up()
        outcome = recorder.finish()
    if outcome.pick is None:
        raise UserError(f"{view.name} has no checkpoint to score; train it first.")
    return outcome
