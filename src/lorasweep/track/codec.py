"""The frozen records as JSON and back, bit for bit; paths inside the run's folder are written relative to it."""

from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lorasweep.evaluate.text import read_notes, read_veto
from lorasweep.records import (
    AtStrength,
    Checkpoint,
    Dataset,
    FixedBatch,
    JsonDict,
    Note,
    NoteKind,
    Photo,
    Pick,
    Prompt,
    RunVerdict,
    Sample,
    SampleSet,
    Scores,
    Step,
    Validation,
    Verdict,
    VerdictWord,
    Veto,
    VetoKind,
)
from lorasweep.track.journal import encode


def step_to_json(step: Step) -> JsonDict:
    """Not through ``asdict``, which deep-copies: this runs once a training step."""
    return dict(vars(step))


def step_from_json(payload: JsonDict) -> Step:
    numbers = {name: float(payload[name]) for name in ("loss", "lr", "effective_lr", "grad_norm")}
    return Step(trial=payload["trial"], step=payload["step"], epoch=payload["epoch"], **numbers)


def checkpoint_to_json(checkpoint: Checkpoint, folder: Path) -> JsonDict:
    path = None if checkpoint.path is None else path_to_json(checkpoint.path, folder)
    return {**vars(checkpoint), "path": path}


def checkpoint_from_json(payload: JsonDict, folder: Path) -> Checkpoint:
    path = None if payload["path"] is None else path_from_json(payload["path"], folder)
    return Checkpoint(**_with(payload, path=path))


def samples_to_json(samples: SampleSet, folder: Path) -> JsonDict:
    pictures = [{**vars(sample), "path": path_to_json(sample.path, folder)} for sample in samples.samples]
    return {**vars(samples), "samples": pictures}


def samples_from_json(payload: JsonDict, folder: Path) -> SampleSet:
    pictures = tuple(
        Sample(**_with(sample, path=path_from_json(sample["path"], folder))) for sample in payload["samples"]
    )
    return SampleSet(trial=payload["trial"], step=payload["step"], samples=pictures, fresh=payload["fresh"])


def scores_to_json(scores: Scores) -> JsonDict:
    tables = {"components": dict(scores.components), "weights": dict(scores.weights)}
    facts = {
        "notes": [{"kind": note.kind, **note.values} for note in scores.notes],
        "vetoes": [{"kind": veto.kind, "share": veto.share} for veto in scores.vetoes],
    }
    return encode({**vars(scores), **tables, **facts, "by_prompt": scores.by_prompt.tolist()})


def scores_from_json(payload: JsonDict) -> Scores:
    exact: JsonDict = {name: float(payload[name]) for name in ("score", "low", "high")}
    for name in ("components", "weights"):
        exact[name] = {key: float(value) for key, value in payload[name].items()}
    exact["notes"] = tuple(note for each in payload["notes"] for note in _notes_from_json(each))
    exact["vetoes"] = tuple(_veto_from_json(each) for each in payload["vetoes"])
    exact["by_prompt"] = np.array(payload["by_prompt"], dtype=np.float64)
    return Scores(**_with(payload, **exact))


def _notes_from_json(payload: JsonDict | str) -> tuple[Note, ...]:
    if isinstance(payload, str):  # version 0.1 kept sentences, two facts in one
        return read_notes(payload)
    values = {name: value for name, value in payload.items() if name != "kind"}
    return (Note(NoteKind(payload["kind"]), values),)


def _veto_from_json(payload: JsonDict | str) -> Veto:
    if isinstance(payload, str):
        return read_veto(payload)
    return Veto(VetoKind(payload["kind"]), float(payload["share"]))


def at_strength_to_json(found: AtStrength, folder: Path) -> JsonDict:
    samples, scores = samples_to_json(found.samples, folder), scores_to_json(found.scores)
    return {"strength": found.strength, "samples": samples, "scores": scores}


def at_strength_from_json(payload: JsonDict, folder: Path) -> AtStrength:
    samples = samples_from_json(payload["samples"], folder)
    return AtStrength(strength=payload["strength"], samples=samples, scores=scores_from_json(payload["scores"]))


def validation_to_json(found: Validation, base: Validation) -> JsonDict:
    """With the base model's own losses beside it, so that a line alone tells how far training has come."""
    return encode({**vars(found), "base_held_out": base.held_out, "base_train": base.train})


def validation_from_json(payload: JsonDict) -> Validation:
    losses = {name: float(payload[name]) for name in ("held_out", "train")}
    return Validation(trial=payload["trial"], step=payload["step"], **losses)


def fixed_batch_to_json(found: FixedBatch) -> JsonDict:
    return encode(dict(vars(found)))


def fixed_batch_from_json(payload: JsonDict) -> FixedBatch:
    return FixedBatch(trial=payload["trial"], step=payload["step"], loss=float(payload["loss"]))


def pick_to_json(pick: Pick) -> JsonDict:
    return encode(asdict(pick))


def pick_from_json(payload: JsonDict) -> Pick:
    exact: JsonDict = {
        "eligible": tuple(payload["eligible"]),
        "score": float(payload["score"]),
        "steady": float(payload.get("steady", "nan")),
        "confidence": float(payload["confidence"]),
        "verdicts": tuple(Verdict(**_with(each, word=VerdictWord(each["word"]))) for each in payload["verdicts"]),
        "run_verdict": RunVerdict(payload["run_verdict"]),
    }
    return Pick(**_with(payload, **exact))


def prompts_to_json(prompts: tuple[Prompt, ...]) -> list[JsonDict]:
    return [dict(vars(prompt)) for prompt in prompts]


def prompts_from_json(payload: list[JsonDict]) -> tuple[Prompt, ...]:
    return tuple(Prompt(**prompt) for prompt in payload)


def dataset_to_json(dataset: Dataset) -> JsonDict:
    return {
        **vars(dataset),
        "path": str(dataset.path),
        "train": [_photo_to_json(photo) for photo in dataset.train],
        "held_out": [_photo_to_json(photo) for photo in dataset.held_out],
        "regularisation": [_photo_to_json(photo) for photo in dataset.regularisation],
    }


def dataset_from_json(payload: JsonDict) -> Dataset:
    exact: JsonDict = {
        "path": Path(payload["path"]),
        "train": tuple(_photo_from_json(photo) for photo in payload["train"]),
        "held_out": tuple(_photo_from_json(photo) for photo in payload["held_out"]),
        "regularisation": tuple(_photo_from_json(photo) for photo in payload.get("regularisation", ())),
    }
    known = {name: value for name, value in payload.items() if name != "repeats"}  # older runs: one number for all
    return Dataset(**_with(known, **exact))


def path_to_json(path: Path, folder: Path) -> str:
    """Relative with forward slashes where the file lies inside the folder, so that a run may be moved."""
    absolute, inside = path.absolute(), folder.absolute()
    return absolute.relative_to(inside).as_posix() if absolute.is_relative_to(inside) else str(absolute)


def path_from_json(text: str, folder: Path) -> Path:
    return folder / PurePosixPath(text) if not Path(text).is_absolute() else Path(text)


def _with(payload: JsonDict, **exact: Any) -> JsonDict:
    return {**payload, **exact}


def _photo_to_json(photo: Photo) -> JsonDict:
    mask = None if photo.mask is None else str(photo.mask.absolute())
    return {**vars(photo), "path": str(photo.path.absolute()), "mask": mask}


def _photo_from_json(payload: JsonDict) -> Photo:
    mask = Path(payload["mask"]) if payload.get("mask") else None
    return Photo(**_with(payload, path=Path(payload["path"]), mask=mask))
