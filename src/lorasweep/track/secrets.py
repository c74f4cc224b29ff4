"""Keep tokens and passwords out of everything that a run writes down."""

import os
import re
from collections.abc import Sequence
from typing import Any, cast

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)
_SECRET_SHAPE = re.compile(
    r"hf_[A-Za-z0-9]{16,}"
    r"|sk-[A-Za-z0-9_-]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}"
    r"|AKIA[0-9A-Z]{16}"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s\"'@]+@")
_SHORTEST = 8
"""Characters: a shorter value, such as "true", would be hidden in ordinary words."""
HIDDEN = "[hidden]"


def redact(text: str) -> str:
    """Return ``text`` without values of secret-looking environment variables, known token shapes and URL passwords."""
    return _without(text, _known_secrets())


def redact_all(value: Any) -> Any:
    """Return ``value`` with every string inside it redacted; keys of dictionaries stay."""
    return _all_without(value, _known_secrets())


def _known_secrets() -> list[str]:
    values = [value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST]
    return sorted(values, key=len, reverse=True)  # one may hold another


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _USER_IN_URL.sub(f"{HIDDEN}@", _SECRET_SHAPE.sub(HIDDEN, text))


def _all_without(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return _without(value, secrets)
    if isinstance(value, dict):
        return {key: _all_without(item, secrets) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_all_without(item, secrets) for item in cast("list[Any]", value)]
    return value
