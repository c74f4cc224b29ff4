"""A nested configuration as flat parameters for MLflow's table."""

import json
import math
import re
from typing import cast

from lorasweep.records import JsonDict

LONGEST = 6000
"""MLflow cuts a longer value without a word; the configuration artifact is whole."""

_NOT_IN_A_KEY = re.compile(r"[^\w\-./ :]", re.ASCII)
_ONE_VALUE = frozenset({"sample.prompts"})
"""Shown as one parameter: fifty columns of prompts would hide the rest."""


def flatten(config: JsonDict) -> dict[str, str]:
    """``{"optim": {"lr": 1e-4}}`` -> ``{"optim.lr": "0.0001"}``, with ``log10_lr`` and ``effective_lr`` beside it."""
    flat = {key: text[:LONGEST] for key, text in _leaves("", config)}
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
    return [(_NOT_IN_A_KEY.sub("_", prefix)[:250], text)]


def _derived(config: JsonDict) -> dict[str, str]:
    lr = config.get("optim", {}).get("lr")
    if not isinstance(lr, int | float) or lr <= 0:
        return {}
    lora = config.get("lora", {})
    derived = {"log10_lr": f"{math.log10(lr):.6g}"}
    if lora.get("rank"):
        derived["effective_lr"] = f"{lr * lora.get('alpha', lora['rank']) / lora['rank']:.6g}"
    return derived
