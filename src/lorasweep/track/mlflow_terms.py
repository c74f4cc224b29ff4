"""What a run's records are called in MLflow: metrics, parameters, tags and names. Pure, and without mlflow."""

import json
import math
import re
from dataclasses import dataclass
from typing import cast

from lorasweep.records import JsonDict

ENDS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
"""MLflow's status for each of ours."""

FRESH = ".fresh"
"""What the key of images on fresh seeds ends with."""

LONGEST_VALUE = 6000
"""Characters. MLflow cuts a longer parameter without a word; the artifact ``config.json`` is whole."""
LONGEST_KEY = 250
"""Characters: MLflow's limit."""

_NOT_IN_AN_IMAGE_KEY = re.compile(r"[^A-Za-z0-9_\-. ]")
_NOT_IN_A_PARAMETER = re.compile(r"[^\w\-./ :]", re.ASCII)
_ONE_VALUE = frozenset({"sample.prompts"})
"""Shown as one parameter: fifty columns of prompts would hide the rest."""


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    time: int
    """Milliseconds since 1970, from the journal: a point that is sent again is the same row of MLflow's table."""
    step: int


def step_points(payload: JsonDict, time: int) -> list[Point]:
    """Return loss, learning rates and gradient norm of one optimiser step; what is not finite is left out."""
    values = {f"train/{name}": float(payload[name]) for name in ("loss", "lr", "effective_lr", "grad_norm")}
    if values["train/lr"] > 0:
        values["train/log10_lr"] = math.log10(values["train/lr"])
    return _points(values, time, payload["step"])


def score_points(payload: JsonDict, time: int) -> list[Point]:
    """Return score, interval and every component of one checkpoint, under ``eval/`` or, on fresh seeds, ``fresh/``."""
    scores = payload["scores"]
    prefix = "fresh" if scores["fresh"] else "eval"
    values = {f"{prefix}/{name}": float(scores[name]) for name in ("score", "low", "high")}
    values |= {f"{prefix}/{name}": float(value) for name, value in scores["components"].items()}
    return _points(values, time, scores["step"])


def validation_points(payload: JsonDict, time: int) -> list[Point]:
    """Return losses on fixed noise under ``validation/``, and each over the base model's: above 1 is worse than it."""
    values: dict[str, float] = {}
    for name in ("held_out", "train"):
        loss, base = float(payload[name]), float(payload[f"base_{name}"])
        values |= {f"validation/{name}": loss, f"validation/{name}_vs_base": loss / base if base else math.nan}
    return _points(values, time, payload["step"])


def fixed_batch_points(payload: JsonDict, time: int) -> list[Point]:
    """Return the loss that DVAR watches."""
    return _points({"validation/fixed_batch": float(payload["loss"])}, time, payload["step"])


def pick_points(payload: JsonDict, time: int) -> list[Point]:
    """Return the pick as metrics of its own: MLflow's table shows the last value of a metric, not the best."""
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
    """Return who the run is."""
    tags = {
        "lorasweep.run": payload["name"],
        "lorasweep.uid": payload["uid"],
        "lorasweep.run_signature": payload["run_signature"],
        "lorasweep.evaluation_signature": payload["evaluation_signature"],
        "lorasweep.kind": "multirun" if payload["multirun"] else "evaluation" if payload.get("source") else "run",
        "lorasweep.status": "running",
    }
    if payload["dataset"] is not None:
        tags["lorasweep.data"] = payload["dataset"]["fingerprint"]
        tags["lorasweep.photos"] = str(len(payload["dataset"]["train"]))
    if payload.get("overrides"):  # of runs by version 0.1
        tags["lorasweep.overrides"] = " ".join(payload["overrides"])
    return tags


def pick_tags(payload: JsonDict) -> dict[str, str]:
    """Return the verdict, and the picked checkpoint if there is one."""
    return {
        "lorasweep.picked": "none" if payload["step"] is None else str(payload["step"]),
        "lorasweep.verdict": payload["run_verdict"],
        "mlflow.note.content": payload["reason"],
    }


def not_finite(payload: JsonDict) -> str:
    """Return which numbers of a step MLflow is not given, in words; '' if all are finite."""
    bad = [name for name in ("loss", "grad_norm") if not math.isfinite(float(payload[name]))]
    return f"{' and '.join(bad)} at step {payload['step']}" if bad else ""


def image_key(prompt: str, fresh: bool) -> str:
    """Return a prompt's key as MLflow allows it."""
    return _NOT_IN_AN_IMAGE_KEY.sub("_", prompt) + (FRESH if fresh else "")


def model_name(run: str, step: int) -> str:
    """Return the name of a checkpoint's LoggedModel."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', run)}-step-{step}"


def flatten(config: JsonDict) -> dict[str, str]:
    """Return a nested configuration as MLflow's parameters, with ``log10_lr`` and ``effective_lr`` beside them.

    ``{"optim": {"lr": 1e-4}}`` becomes ``{"optim.lr": "0.0001"}``.
    """
    flat = {key: text[:LONGEST_VALUE] for key, text in _leaves("", config)}
    return {**flat, **_derived(config)}


def _leaves(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value and prefix not in _ONE_VALUE:
        return [
            leaf
            for key, item in cast("JsonDict", value).items()
            for leaf in _leaves(f"{prefix}.{key}" if prefix else str(key), item)
        ]
    if not prefix:
        return []
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return [(_NOT_IN_A_PARAMETER.sub("_", prefix)[:LONGEST_KEY], text)]


def _derived(config: JsonDict) -> dict[str, str]:
    lr = config.get("optim", {}).get("lr")
    if not isinstance(lr, int | float) or lr <= 0:
        return {}
    lora = config.get("lora", {})
    derived = {"log10_lr": f"{math.log10(lr):.6g}"}  # rates are compared by factors
    if lora.get("rank"):
        derived["effective_lr"] = f"{lr * lora.get('alpha', lora['rank']) / lora['rank']:.6g}"
    return derived


def _points(values: dict[str, float], time: int, step: int) -> list[Point]:
    return [Point(key, value, time, step) for key, value in values.items() if math.isfinite(value)]
