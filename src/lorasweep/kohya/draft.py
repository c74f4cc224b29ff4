"""What is known of Kohya's settings while they are turned into ours: the values, and a line for every key."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from lorasweep.errors import UserError
from lorasweep.kohya.keys import BECOMES, CANNOT, NO_EFFECT, OTHER_BASES, SECRETS, as_number, is_off

CARRIED, NEAR, DEFAULT, OFF, INERT, LOST, UNKNOWN = "carried", "near", "default", "off", "no effect", "lost", "unknown"
"""What became of a key: the same thing here; something close to it; Kohya's default for a key that is not there;
switched off there; nothing that matters here; nothing like it here; no key of Kohya's."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A setting as sd-scripts is told it."""

    key: str
    """What the file calls it."""
    value: Any
    written: Any
    """The value in the file, where the GUI makes another of it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What became of one key."""

    key: str
    value: Any
    kind: str
    """One of the words above."""
    says: str


@dataclass
class Draft:
    """sd-scripts' arguments on one side, keys of a run on the other."""

    said: Mapping[str, Said]
    """By sd-scripts' names."""
    defaults: Mapping[str, Any]
    """What counts where nothing is said."""
    family: str
    """sd15, sdxl or flux."""
    sets: dict[str, Any] = field(default_factory=dict[str, Any])
    """Values by dotted key of a run."""
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    """By the file's names."""

    def value(self, name: str) -> Any:
        """A setting as it is, or its default."""
        value = self.said[name].value if name in self.said else None
        return self.defaults.get(name) if value is None or value == "" else value

    def text(self, name: str) -> str:
        """A setting as text; empty where neither it nor a default is there."""
        value = self.value(name)
        return "" if value is None else str(value).strip()

    def number(self, name: str) -> float:
        """A setting as a number; 0 where neither it nor a default is there."""
        value = self.value(name)
        number = 0.0 if value is None else as_number(value)
        if number is None or not math.isfinite(number):
            raise UserError(f"{self.name_of(name)} is {value!r}; it must be a number")
        return number

    def whole(self, name: str) -> int:
        """A setting as a whole number; 64.0 is one."""
        number = self.number(name)
        if number != int(number):
            raise UserError(f"{self.name_of(name)} is {number}; it must be a whole number")
        return int(number)

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        return not is_off(self.value(name))

    def words(self, name: str) -> list[str]:
        """A setting of several words."""
        value = self.value(name)
        if isinstance(value, list):
            return [str(word) for word in cast("list[Any]", value)]
        return [] if value is None else str(value).replace('"', "").split()

    def name_of(self, name: str) -> str:
        """What the file calls a setting."""
        return self.said[name].key if name in self.said else name

    def carry(self, name: str, key: str, value: Any, note: str = "") -> None:
        """Setting ``name`` becomes ``key=value``; where the file lacks it, as Kohya's default."""
        self.sets[key] = value
        says = f"{key}={plain(value)}{f' ({note})' if note else ''}"
        if name in self.said:
            self.note(name, CARRIED, says)
        else:
            self.lines[name] = Line(key=name, value=None, kind=DEFAULT, says=says)

    def near(self, name: str, key: str, value: Any, why: str) -> None:
        """Setting ``name`` becomes ``key=value``, which is not quite the same."""
        self.sets[key] = value
        self.note(name, NEAR, f"{key}={plain(value)}: {why}")

    def note(self, name: str, kind: str, says: str) -> None:
        """The line of a setting that the file has; for one that it lacks, nothing."""
        if name in self.said:
            said = self.said[name]
            self.lines[said.key] = Line(key=said.key, value=shown(said.key, said.written), kind=kind, says=says)


def plain(value: Any) -> str:
    """A value as it is written in an override."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(plain(part) for part in cast('list[Any]', value))}]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def shown(key: str, value: Any) -> Any:
    """A value fit to be printed."""
    return "…" if key.rpartition(" ")[2] in SECRETS and value else value


def left_over(values: Mapping[str, Any], done: Iterable[str]) -> list[Line]:
    """A line for every key of the file that nothing was made of."""
    seen = set(done)
    lines: list[Line] = []
    for key, value in values.items():
        if key not in seen:
            kind, says = _verdict(key.rpartition(" ")[2], value)
            lines.append(Line(key=key, value=shown(key, value), kind=kind, says=says))
    return lines


def _verdict(key: str, value: Any) -> tuple[str, str]:
    if key in CANNOT:
        off, reason = CANNOT[key]
        return (OFF, "off") if is_off(value, off) else (LOST, reason)
    if key in NO_EFFECT or key.startswith(OTHER_BASES):
        return INERT, NO_EFFECT.get(key, "read for another base model only")
    if key in BECOMES:
        return (OFF, "off") if is_off(value) else (INERT, "changes nothing beside the other settings")
    return UNKNOWN, "no setting of Kohya's LoRA training that is known here"
