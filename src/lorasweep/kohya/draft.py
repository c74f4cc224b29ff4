"""What is known of Kohya's settings while they are turned into ours: the values, and a line for every key."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from lorasweep.errors import UserError
from lorasweep.kohya.keys import BECOMES, CANNOT, NO_EFFECT, OTHER_BASES, SECRETS, as_number, is_off


class Status(StrEnum):
    """What became of a key of Kohya's settings."""

    CARRIED = "carried"
    """It means the same here."""
    NEAR = "near"
    """It becomes something close to it."""
    DEFAULT = "default"
    """It is not in the file, so that Kohya's default counts."""
    OFF = "off"
    """It is switched off in the file."""
    INERT = "no effect"
    """It changes nothing that matters here."""
    LOST = "lost"
    """There is nothing like it here."""
    UNKNOWN = "unknown"
    """It is no key of Kohya's."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A setting as sd-scripts is told it."""

    key: str
    """Its name in the file; in a dataset file the place and, after a blank, the name."""
    value: Any
    written: Any
    """The value in the file, which the GUI may turn into another."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What became of one key."""

    key: str
    value: Any
    kind: Status
    says: str


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A preset made of Kohya's settings; ``--json`` prints its fields."""

    preset: Path
    """The file that was written."""
    name: str
    base: str
    """The preset that it builds on."""
    lines: tuple[Line, ...]
    """What became of every key of the file, and of Kohya's defaults that count."""
    effective_rate: float | None
    """lr * alpha / rank, the same as in Kohya; None if the file does not say it."""
    train: str
    """The command that trains with it."""


@dataclass
class Draft:
    """sd-scripts' arguments, and the keys of a run that are made of them so far."""

    said: Mapping[str, Said]
    """Settings by sd-scripts' names."""
    defaults: Mapping[str, Any]
    """What counts for settings that are not said, by the same names."""
    family: str
    """sd15, sdxl or flux."""
    sets: dict[str, Any] = field(default_factory=dict[str, Any])
    """Dotted key of a run to its value."""
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    """What became of each key, by its name in the file."""

    def value(self, name: str) -> Any:
        """Return a setting's value, or its default if it is not said or empty."""
        value = self.said[name].value if name in self.said else None
        return self.defaults.get(name) if value is None or value == "" else value

    def text(self, name: str) -> str:
        """Return a setting as text; '' without value and default."""
        value = self.value(name)
        return "" if value is None else str(value).strip()

    def number(self, name: str) -> float:
        """Return a setting as a number; 0 without value and default. Raise UserError if it is none."""
        value = self.value(name)
        number = 0.0 if value is None else as_number(value)
        if number is None or not math.isfinite(number):
            raise UserError(f"{self.name_of(name)} is {value!r}; it must be a number")
        return number

    def whole(self, name: str) -> int:
        """Return a setting as a whole number, which 64.0 is too. Raise UserError if it is none."""
        number = self.number(name)
        if number != int(number):
            raise UserError(f"{self.name_of(name)} is {number}; it must be a whole number")
        return int(number)

    def flag(self, name: str) -> bool:
        """Return whether a switch is on."""
        return not is_off(self.value(name))

    def words(self, name: str) -> list[str]:
        """Return a setting of several words."""
        value = self.value(name)
        if isinstance(value, list):
            return [str(word) for word in cast("list[Any]", value)]
        return [] if value is None else str(value).replace('"', "").split()

    def name_of(self, name: str) -> str:
        """Return the name that the file has for a setting."""
        return self.said[name].key if name in self.said else name

    def carry(self, name: str, key: str, value: Any, note: str = "") -> None:
        """Set ``key=value`` for setting ``name``, as Kohya's default if the file lacks it."""
        self.sets[key] = value
        says = f"{key}={plain(value)}{f' ({note})' if note else ''}"
        if name in self.said:
            self.note(name, Status.CARRIED, says)
        else:
            self.tell(name, Status.DEFAULT, says)

    def near(self, name: str, key: str, value: Any, why: str) -> None:
        """Set ``key=value`` for setting ``name``, which does not mean quite the same."""
        self.sets[key] = value
        self.note(name, Status.NEAR, f"{key}={plain(value)}: {why}")

    def note(self, name: str, status: Status, says: str) -> None:
        """Write the line of a setting that the file has; of one that it lacks, none."""
        if name in self.said:
            self.tell_of(self.said[name], status, says)

    def tell_of(self, said: Said, status: Status, says: str) -> None:
        """Write the line of a key of the file."""
        self.tell(said.key, status, says, shown(said.key, said.written))

    def tell(self, key: str, status: Status, says: str, value: Any = None) -> None:
        """Write a line, also for a key that stands in no file."""
        self.lines[key] = Line(key=key, value=value, kind=status, says=says)


def plain(value: Any) -> str:
    """Return a value as it is written in an override."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(plain(part) for part in cast('list[Any]', value))}]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def shown(key: str, value: Any) -> Any:
    """Return a value fit to be printed: tokens and passwords are hidden."""
    return "…" if key.rpartition(" ")[2] in SECRETS and value else value


def left_over(values: Mapping[str, Any], done: Iterable[str]) -> list[Line]:
    """Return a line for every key of the file that nothing was made of, so that none is dropped in silence.

    Args:
        values: all keys of the file.
        done: those that have a line already.
    """
    seen = set(done)
    lines: list[Line] = []
    for key, value in values.items():
        if key not in seen:
            status, says = _without_effect(key.rpartition(" ")[2], value)
            lines.append(Line(key=key, value=shown(key, value), kind=status, says=says))
    return lines


def _without_effect(key: str, value: Any) -> tuple[Status, str]:
    if key in CANNOT:
        off, reason = CANNOT[key]
        return (Status.OFF, "off") if is_off(value, off) else (Status.LOST, reason)
    if key in NO_EFFECT or key.startswith(OTHER_BASES):
        return Status.INERT, NO_EFFECT.get(key, "read for another base model only")
    if key in BECOMES:
        return (Status.OFF, "off") if is_off(value) else (Status.INERT, "changes nothing beside the other settings")
    return Status.UNKNOWN, "no setting of Kohya's LoRA training that is known here"
