"""What a journal entry means to MLflow: points, tags and names. Pure, and without mlflow."""

import math
import re
from dataclasses import dataclass

from lorasweep.records import JsonDict

ENDS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
"""MLflow's word for each way that a run ends."""

FRESH = ".fresh"
"""What the key of pictures on fresh seeds ends with."""

_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_\-. ]")


@dataclass(frozen=True)
class Point:
    """One value of one metric. ``time`` comes from the journal, so a point sent again is the same point."""

    key: str
    value: float
    time: int
    step: int


def step_points(payload: JsonDict, time: int) -> list[Point]:
    """Loss, learning rates and gradient norm of one optimiser step; what is not finite is left out."""
    values = {f"train/{name}": float(payload[name]) for name in ("loss", "lr", "effective_lr", "grad_norm")}
    if values["train/lr"] > 0:
        values["train/log10_lr"] = math.log10(values["train/lr"])
    return _points(values, time, payload["step"])


def score_points(payload: JsonDict, time: int) -> list[Point]:
    """Score, interval and every component of one checkpoint, under ``eval/``, on fresh seeds ``fresh/``."""
    scores = payload["scores"]
    prefix = "fresh" if scores["fresh"] else "eval"
    values = {f"{prefix}/{name}": float(scores[name]) for name in ("score", "low", "high")}
    values |= {f"{prefix}/{name}": float(value) for name, value in scores["components"].items()}
    return _points(values, time, scores["step"])


def validation_points(payload: JsonDict, time: int) -> list[Point]:
    """Losses on fixed noise under ``validation/``, and each over the base model's own: above 1 is worse than that."""
    values: dict[str, float] = {}
    for name in ("held_out", "train"):
        loss, base = float(payload[name]), float(payload[f"base_{name}"])
        values |= {f"validation/{name}": loss, f"validation/{name}_vs_base": loss / base if base else math.nan}
    return _points(values, time, payload["step"])


def fixed_batch_points(payload: JsonDict, time: int) -> list[Point]:
    """The loss that DVAR watches."""
    return _points({"validation/fixed_batch": float(payload["loss"])}, time, payload["step"])


def pick_points(payload: JsonDict, time: int) -> list[Point]:
    """The pick as metrics of its own, since MLflow's table shows the last value of a metric, not the best."""
    if payload["step"] is None:
        return []
    values = {
        "picked/step": payload["step"],
        "picked/score": payload["score"],
        "picked/steady": payload.get("steady", "nan"),
        "picked/confidence": payload["confidence"],
        "picked/strength": payload.get("strength", 1.0),
    }
    return _points({name: float(value) for name, value in values.items()}, time, payload["step"])


def start_tags(payload: JsonDict) -> dict[str, str]:
    """Who the run is."""
    tags = {
        "lorasweep.run": payload["name"],
        "lorasweep.uid": payload["uid"],
        "lorasweep.run_signature": payload["run_signature"],
        "lorasweep.evaluation_signature": payload["evaluation_signature"],
        "lorasweep.overrides": " ".join(payload["overrides"]),
        "lorasweep.kind": "multirun" if payload["multirun"] else "evaluation" if payload.get("source") else "run",
        "lorasweep.status": "running",
    }
    if payload["dataset"] is not None:
        tags["lorasweep.data"] = payload["dataset"]["fingerprint"]
        tags["lorasweep.photos"] = str(len(payload["dataset"]["train"]))
    return tags


def pick_tags(payload: JsonDict) -> dict[str, str]:
    """The verdict, and the picked checkpoint if there is one."""
    return {
        "lorasweep.picked": "none" if payload["step"] is None else str(payload["step"]),
        "lorasweep.verdict": payload["run_verdict"],
        "mlflow.note.content": payload["reason"],
    }


def not_finite(payload: JsonDict) -> str:
    """The numbers of a step that MLflow is not given, in words; '' where all are finite."""
    bad = [name for name in ("loss", "grad_norm") if not math.isfinite(float(payload[name]))]
    return f"{' and '.join(bad)} at step {payload['step']}" if bad else ""


def image_key(prompt: str, fresh: bool) -> str:
    """A prompt's key as MLflow allows it."""
    return _NOT_IN_A_KEY.sub("_", prompt) + (FRESH if fresh else "")


def model_name(run: str, step: int) -> str:
    """The name of a checkpoint's LoggedModel."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', run)}-step-{step}"


def _points(values: dict[str, float], time: int, step: int) -> list[Point]:
    return [Point(key, value, time, step) for key, value in values.items() if math.isfinite(value)]
