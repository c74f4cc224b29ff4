"""What a value of a run may be, and the sentence that says so if it is not."""

import math

from lorasweep.errors import UserError


def among(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise UserError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise UserError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}")


def positive(key: str, value: float | None) -> None:
    """Raise UserError unless ``value`` is None or a number above zero."""
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"{key} is {value}; it must be a number above zero")


def between(key: str, value: float, low: float, high: float) -> None:
    """Raise UserError unless ``value`` is from ``low`` to ``high``."""
    if not low <= value <= high:
        raise UserError(f"{key} is {value}; it must be between {low} and {high}")


def multiple_of_8(key: str, value: int | None) -> None:
    """Raise UserError unless ``value`` is None or a number of pixels that 8 divides."""
    # an SD-type VAE halves a side three times, and would cut the rest off without a word
    if value is not None and (value <= 0 or value % 8):
        raise UserError(f"{key} is {value}; it must be a number of pixels that 8 divides")


def word(key: str, value: str) -> None:
    """Raise UserError unless ``value`` is no empty text."""
    if not value.strip():
        raise UserError(f"{key} is empty; it must be at least one word")
