"""``lorasweep plan DIR``: predict what a run will be and cost, without training."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.photos import add_photos, folder_words, photo_folder
from lorasweep.config.compose import load_run
from lorasweep.console import Say, waiting
from lorasweep.errors import ExitCode
from lorasweep.plan.planning import Plan, plan_of
from lorasweep.plan.text import print_plan


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``DIR [key=value …]``. The root is an override as in training, ``track.root``."""
    add_photos(parser)


def main(options: Namespace) -> Answer:
    """Print the plan; one that cannot fit this machine is as wrong as a wrong key."""
    made = plan(options.folder, options.overrides, config_dirs=options.config_dir)
    return made, ExitCode.FINE if made.fits else ExitCode.USAGE


def plan(
    folder: str | Path, overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = (), say: Say = print
) -> Plan:
    """Predict steps, images, memory, time and disk of ``train`` with the same words.

    Nothing is trained, no weights are read, nothing is written. Without ``model.path`` the family's well-known full
    size is taken.

    Raises:
        UserError: bad photos, or a model that is none of the family.
    """
    path = photo_folder(folder, "plan")
    words = [*folder_words(path, overrides, config_dirs), *overrides]
    run = load_run(words, config_dirs=config_dirs, when_missing={"model.path": ""})
    with waiting("Counting on the base model, without its weights"):
        made = plan_of(run)
    for note in made.notes:
        say(note)
    print_plan(made, say)
    return made
