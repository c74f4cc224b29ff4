"""A file's bytes as a hash: how photos, weights and LoRA files are known wherever they lie."""

import hashlib
from pathlib import Path

from lorasweep.errors import UserError


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_unchanged(path: Path, sha256: str) -> bytes:
    """The bytes of a file that was read before.

    Raises:
        UserError: they are no longer those whose hash is ``sha256``, so that nothing may be kept under it.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} was changed after the run began; start a new run, or put the file back and resume.")
    return content
