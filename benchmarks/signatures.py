"""Signatures of what committed results were made with: hashes of values, so that code may be reworded and moved.

A signature covers the sha256 of weights, constants, the pixels of a few fixed drawings, and answers to a few fixed
questions (a *probe*). A probe cannot ask everything: a benchmark that asks little has a `VERSION`, to be raised when an
answer changes in a way that its probe does not see. `python -m benchmarks.probes` writes down the answers.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ANSWERS = Path(__file__).parent / "results" / "probes.json"
"""Name of a probe to its answers by question, to four decimals."""
NOISE = 1e-3
"""Answers of one code differ by about 1e-6 between processors; a changed value differs by more than this."""


def signature(facts: Mapping[str, Any]) -> str:
    """Return a short hash of plain facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def model_hashes() -> dict[str, str]:
    """Return the sha256 of every shipped model that draws or scores, by the name of its folder.

    Paths are left out, so that a model may move. The oracle's readers are part of the oracle's own signature.
    """
    from lorasweep.portraits.manifest import NAME, WEIGHTS

    listed = json.loads((WEIGHTS / NAME).read_text(encoding="utf-8"))
    models = {Path(name).parent.name: sha256 for name, sha256 in listed.items() if name.endswith(".safetensors")}
    return {name: sha256 for name, sha256 in models.items() if name != "readers"}


def pixels_hash(images: Iterable[Any]) -> str:
    """Return a short hash of the pixels of rendered images, which are the same on every machine."""
    digest = hashlib.sha256()
    for image in map(np.asarray, images):
        digest.update(str(image.shape).encode() + image.tobytes())
    return digest.hexdigest()[:16]


def steady(values: Any, committed: Any, tolerance: float = NOISE, decimals: int = 3) -> Any:
    """Return nested lists of numbers for a hash that does not depend on the processor.

    A value becomes the committed one if it is within the tolerance of that, and is rounded otherwise.
    """
    found, known = np.asarray(values, dtype=np.float64), np.asarray(committed, dtype=np.float64)
    if found.shape == known.shape:
        # rounding alone would flip a hash whenever noise carries a value over the edge of a decimal
        return np.where(np.abs(found - known) <= tolerance, known, found.round(decimals)).tolist()
    return found.round(decimals).tolist()


def answers(name: str, values: Mapping[str, Any], tolerance: float = NOISE, decimals: int = 3) -> dict[str, Any]:
    """Return a probe's numbers, or lists of them, by question, freed of noise by the committed ones of that name."""
    committed = json.loads(ANSWERS.read_text(encoding="utf-8")).get(name, {}) if ANSWERS.exists() else {}
    return {key: steady(value, committed.get(key, []), tolerance, decimals) for key, value in values.items()}
