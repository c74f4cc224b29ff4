"""A run's journal read back as frozen records."""

import json
from pathlib import Path

from lorasweep.errors import UserError
from lorasweep.evaluate.dvar import dvar_step
from lorasweep.records import (
    AtStrength,
    Checkpoint,
    Dataset,
    FixedBatch,
    JsonDict,
    Pick,
    RunStatus,
    RunView,
    SampleSet,
    Scores,
    Step,
    Validation,
)
from lorasweep.track import codec
from lorasweep.track.journal import Entry, read
from lorasweep.track.run_folder import RunFolder, is_alive


def read_run(folder: Path) -> RunView:
    """Return everything that is remembered of the run; raise UserError if the folder holds none."""
    entries = list(read(folder))
    start = _last(entries, "start")
    if start is None:
        raise UserError(f"{folder} holds no run; name a folder under runs/ of the track root")
    run = RunFolder(folder)
    dataset = read_dataset(entries)
    fixed = read_fixed_batch(entries)
    return RunView(
        name=start["name"],
        folder=folder,
        status=read_status(entries, alive=is_alive(run)),
        config=run.read_config(),
        provenance=_read_provenance(run),
        train=() if dataset is None else dataset.train,
        held_out=() if dataset is None else dataset.held_out,
        prompts=codec.prompts_from_json(start["prompts"]),
        checkpoints=read_checkpoints(entries, folder),
        samples=read_samples(entries, folder),
        scores=read_scores(entries),
        strengths=read_strengths(entries, folder),
        pick=read_pick(entries),
        steps=read_steps(entries),
        validation=read_validation(entries),
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


def read_dataset(entries: list[Entry]) -> Dataset | None:
    """Return the photos that the run began with."""
    start = _last(entries, "start")
    return None if start is None or start["dataset"] is None else codec.dataset_from_json(start["dataset"])


def read_steps(entries: list[Entry]) -> tuple[Step, ...]:
    """Return every optimiser step, in order."""
    steps = [codec.step_from_json(entry.payload) for entry in entries if entry.kind == "step"]
    return tuple(sorted(steps, key=lambda step: step.step))


def read_validation(entries: list[Entry]) -> tuple[Validation, ...]:
    """Return losses on fixed noise, by step; () in the journals of older runs."""
    found = {e.payload["step"]: e.payload for e in entries if e.kind == "validation"}
    return tuple(codec.validation_from_json(found[step]) for step in sorted(found))


def read_fixed_batch(entries: list[Entry]) -> tuple[FixedBatch, ...]:
    """Return the losses of DVAR's batch, by step."""
    found = {e.payload["step"]: e.payload for e in entries if e.kind == "fixed_batch"}
    return tuple(codec.fixed_batch_from_json(found[step]) for step in sorted(found))


def read_checkpoints(entries: list[Entry], folder: Path) -> tuple[Checkpoint, ...]:
    """Return every checkpoint, by step."""
    found = {e.payload["step"]: e.payload for e in entries if e.kind == "checkpoint"}
    return tuple(codec.checkpoint_from_json(found[step], folder) for step in sorted(found))


def read_samples(entries: list[Entry], folder: Path) -> tuple[SampleSet, ...]:
    """Return the newest sheet of every step, those on fresh seeds last."""
    found = {(e.payload["fresh"], e.payload["step"]): e.payload for e in entries if e.kind == "sample"}
    return tuple(codec.samples_from_json(found[key], folder) for key in sorted(found))


def read_scores(entries: list[Entry]) -> tuple[Scores, ...]:
    """Return the newest scores of every step under the newest evaluation signature, those on fresh seeds last.

    Scores under another signature are in another unit and are never mixed with them.
    """
    scores = [entry.payload for entry in entries if entry.kind == "scores"]
    signature = scores[-1]["signature"] if scores else ""
    found = {(p["scores"]["fresh"], p["scores"]["step"]): p["scores"] for p in scores if p["signature"] == signature}
    return tuple(codec.scores_from_json(found[key]) for key in sorted(found))


def read_strengths(entries: list[Entry], folder: Path) -> tuple[AtStrength, ...]:
    """Return the finalists at other strengths, by step, under the evaluation signature of the newest scores."""
    signature = (_last(entries, "scores") or {}).get("signature", "")
    strengths = [entry.payload for entry in entries if entry.kind == "strength"]
    found = {(p["scores"]["step"], p["strength"]): p for p in strengths if p["signature"] == signature}
    return tuple(codec.at_strength_from_json(found[key], folder) for key in sorted(found))


def read_pick(entries: list[Entry]) -> Pick | None:
    """Return the newest pick."""
    payload = _last(entries, "pick")
    return None if payload is None else codec.pick_from_json(payload)


def _last(entries: list[Entry], kind: str) -> JsonDict | None:
    return next((entry.payload for entry in reversed(entries) if entry.kind == kind), None)


def _read_provenance(run: RunFolder) -> JsonDict:
    return json.loads(run.provenance.read_text(encoding="utf-8")) if run.provenance.exists() else {}
