"""Would the tests notice if a score were turned round? One fault at a time is put into a copy of the code.

Each mutation replaces one piece of `src/lorasweep/evaluate` in a copy; the tests of that room then run on the copy and
must fail. A mutation that no longer fits the code is an error, so that the list cannot go stale.

    python -m benchmarks.mutations            some three minutes; exit code 1 if a mutation survives
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.printing import print_table

ROOT = Path(__file__).parents[1]
TESTS = "tests/evaluate"


@dataclass(frozen=True)
class Mutation:
    """One fault."""

    about: str
    file: str
    """Below ``src/lorasweep/evaluate``."""
    old: str
    new: str


MUTATIONS = (
    Mutation("identity: sign", "identity.py", "@ self.center - self.floor", "@ -self.center - self.floor"),
    Mutation("identity: scale from the training photos", "identity.py", "held_out if apart else train", "train"),
    Mutation("prompt: sign", "prompt.py", "1 - (base_contrast - contrast)", "1 + (base_contrast - contrast)"),
    Mutation("prompt: leakage forgiven", "prompt.py", "shares - _leakage(features, evidence)", "shares"),
    Mutation("geometry: sign", "geometry.py", "nearest - tolerance", "tolerance - nearest"),
    Mutation("geometry: no mirrored references", "geometry.py", ", _mirrored(references)", ""),
    Mutation("geometry: one missed face rules out", "geometry.py", "and chance < FACELESS_CHANCE", "and chance < 1"),
    Mutation("novelty: sign", "novelty.py", "fresh, diversity = 1 - copied", "fresh, diversity = copied"),
    Mutation("artifact: sign", "artifact.py", "share = 1 / (1 + odds)", "share = odds / (1 + odds)"),
    Mutation(
        "artifact: not paired by prompt",
        "artifact.py",
        "usual=drawn.mean(axis=1)",
        "usual=np.broadcast_to(drawn.mean(axis=(0, 1)), drawn.mean(axis=1).shape)",
    ),
    Mutation(
        "artifact: reference set without other seeds", "artifact.py", "if evidence.spare is not None:", "if False:"
    ),
    Mutation(
        "artifact: the checkpoint is its own reference",
        "artifact.py",
        "known = reference(evidence)",
        "known = reference(__import__('dataclasses').replace(evidence, base=features))",
    ),
    Mutation("artifact: photos excuse nothing", "artifact.py", "if photo.any():", "if False:"),
    Mutation("artifact: everything is excused", "artifact.py", "np.clip(mean @ way / length, 0, 1)", "1e3"),
    Mutation(
        "artifact: grain hides what photos excuse",
        "artifact.py",
        "for way in (towards_photos, capped)",
        "for way in (towards_photos,)",
    ),
    Mutation(
        "artifact: photos that are far off excuse nothing",
        "artifact.py",
        "for way in (towards_photos, capped)",
        "for way in (capped,)",
    ),
    Mutation("artifact: a destroyed prompt hides in the mean", "artifact.py", "np.minimum(sh", "np.maximum(sh"),
    Mutation("artifact: no veto", "artifact.py", "sound < DAMAGED_VETO", "sound < 0"),
    Mutation("pick: standing seeds alone confirm", "pick.py", "(known[step] + part.score) / 2", "known[step]"),
    Mutation("pick: fresh seeds alone confirm", "pick.py", "(known[step] + part.score) / 2", "part.score"),
    Mutation("pick: what diverged comes back", "pick.py", "judged = with_diverged(judged)", "pass"),
    Mutation("pick: one destroyed checkpoint is divergence", "table.py", "min(pair) for", "max(pair) for"),
    Mutation("pick: vetoes forgotten", "table.py", "not part.vetoes and ", ""),
    Mutation("pick: somebody else is taken", "table.py", "& ~(likeness < rule.least_likeness)", ""),
    Mutation("strength: the range jumps gaps", "strength.py", " and works[first - 1]", ""),
)


NOTHING = Mutation("nothing is changed", "score.py", "REPLICATES = 1000", "REPLICATES = 1000")
"""Must survive, or no other result says anything."""


def survives(mutation: Mutation) -> bool:
    """Return whether the tests pass on a copy with this mutation. Raise ValueError if it does not fit the code."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for name in ("src", "tests", "conf", "sweeps"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy / name)
        shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns("pictures"))
        file = copy / "src" / "lorasweep" / "evaluate" / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise ValueError(
                f"{mutation.about}: {mutation.old!r} stands {text.count(mutation.old)} times in {file.name}"
            )
        changed = text.replace(mutation.old, mutation.new)
        if "replace(evidence" in mutation.new:
            changed = changed.replace("import dataclass\n", "import dataclass, replace\n", 1)
        file.write_text(changed, encoding="utf-8")
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", TESTS]
        there = {**os.environ, "PYTHONPATH": f"{copy / 'src'}", "OMP_NUM_THREADS": "1"}
        return subprocess.run(words, cwd=copy, env=there, capture_output=True).returncode == 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if not survives(NOTHING):
        raise SystemExit(f"{TESTS} is red on a copy that was not changed")
    found = [(mutation.about, survives(mutation)) for mutation in MUTATIONS]
    print_table(["mutation", "seen"], [[about, "no" if alive else "yes"] for about, alive in found])
    return int(any(alive for _, alive in found))


if __name__ == "__main__":
    sys.exit(main())
