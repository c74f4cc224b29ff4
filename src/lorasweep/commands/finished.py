"""Commands about a run that is already there: evaluate, pick, report, reproduce."""

import dataclasses
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorasweep.commands.pick_text import explain_pick, tell_pick, tell_why
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.data.lora_folder import is_lora_folder
from lorasweep.errors import UserError
from lorasweep.records import Explanation, Pick, RunView
from lorasweep.run.continuing import require_training
from lorasweep.run.outcome import Outcome
from lorasweep.run.recorder import picked_file
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import find_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picked:
    """The answer of ``lorasweep pick``."""

    pick: Pick
    file: Path | None
    """The LoRA file, in ``--to`` where that was given."""
    why: tuple[Explanation, ...] = ()
    """What was asked for with ``--why``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer of ``lorasweep reproduce``."""

    original: str
    again: str
    verdict: str
    """identical, within tolerance, or different."""
    checkpoints: tuple[tuple[int, bool], ...]
    """Steps, and whether both files hold the same weights, bit for bit. Their headers name different runs."""
    first_step_apart: int | None
    """The first optimiser step whose loss differs, None where none does."""
    largest_loss_difference: float
    changed: tuple[str, ...]
    """What is not as it was: versions, threads, device, weights."""
    fine: bool = True
    """False where the runs had to agree and do not."""


LOSS_TOLERANCE = 1e-4
"""Largest difference of a step's loss that another thread count or device may cause in fp32."""


def pick(
    root: str | Path,
    what: str,
    to: Path | None = None,
    *,
    step: int | None = None,
    why: int | str | None = None,
    say: Say = print,
) -> Picked:
    """The checkpoint of a run and the reason.

    Args:
        to: a folder that the file is copied into.
        step: take this checkpoint by hand, for good: it is what the run's other commands then take for the pick.
        why: the step of a checkpoint to explain against the pick, or 'neighbours' for those beside the pick; 0 is
            the base model.
    """
    view = read_run(find_run(Path(root), what).path)
    chosen = (view.pick or _choose(view)) if step is None else _by_hand(view, step)
    file = picked_file(view.folder, chosen)
    name = "" if file is None else view.file_name(file)
    if file is not None and to is not None:
        to.mkdir(parents=True, exist_ok=True)
        file = Path(shutil.copy2(file, to / name.replace("/", "-")))
    view = dataclasses.replace(view, pick=chosen)
    found = explain_pick(view, why)
    tell_pick(view, name, file, say)
    tell_why(found, say)
    return Picked(pick=chosen, file=file, why=found)


def _by_hand(view: RunView, step: int) -> Pick:
    """The checkpoint that the user's eyes chose, written down."""
    from lorasweep.report.page import write_report
    from lorasweep.track.tracker import JournalTracker

    files = {checkpoint.step for checkpoint in view.checkpoints if checkpoint.path is not None}
    if step not in files:
        steps = ", ".join(map(str, sorted(files))) or "none"
        raise UserError(f"{view.name} has no checkpoint at step {step}; it has {steps}.")
    chosen = Pick(
        trial=view.name,
        step=step,
        best_step=view.pick.best_step if view.pick else None,
        runner_up=None,
        eligible=(),
        score=math.nan,
        confidence=math.nan,
        verdicts=view.pick.verdicts if view.pick else (),
        run_verdict="taken by hand",
        reason=f"Checkpoint {step} was taken by hand.",
        strength=from_plain(view.config).sample.strength,
    )
    tracker = JournalTracker(view.folder)
    try:
        tracker.pick(chosen)
    finally:
        tracker.close()
    write_report(view.folder, read_run(view.folder))
    return chosen


def report(root: str | Path, what: str) -> Path:
    """Write the run's page again, or for a multirun the page that compares its runs; returns where it is."""
    from lorasweep.report.page import write_comparison, write_report
    from lorasweep.run.multirun import children_of

    found = find_run(Path(root), what)
    children = children_of(found)
    if children:
        return write_comparison(found.path, children)
    return write_report(found.path, read_run(found.path))


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
        config_dirs: folders of presets of one's own.
    """
    from lorasweep.foreign.evaluation import evaluate_again, evaluate_folder

    if is_lora_folder(Path(what)):
        outcome = evaluate_folder(root, what, overrides, config_dirs=config_dirs, say=say)
    else:
        view = _known(root, what, overrides)
        outcome = evaluate_again(view, say=say) if view.source else _evaluate_run(root, what)
    if outcome.pick is not None:
        view = read_run(outcome.folder)
        tell_pick(view, view.file_name(outcome.file) if outcome.file else "", outcome.file, say)
    return outcome


def _known(root: str | Path, what: str, overrides: Sequence[str]) -> RunView:
    """A run that is there; a sentence where a folder was meant, or a run was given with overrides."""
    try:
        view = read_run(find_run(Path(root), what).path)
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


def _evaluate_run(root: str | Path, what: str) -> Outcome:
    """Draw what is missing, judge every checkpoint again with today's scorers, and pick again."""
    from lorasweep.run.training import reopened

    with reopened(Path(root), what) as live:
        if live.judge is None:
            raise UserError(f"{live.name} was trained with evaluate.enabled=false; start a run with it on.")
        live.catch_up()
        outcome = live.finish()
    if outcome.pick is None:
        raise UserError(f"{live.name} has no checkpoint to score; train it first.")
    return outcome


def reproduce(root: str | Path, what: str, verify: bool = False, *, say: Say = print) -> Comparison:
    """Run again from what was logged; with ``verify`` a difference is an error (exit code 1)."""
    from lorasweep.run.training import train_together

    view = read_run(find_run(Path(root), what).path)
    require_training(view, "reproduce")
    run = dataclasses.replace(from_plain(view.config), name=None)
    (outcome,) = train_together([run], say=say)
    again = read_run(outcome.folder)
    result = compare(view, again)
    say(_sentence(result))
    return dataclasses.replace(result, fine=not verify or result.verdict != "different")


def compare(view: RunView, again: RunView) -> Comparison:
    """Two runs of one configuration: weights by hash, losses step by step, and what else has changed."""
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
        verdict="identical" if identical else "within tolerance" if close else "different",
        checkpoints=same,
        first_step_apart=int(different[0]) + 1 if len(different) else None,
        largest_loss_difference=largest,
        changed=_changes(view.provenance, again.provenance),
    )


def _weights(view: RunView) -> dict[int, str]:
    from lorasweep.models.lora.file import weights_sha256

    files = {checkpoint.step: checkpoint.path for checkpoint in view.checkpoints}
    return {step: weights_sha256(path) for step, path in files.items() if path is not None and path.exists()}


def _changes(before: object, now: object, key: str = "") -> tuple[str, ...]:
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


def _choose(view: RunView) -> Pick:
    from lorasweep.evaluate.pick import choose

    run = from_plain(view.config)
    if not view.scores:
        raise UserError(f"{view.name} has no scores to pick by; score it with 'lorasweep evaluate {view.name}'.")
    return choose(view.scores, run.pick, np.random.default_rng(run.seed))
