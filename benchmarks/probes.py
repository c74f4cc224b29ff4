"""Signatures of what committed results were made with: of values, so that code may be reworded and moved.

A signature is over hashes of weights, constants, pixels of a few fixed drawings, and answers to a few fixed questions.
A probe cannot ask everything: a benchmark that asks little has a `VERSION`, to be raised when an answer changes.

    python -m benchmarks.probes      write down the answers that have changed; what they speak of must be measured anew
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.printing import write_json

ANSWERS = Path(__file__).parent / "results" / "probes.json"
"""Name of a probe to its answers by question, to four decimals."""
FOUND = 0.01
"""Share of a picture's side: a finder chooses between windows, so that noise may move its landmarks a little."""


def signature(facts: Mapping[str, Any]) -> str:
    """Return a short hash of plain facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def model_hashes() -> dict[str, str]:
    """Return the sha256 of every model that draws or looks, by a name that does not say where it lies.

    Those that read for the oracle are left out, since they are part of its own signature.
    """
    from lorasweep.portraits.manifest import NAME, WEIGHTS

    listed = json.loads((WEIGHTS / NAME).read_text(encoding="utf-8"))
    models = {Path(name).parent.name: sha256 for name, sha256 in listed.items() if name.endswith(".safetensors")}
    return {name: sha256 for name, sha256 in models.items() if name != "readers"}


def pixels_hash(pictures: Iterable[Any]) -> str:
    """Return a short hash of pictures, which are the same on every machine."""
    digest = hashlib.sha256()
    for picture in map(np.asarray, pictures):
        digest.update(str(picture.shape).encode() + picture.tobytes())
    return digest.hexdigest()[:16]


def steady(values: Any, committed: Any, tolerance: float = 1e-3, decimals: int = 3) -> Any:
    """Return numbers for a signature, freed of noise: the committed ones as far as these are within the tolerance."""
    from benchmarks.world.oracle import steady

    return steady(values, committed, tolerance, decimals)


def answers(name: str, values: Mapping[str, Any], tolerance: float = 1e-3, decimals: int = 3) -> dict[str, Any]:
    """Return a probe's numbers, or lists of them, by question, freed of noise by those that are committed for it."""
    committed = json.loads(ANSWERS.read_text(encoding="utf-8")).get(name, {}) if ANSWERS.exists() else {}
    return {key: steady(value, committed.get(key, []), tolerance, decimals) for key, value in values.items()}


def faces_found(find: Any) -> dict[str, Any]:
    """Return how many faces a finder sees in three fixed drawings, and the landmarks in shares of the side."""
    from lorasweep.portraits.people import Scene, sample_identity
    from lorasweep.portraits.render import render

    side, told = 256, {}
    for place, framing in enumerate(("portrait", "wide", "close-up")):
        who = sample_identity(np.random.default_rng([20265, place]))
        found = find(np.asarray(render(who, Scene(framing=framing), side, place)))
        told[framing] = [len(found.boxes), *(found.landmarks[:1] / side).ravel().tolist()]
    return told


def probes() -> dict[str, tuple[dict[str, Any], float]]:
    """Return every probe's present values by question, and the tolerance within which they count as the same."""
    from benchmarks.check import measure as check
    from benchmarks.check import orientation
    from benchmarks.evaluator import measure as evaluator
    from benchmarks.evaluator import world

    return {
        "finder": (check.finder_probe(), FOUND),
        "orientation": (orientation.probe(), 1e-3),
        "looking": (world.probe(), 1e-3),
        "evaluator": (evaluator.probe(), 1e-3),
    }


def main() -> None:
    """Write down the answers that have changed; the others keep their last digits, and signatures with them."""
    from benchmarks.world import oracle
    from benchmarks.world.readers import READERS
    from lorasweep.portraits.manifest import make_manifest

    file, (pictures, subjects) = READERS / "readers" / oracle.PROBE, oracle.probe_renders()
    readings = oracle.probe_readings(oracle.load_oracle().readers, pictures, subjects)
    rows = steady(readings, json.loads(file.read_text(encoding="utf-8")), oracle.NOISE, 4)
    text = ",\n ".join(json.dumps(row) for row in rows)
    file.write_text(f"[{text}]\n", encoding="utf-8")
    make_manifest(READERS)
    write_json(ANSWERS, {name: answers(name, values, within, 4) for name, (values, within) in probes().items()})


if __name__ == "__main__":
    main()
