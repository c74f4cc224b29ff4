"""Files that are either whole or not there, whenever the power goes."""

import contextlib
import errno
import os
from pathlib import Path

from lorasweep.data.errors import UserError

SUFFIX = ".tmp"


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, force it to disk, and only then give it its name.

    Raises:
        UserError: the disk is full, or the folder cannot be written; nothing half-written is left behind.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}{SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _explained(error, path, len(data)) from error


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to disk; without it a rename may be lost with the power."""
    if os.name == "nt":  # Windows cannot open a folder, and orders renames itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed process left half-written in ``folder``, which no other process may be writing to."""
    for leftover in folder.glob(f".*{SUFFIX}"):
        leftover.unlink(missing_ok=True)


def _explained(error: OSError, path: Path, size: int) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"The disk is full: {path} needs {size / 1e6:.1f} MB; free some space and resume, nothing was half-written."
        )
    return UserError(f"{path} could not be written ({error.strerror}); a folder that can be written to is needed.")
