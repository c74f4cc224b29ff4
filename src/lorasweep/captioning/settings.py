"""The words after ``lorasweep caption DIR``, each ``key=value``, as settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorasweep.captioning.captioners import DEFAULTS, CaptionerChoice
from lorasweep.data.folders import CAPTIONS, names_of
from lorasweep.errors import UserError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """What ``lorasweep caption`` was told."""

    trigger: str
    """The made-up word that calls the subject."""
    prefix: str = ""
    """Put before every caption; '' is the trigger."""
    ending: str = ".txt"
    """Of the caption files."""
    overwrite: bool = False
    """Whether captions that are there are written again."""
    batch_size: int = 8
    """Pictures that are looked at together."""
    choice: CaptionerChoice
    """Which captioner, and what it is told; its device may still be ``auto``."""


def settings_of(words: Sequence[str], folder: Path) -> CaptionSettings:
    """The settings in ``words``; the trigger may stand in the folder's name, as in Kohya's.

    Raises:
        UserError: a word that is not known, a value that it cannot have, or no trigger.
    """
    said = _said(words)
    kind = said.pop("with", "blip")
    if kind == "blip":
        for key in ("threshold", "character_threshold", "escape"):
            if key in said:
                raise UserError(f"{key} is {said[key]}, which is for with=tagger; BLIP writes no tags.")
    of_choice = {key: said.pop(key) for key in CHOICE if key in said}
    trigger = said.pop("trigger", None)
    if trigger is None:
        trigger = (names_of(folder) or (None,))[0]
    if trigger is None:
        raise UserError("trigger is not chosen; add trigger=WORD, the made-up word that will call the subject.")
    choice = CaptionerChoice(kind=kind, **{"device": "auto", **of_choice})
    return CaptionSettings(trigger=trigger, choice=choice, **said)


def _said(words: Sequence[str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or key not in WORDS:
            raise UserError(f"caption was told {word!r}; it accepts {', '.join(f'{name}=' for name in WORDS)}.")
        expected, read = WORDS[key]
        try:
            said[key] = read(text.strip())
        except ValueError as error:
            raise UserError(f"{key} is {text!r}; it must be {expected}.") from error
    return said


def _text(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return read


def _flag(text: str) -> bool:
    return _one_of(*TRUE, *FALSE)(text.lower()) in TRUE


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


CHOICE = ("model", "revision", "offline", "device", "threshold", "character_threshold", "escape")
"""Words that say something to the captioner."""
FLAG, SHARE = "true or false", "a number between 0 and 1"
WORDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "trigger": ("at least one word", _text),
    "with": (" or ".join(DEFAULTS), _one_of(*DEFAULTS)),
    "model": ("a folder or a hub id", _text),
    "revision": ("the commit of a hub id", _text),
    "offline": (FLAG, _flag),
    "prefix": ("at least one word", _text),
    "ending": (" or ".join(CAPTIONS), _one_of(*CAPTIONS)),
    "overwrite": (FLAG, _flag),
    "device": ("auto, cpu, cuda or cuda:N", _text),
    "batch_size": ("a whole number above zero", _count),
    "threshold": (SHARE, _share),
    "character_threshold": (SHARE, _share),
    "escape": (FLAG, _flag),
}
"""What may be said: in words what is expected, and how it is read."""
