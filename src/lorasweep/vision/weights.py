"""Files that hold what a scorer learned: found, and known by their hash."""

from pathlib import Path

from lorasweep.data.errors import UserError
from lorasweep.data.hashes import file_sha256


def checked_sha256(path: Path, expected: str | None, key: str) -> str:
    """The file's sha256. Raises UserError where the file is missing or its hash is not the ``expected`` one."""
    if not path.is_file():
        raise UserError(f"{key} is {str(path)!r}, which does not exist; it must be a local weights file.")
    found = file_sha256(path)
    if expected and found != expected.lower():
        raise UserError(f"{key} is {str(path)!r}, whose sha256 is {found}; {key}_sha256 says {expected}.")
    return found
