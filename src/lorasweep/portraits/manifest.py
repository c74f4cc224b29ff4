"""The sha256 of every shipped weight file: written when the models are built, checked whenever one is loaded."""

import hashlib
import json
from pathlib import Path

from lorasweep.errors import UserError

NAME = "MANIFEST.json"
WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped models."""


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tracked(folder: Path, part: str = "") -> list[Path]:
    """Return every file below `folder`/`part` but the manifest, sorted, without hidden and half-written ones."""
    files = (path for path in (folder / part).rglob("*") if path.is_file())
    return sorted(path for path in files if path.name != NAME and path.suffix != ".part" and path.name[0] != ".")


def make_manifest(folder: Path = WEIGHTS) -> dict[str, str]:
    """Write `folder`/MANIFEST.json and return it: relative path of every file to its sha256."""
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in tracked(folder)}
    part = folder / f"{NAME}.part"
    part.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / NAME)  # in one step, so that nobody reads half a manifest
    return hashes


def verify(folder: Path = WEIGHTS, part: str = "") -> None:
    """Check every file below `folder`/`part` against the manifest in `folder`; without a manifest, check nothing.

    Raises:
        UserError: `part` does not exist, or a file is missing, altered or unknown to the manifest.
    """
    if not (folder / part).is_dir():
        raise UserError(f"{folder / part} does not exist; python -m benchmarks.world.build makes it")
    if not (folder / NAME).exists():
        return
    listed = json.loads((folder / NAME).read_text(encoding="utf-8"))
    within = f"{part}/" if part else ""
    expected = {name: digest for name, digest in listed.items() if name.startswith(within)}
    found = {path.relative_to(folder).as_posix(): path for path in tracked(folder, part)}
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or sha256(found[name]) != expected.get(name):
            raise UserError(
                f"{folder / name} is not the file that {NAME} lists; install again or make it with "
                "python -m benchmarks.world.build"
            )
