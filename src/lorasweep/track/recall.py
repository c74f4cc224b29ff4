"""A run's journal read back as frozen records."""

import json
from pathlib import Path

from lorasweep.errors import UserError
from lorasweep.evaluate.dvar import dvar_step
from lorasweep.outcomes import RunStatus, RunVerdict
from lorasweep.records import (
    AtStrength,
    Checkpoint,
    Dataset,
    FixedBatch,
    JsonDict,
    Pick,
    Prompt,
    RunView,
    SampleSet,
    Scores,
    Step,
    Validation,
)
from lorasweep.track.codec import Record, from_json
from lorasweep.track.journal import Entry, read
from lorasweep.track.run_folder import RunFolder, is_alive


def read_run(folder: Path) -> RunView:
    """Return everything that is remembered of the run; raise UserError if the folder holds none."""
    entries = list(read(folder))
    start = _last(entries, "start")
    if start is None:
        raise UserError(f"{folder} holds no run; name a folder under runs/ of the track root")
    run, pick = RunFolder(folder), _last(entries, "pick")
    dataset = read_dataset(entries, folder)
    fixed = _by_step(FixedBatch, "fixed_batch", entries, folder)
    return RunView(
        name=start["name"],
        folder=folder,
        status=read_status(entries, alive=is_alive(run)),
        config=run.read_config(),
        provenance=_read_provenance(run),
        train=() if dataset is None else dataset.train,
        held_out=() if dataset is None else dataset.held_out,
        prompts=from_json(tuple[Prompt, ...], start["prompts"], folder),
        checkpoints=_by_step(Checkpoint, "checkpoint", entries, folder),
        samples=_samples(entries, folder),
        scores=_scores(entries, folder),
        strengths=_strengths(entries, folder),
        pick=None if pick is None else from_json(Pick, pick, folder),
        steps=_by_step(Step, "step", entries, folder),
        validation=_by_step(Validation, "validation", entries, folder),
        fixed_batch=fixed,
        dvar_step=dvar_step([found.step for found in fixed], [found.loss for found in fixed]),
        notes=tuple(entry.payload["text"] for entry in entries if entry.kind == "note"),
        error=(_last(entries, "end") or {}).get("error", ""),
        parent=start["parent"],
        source=Path(start["source"]) if start.get("source") else None,
    )


def read_status(entries: list[Entry], *, alive: bool) -> RunStatus:
    """Return how the run ended, KILLED if its process is gone and wrote no end."""
    lives = [entry for entry in entries if entry.kind in ("start", "end")]
    if lives and lives[-1].kind == "end":
        return RunStatus(lives[-1].payload["status"])
    return RunStatus.RUNNING if alive else RunStatus.KILLED


def read_dataset(entries: list[Entry], folder: Path) -> Dataset | None:
    """Return the photos that the run began with."""
    start = _last(entries, "start")
    return None if start is None or start["dataset"] is None else from_json(Dataset, start["dataset"], folder)


def _by_step(kind: type[Record], word: str, entries: list[Entry], folder: Path) -> tuple[Record, ...]:
    """Return the records of one kind of entry by step, the newest of each; () if an older run wrote none."""
    found = {entry.payload["step"]: entry.payload for entry in entries if entry.kind == word}
    return tuple(from_json(kind, found[step], folder) for step in sorted(found))


def _samples(entries: list[Entry], folder: Path) -> tuple[SampleSet, ...]:
    """Return the newest sheet of every step, those on fresh seeds last."""
    found = {(e.payload["fresh"], e.payload["step"]): e.payload for e in entries if e.kind == "sample"}
    return tuple(from_json(SampleSet, found[key], folder) for key in sorted(found))


def _scores(entries: list[Entry], folder: Path) -> tuple[Scores, ...]:
    """Return the newest scores of every step under one evaluation signature, those on fresh seeds last."""
    scores = [entry.payload for entry in entries if entry.kind == "scores"]
    signature = _signature(entries)  # under another one they are in another unit: never mixed
    found = {(p["scores"]["fresh"], p["scores"]["step"]): p["scores"] for p in scores if p["signature"] == signature}
    return tuple(from_json(Scores, found[key], folder) for key in sorted(found))


def _strengths(entries: list[Entry], folder: Path) -> tuple[AtStrength, ...]:
    """Return the finalists at other strengths, by step, under the evaluation signature of the scores."""
    signature = _signature(entries)
    strengths = [entry.payload for entry in entries if entry.kind == "strength"]
    found = {(p["scores"]["step"], p["strength"]): p for p in strengths if p["signature"] == signature}
    return tuple(from_json(AtStrength, found[key], folder) for key in sorted(found))


def _signature(entries: list[Entry]) -> str:
    """Return the newest evaluation signature that the run was picked under, or scored under if it was not picked."""
    signature = picked = ""
    for entry in entries:
        if entry.kind == "scores":
            signature = entry.payload["signature"]
        elif entry.kind == "pick" and entry.payload["run_verdict"] != RunVerdict.BY_HAND:
            picked = signature
    # scores of a newer signature without a pick are of a scoring that goes on or was cut short: some are missing
    return picked or signature


def _last(entries: list[Entry], kind: str) -> JsonDict | None:
    return next((entry.payload for entry in reversed(entries) if entry.kind == kind), None)


def _read_provenance(run: RunFolder) -> JsonDict:
    return json.loads(run.provenance.read_text(encoding="utf-8")) if run.provenance.exists() else {}
