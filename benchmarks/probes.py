"""The probes of all benchmarks: fixed questions whose answers are part of the signatures of committed results.

    python -m benchmarks.probes      write down the answers that have changed (half a minute)

Results whose signature changes with an answer must be measured again.
"""

import json
from typing import Any

from benchmarks.printing import write_json
from benchmarks.signatures import ANSWERS, NOISE, answers, steady


def probes() -> dict[str, tuple[dict[str, Any], float]]:
    """Return every probe's present values by question, and the tolerance within which they count as the same."""
    from benchmarks.check import measure as check
    from benchmarks.check import orientation
    from benchmarks.check.orientation_pool import FOUND
    from benchmarks.evaluator import measure as evaluator
    from benchmarks.evaluator import people

    return {
        "finder": (check.finder_probe(), FOUND),
        "orientation": (orientation.probe(), NOISE),
        "looking": (people.probe(), NOISE),
        "evaluator": (evaluator.probe(), NOISE),
    }


def main() -> None:
    """Write down the answers that have changed; the others keep their last digits, and signatures with them."""
    from benchmarks.world import oracle
    from benchmarks.world.readers import READERS
    from lorasweep.portraits.manifest import make_manifest

    # The oracle's readings lie beside its weights, since they are part of its own signature.
    file, (pictures, subjects) = READERS / "readers" / oracle.PROBE, oracle.probe_renders()
    readings = oracle.probe_readings(oracle.load_oracle().readers, pictures, subjects)
    rows = steady(readings, json.loads(file.read_text(encoding="utf-8")), NOISE, 4)
    text = ",\n ".join(json.dumps(row) for row in rows)
    file.write_text(f"[{text}]\n", encoding="utf-8")
    make_manifest(READERS)
    write_json(ANSWERS, {name: answers(name, values, within, 4) for name, (values, within) in probes().items()})


if __name__ == "__main__":
    main()
