"""``lorasweep reproduce RUN``: train a run again from its stored configuration, and compare the two."""

import dataclasses
from argparse import ArgumentParser, Namespace
from enum import StrEnum
from pathlib import Path

import numpy as np

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run, require_training, view_of
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.errors import ExitCode
from lorasweep.records import RunView
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run

LOSS_TOLERANCE = 1e-4
"""Largest difference of a step's loss that another thread count or device may cause in fp32."""


class Agreement(StrEnum):
    """How far two runs of one configuration agree."""

    IDENTICAL = "identical"
    CLOSE = "within tolerance"
    DIFFERENT = "different"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs of one configuration, compared."""

    original: str
    again: str
    verdict: Agreement
    checkpoints: tuple[tuple[int, bool], ...]
    """Steps, and whether both files hold the same weights, bit for bit. Their headers name different runs."""
    first_step_apart: int | None
    """The first optimiser step whose loss differs, None if none does."""
    largest_loss_difference: float
    changed: tuple[str, ...]
    """What is not as it was: versions, threads, device, weights."""
    fine: bool = True
    """False if the runs had to agree and do not."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN [--verify]``."""
    add_run(parser)
    parser.add_argument("--verify", action="store_true", help="fail if weights or losses differ from the original")


def main(options: Namespace) -> Answer:
    """Train and compare; a difference fails if ``--verify`` asks for it."""
    result = reproduce(options.root, options.run, options.verify)
    return result, ExitCode.FINE if result.fine else ExitCode.FAILED


def reproduce(root: str | Path, what: str, verify: bool = False, *, say: Say = print) -> Comparison:
    """Train a run again from what was logged, and say how the two differ; with ``verify`` a difference is not fine."""
    view = view_of(root, what)
    require_training(view, "reproduce")
    run = dataclasses.replace(from_plain(view.config), name=None)
    (outcome,) = train_together([run], say=say)
    result = compare(view, read_run(outcome.folder))
    altered = _altered(view) if verify else ()
    result = dataclasses.replace(result, changed=(*altered, *result.changed))
    say(_sentence(result))
    return dataclasses.replace(result, fine=not verify or not (altered or result.verdict is Agreement.DIFFERENT))


def compare(view: RunView, again: RunView) -> Comparison:
    """Compare two runs of one configuration: weights by hash, losses step by step, and where they were made."""
    weights, weights_again = _weights(view), _weights(again)
    same = tuple((step, weights_again.get(step) == digest) for step, digest in weights.items())
    losses = np.array([step.loss for step in view.steps]), np.array([step.loss for step in again.steps])
    length = min(len(part) for part in losses)
    apart = np.abs(losses[0][:length] - losses[1][:length])
    different = np.flatnonzero(apart != 0)
    whole = len(losses[0]) == len(losses[1])
    largest = float(apart.max(initial=0.0))
    identical = bool(same) and all(equal for _, equal in same)
    close = whole and largest <= LOSS_TOLERANCE
    return Comparison(
        original=view.name,
        again=again.name,
        verdict=Agreement.IDENTICAL if identical else Agreement.CLOSE if close else Agreement.DIFFERENT,
        checkpoints=same,
        first_step_apart=int(different[0]) + 1 if len(different) else None,
        largest_loss_difference=largest,
        changed=_changes(view.provenance, again.provenance),
    )


def _weights(view: RunView) -> dict[int, str]:
    """Return the hash of each checkpoint's weights by step, for the files that are on disk."""
    from lorasweep.models.lora.file import weights_sha256

    files = {checkpoint.step: checkpoint.path for checkpoint in view.checkpoints}
    return {step: weights_sha256(path) for step, path in files.items() if path is not None and path.exists()}


def _altered(view: RunView) -> tuple[str, ...]:
    """Return a sentence for each file of the run that is no longer what was written, every byte of them read."""
    from lorasweep.train.checkpoint import list_checkpoints

    whole = {checkpoint.path for checkpoint in list_checkpoints(view.folder, view.name, verify=True)}
    there = (each.path for each in view.checkpoints if each.path is not None and each.path.exists())
    # headers name the hash that `compare` goes by, and stay as they were if the weights behind them are altered
    return tuple(f"{view.file_name(path)} is no longer what was written" for path in there if path not in whole)


def _changes(before: object, now: object, key: str = "") -> tuple[str, ...]:
    """Return a sentence for each key of two provenances that differs, except which commit of the code it was."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now} - {"code"} if not key else {*before, *now})
        return tuple(line for name in keys for line in _changes(before.get(name), now.get(name), f"{key}{name}."))
    return () if before == now else (f"{key.rstrip('.')} was {before}, is {now}",)


def _sentence(result: Comparison) -> str:
    equal = sum(same for _, same in result.checkpoints)
    lines = [f"{result.again}: {result.verdict}; {equal} of {len(result.checkpoints)} checkpoint files are equal."]
    if result.first_step_apart is not None:
        lines.append(f"Losses part at step {result.first_step_apart}, at most by {result.largest_loss_difference:.3g}.")
    return "\n".join([*lines, *result.changed])
