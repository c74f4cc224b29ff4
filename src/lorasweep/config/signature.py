"""Two hashes: what makes a training run the same run, and what makes two scores comparable.

The run signature promises the same training recipe, not the same bits: those also depend on the device, the number of
threads and the versions of the libraries, all of which a run's provenance records.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

from lorasweep.config.compose import to_plain
from lorasweep.config.schema import RunConfig

# A preset's name labels values that are all hashed; how often a state is saved, or an image is drawn to be looked at
# only, changes no weight.
NEUTRAL = frozenset(
    {"preset", "name", "data.path", "data.held_out_path", "hardware.device", "hardware.threads", "track"}
    | {"model.offline", "save.state_minutes", "save.states_kept", "save.metadata", "sample.every_steps"}
    | {"evaluate.validation"}
    | {"data.masks_path", "data.regularisation_path", "data.check_mirror"}
    | {"hardware.offload", "hardware.cache", "hardware.unload_encoders"}
)
"""Keys, or whole groups, that cannot change a result. The photos count by their fingerprint, not by their folder."""

# Not `hardware`: precision and device change images by less than a seed does, and provenance records them. Not
# captions, masks and repeats: a photo is judged by its image alone, so that runs that differ in them can be compared.
JUDGED_BY = (
    *("sample.prompts", "sample.seeds", "sample.fresh_seeds", "sample.sampler", "sample.steps", "sample.guidance"),
    *("sample.prefix", "sample.negative", "sample.clip_skip", "sample.width", "sample.height", "sample.strength"),
    *("model.resolution", "model.prediction", "model.zero_terminal_snr"),
    *("evaluate.face", "evaluate.clip", "evaluate.weights", "data.trigger", "data.class_noun"),
)
"""Keys that decide what is drawn and who looks at it."""


def run_signature(run: RunConfig, dataset_fingerprint: str) -> str:
    """Return 16 hex digits over the resolved configuration less the ``NEUTRAL`` keys, and over the photos."""
    return _digest({"config": telling_leaves(run), "photos": dataset_fingerprint})


def telling_leaves(run: RunConfig) -> dict[str, Any]:
    """Return dotted key to value of all that can change a result: everything but the ``NEUTRAL`` keys."""
    return {key: value for key, value in leaves(run).items() if not _belongs(key, NEUTRAL)}


def leaves(run: RunConfig) -> dict[str, Any]:
    """Return dotted key to value of the whole configuration."""
    return _leaves(to_plain(run))


def evaluation_signature(
    run: RunConfig, scoring: int, weights_hashes: Mapping[str, str], dataset_fingerprint: str, model_hash: str
) -> str:
    """Return 16 hex digits over all that a score depends on but the LoRA.

    Scores under different signatures are in different units.

    Args:
        scoring: version of the code that makes scores.
        weights_hashes: sha256 of each scorer's weights, by its name.
        dataset_fingerprint: of the photos that judge; it covers the split.
        model_hash: of the base model that samples are drawn on.
    """
    kept = {key: value for key, value in _leaves(to_plain(run)).items() if _belongs(key, frozenset(JUDGED_BY))}
    scorers = {"weights": dict(weights_hashes), "photos": dataset_fingerprint, "model": model_hash}
    return _digest({"config": kept, "scoring": scoring, **scorers})


def _belongs(key: str, groups: frozenset[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:count]) in groups for count in range(1, len(parts) + 1))


def _leaves(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in plain.items():
        inner = cast("dict[str, Any]", value) if isinstance(value, dict) else None
        leaves |= {f"{prefix}{key}": value} if inner is None else _leaves(inner, f"{prefix}{key}.")
    return leaves


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
