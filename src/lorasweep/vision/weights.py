"""Files that hold what a scorer learned: found, and known by their hash."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorasweep.data.hashes import file_sha256
from lorasweep.errors import UserError


def checked_sha256(path: Path, expected: str | None, key: str) -> str:
    """The file's sha256. Raises UserError where the file is missing or its hash is not the ``expected`` one."""
    if not path.is_file():
        raise UserError(f"{key} is {str(path)!r}, which does not exist; it must be a local weights file.")
    found = file_sha256(path)
    if expected and found != expected.lower():
        raise UserError(f"{key} is {str(path)!r}, whose sha256 is {found}; {key}_sha256 says {expected}.")
    return found


def require_whole(model: Any, found: Mapping[str, Any]) -> None:
    """Raise ValueError where a torch module's weights were not all in the file, by transformers' ``loading_info``.

    It puts random numbers there, and says so in its log only.
    """
    needed = {name for name, _ in model.named_parameters()}
    for key in (*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])):
        if key in needed:
            raise ValueError(f"{key} is missing or has another shape")


def first_sentence(error: Exception) -> str:
    """What a library says before it explains itself at length, without a full stop."""
    return re.split(r"\.\s|\n", str(error).strip())[0][:200].removesuffix(".")
