"""Files that are either whole or not there, whenever a process or the power goes."""

import contextlib
import errno
import os
import time
import uuid
from pathlib import Path

from lorasweep.errors import TryAgainError, UserError

SUFFIX = ".tmp"
DAY = 24 * 60 * 60.0
"""Seconds. No file takes as long to write, so that one whose last byte is older is nobody's any more."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, force it to disk, and only then give it its name.

    Raises:
        UserError: the disk is full, or the folder cannot be written; nothing half-written is left behind.
    """
    # not named by process: two containers that share a file system both call theirs 1
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:16]}{SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # there only after an error, or Ctrl-C


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to disk; without it a rename may be lost with the power."""
    if os.name == "nt":  # Windows cannot open a folder, and orders renames itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_temporaries(folder: Path, older_than: float = 0.0) -> None:
    """Remove what killed processes left half-written in ``folder``; do nothing if there is no such folder.

    Args:
        older_than: seconds since the last byte was written: ``DAY`` if other processes may be writing there, 0 if none
            can be.
    """
    for leftover in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError):  # another process sweeps as well, or it is somebody else's to remove
            if not older_than or time.time() - leftover.stat().st_mtime > older_than:
                leftover.unlink()


def not_written(path: Path, error: OSError) -> UserError:
    """Return the error for a file that could not be written; to be raised ``from`` the system's own."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TryAgainError(
            f"The disk is full: {path} could not be written whole; "
            "free some space, then 'lorasweep resume last' goes on with a run that has begun."
        )
    return UserError(f"{path} could not be written ({error.strerror}); a folder that can be written to is needed.")
