"""The hashes of every shipped weight file: made once when the models are built, checked whenever one is loaded."""

import hashlib
import json
from pathlib import Path

NAME = "MANIFEST.json"
WEIGHTS = Path(__file__).parent / "weights"
"""Where the shipped models are."""


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tracked(folder: Path, part: str = "") -> list[Path]:
    """Every file below `folder`/`part` but the manifest, sorted; hidden and half-written ones are left out."""
    files = (path for path in (folder / part).rglob("*") if path.is_file())
    return sorted(path for path in files if path.name != NAME and path.suffix != ".part" and path.name[0] != ".")


def make_manifest(folder: Path = WEIGHTS) -> dict[str, str]:
    """Write `folder`/MANIFEST.json: relative path to sha256 of every file; returns it."""
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in tracked(folder)}
    part = folder / f"{NAME}.part"
    part.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / NAME)
    return hashes


def verify(folder: Path = WEIGHTS, part: str = "") -> None:
    """Check every file below `folder`/`part` against the manifest in `folder`; a folder without one is not checked.

    Raises:
        ValueError: when `part` does not exist, or a file is missing, altered or unknown to the manifest.
    """
    if not (folder / part).is_dir():
        raise ValueError(f"{folder / part} does not exist; python -m benchmarks.world.build makes it")
    if not (folder / NAME).exists():
        return
    listed = json.loads((folder / NAME).read_text(encoding="utf-8"))
    within = f"{part}/" if part else ""
    expected = {name: digest for name, digest in listed.items() if name.startswith(within)}
    found = {path.relative_to(folder).as_posix(): path for path in tracked(folder, part)}
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or sha256(found[name]) != expected.get(name):
            raise ValueError(
                f"{folder / name} is not the file that {NAME} lists; install again or make it with "
                "python -m benchmarks.world.build"
            )
