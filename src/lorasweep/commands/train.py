"""``lorasweep train DIR [key=value …] [-m]``: train, score and pick; with ``-m`` once for each combination of values.

The words are Hydra's, except the folder: it stands first, so that its name never meets Hydra's grammar.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack

from lorasweep.commands.photos import folder_words, photo_folder
from lorasweep.commands.runs import exit_code
from lorasweep.config.compose import hydra_entry, is_multirun
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.errors import ExitCode, exit_code_of
from lorasweep.run.entries import entry_of
from lorasweep.run.multirun import Multirun
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_entries
from lorasweep.search.winner import SearchOutcome


def main(words: Sequence[str]) -> ExitCode:
    """Train what the words ask for."""
    folder, *overrides = words
    if folder.startswith("-"):  # no photos but a question to Hydra, such as --help or --cfg job
        return run_jobs(words)
    return run_jobs([*folder_words(photo_folder(folder, "train"), overrides), *overrides])


def run_jobs(words: Sequence[str]) -> ExitCode:
    """Hand words to Hydra, train each job that it makes of them, and return the worst exit code.

    Raises what the worst of failed jobs raised.
    """
    parents: list[Multirun] = []
    here = os.getpid()

    def task(run: RunConfig) -> Outcome:
        # only this process sees all jobs and closes their parent: a job that a launcher sends elsewhere is a run alone
        if is_multirun() and not parents and os.getpid() == here:
            parents.append(closing.enter_context(Multirun(run)))
        return train(run, *parents)

    with ExitStack() as closing:
        results = hydra_entry(task)(words)
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise max(failures, key=lambda error: exit_code_of(error).rank)
    return ExitCode.worst(_code_of(result) for result in results)


def _code_of(result: Outcome | SearchOutcome) -> ExitCode:
    if isinstance(result, SearchOutcome):
        return ExitCode.FINE if result.best else ExitCode.NO_CHECKPOINT
    return exit_code(result)


def train(run: RunConfig, parent: Multirun | None = None, *, say: Say = print) -> Outcome:
    """Train one run from photos to pick. Raise RunFailedError if it could not reach its last step."""
    (outcome,) = train_entries([entry_of(run)], 1, parent, say)
    if outcome.error is not None:
        raise outcome.error
    return outcome
