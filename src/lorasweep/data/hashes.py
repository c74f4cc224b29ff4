"""A file's bytes as a hash: how photos, weights and LoRA files are known wherever they lie."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from lorasweep.data.atomic import write_atomically
from lorasweep.errors import UserError

HASHES = "hashes.json"
"""What a run's folder knows of its large files: sha256 by name, with the size and time of change that it holds for."""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path, memory: Path, *, reread: bool = False) -> str:
    """Return the sha256 of a file's bytes, read again only if its size or time of change is another.

    Args:
        memory: a JSON file in a folder that holds ``path``, or beside it; read and written here.
        reread: trust nothing but the bytes.
    """
    entry = _recalled(memory).get(_name(path, memory))
    stamp = _stamp(path)  # before reading, so that a change while it is read is seen the next time
    if entry is not None and not reread and stamp.items() <= entry.items():
        return str(entry["sha256"])
    sha256 = file_sha256(path)
    _keep(path, {"sha256": sha256, **stamp}, memory)
    return sha256


def remember_sha256(path: Path, sha256: str, memory: Path) -> None:
    """Keep the sha256 of a file that was written just now for ``known_sha256``."""
    _keep(path, {"sha256": sha256, **_stamp(path)}, memory)


def read_unchanged(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file that was read before.

    Raises:
        UserError: they are no longer those whose hash is ``sha256``, so that nothing may be kept under it.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} was changed after the run began; start a new run, or put the file back and resume.")
    return content


def _stamp(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _name(path: Path, memory: Path) -> str:
    """Relative if inside the memory's folder, so that a run that was moved with its times keeps its hashes."""
    inside = path.is_relative_to(memory.parent)
    return path.relative_to(memory.parent).as_posix() if inside else str(path.absolute())


def _recalled(memory: Path) -> dict[str, dict[str, Any]]:
    try:
        return json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet: everything is read once
        return {}


def _keep(path: Path, entry: dict[str, Any], memory: Path) -> None:
    # two processes may each lose what the other kept; that costs one more reading and never a wrong hash
    known = {**_recalled(memory), _name(path, memory): entry}
    with contextlib.suppress(OSError, UserError):  # the folder may be on a disk for reading only
        write_atomically(memory, json.dumps(known, indent=1, sort_keys=True).encode())
