"""A file's bytes as a hash: how photos, weights and LoRA files are known wherever they lie."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
