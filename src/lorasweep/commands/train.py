"""``lorasweep train DIR [key=value …] [-m]``: train, score and pick; with ``-m`` once for each combination of values.

The words are Hydra's, except the folder: it stands first, so that its name never meets Hydra's grammar.
"""

from collections.abc import Sequence
from contextlib import ExitStack

from lorasweep.commands.photos import folder_words, photo_folder
from lorasweep.commands.runs import exit_code
from lorasweep.config.compose import hydra_entry, is_multirun
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.errors import ExitCode
from lorasweep.run.entries import entry_of
from lorasweep.run.multirun import Multirun
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_entries


def main(words: Sequence[str]) -> ExitCode:
    """Train what the words ask for."""
    folder, *overrides = words
    if folder.startswith("-"):  # no photos but a question to Hydra, such as --help or --cfg job
        return run_jobs(words)
    return run_jobs([*folder_words(photo_folder(folder, "train"), overrides), *overrides])


def run_jobs(words: Sequence[str]) -> ExitCode:
    """Hand words to Hydra, train each job that it makes of them, and return the exit code of the last."""
    codes: list[ExitCode] = []
    parents: list[Multirun] = []

    def task(run: RunConfig) -> float:
        if is_multirun() and not parents:
            parents.append(closing.enter_context(Multirun(run)))
        outcome = train(run, *parents)
        codes.append(exit_code(outcome))
        return outcome.score

    with ExitStack() as closing:
        hydra_entry(task)(words)
    return codes[-1] if codes else ExitCode.FINE


def train(run: RunConfig, parent: Multirun | None = None, *, say: Say = print) -> Outcome:
    """Train one run from photos to pick. Raise RunFailedError if it could not reach its last step."""
    (outcome,) = train_entries([entry_of(run)], 1, parent, say)
    if outcome.error is not None:
        raise outcome.error
    return outcome
