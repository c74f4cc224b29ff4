"""The words after ``lorasweep caption DIR``, each ``key=value``, read as settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorasweep.captioning.captioners import CaptionerChoice, CaptionerKind
from lorasweep.data.folders import CAPTIONS, names_of
from lorasweep.errors import UserError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """The settings of ``lorasweep caption``."""

    trigger: str
    """The made-up word for the subject."""
    prefix: str = ""
    """Put before every caption; '' puts the trigger there."""
    ending: str = ".txt"
    """Ending of new caption files."""
    overwrite: bool = False
    """Whether existing captions are written again."""
    batch_size: int = 8
    """Images that are captioned at once."""
    choice: CaptionerChoice
    """Which captioner, and its settings; the device may still be ``auto``."""


def settings_of(words: Sequence[str], folder: Path) -> CaptionSettings:
    """Return the settings in ``words``; without ``trigger=`` it is read from the name of a Kohya folder.

    Raises:
        UserError: a word is unknown, a value is not allowed, or nothing names the trigger.
    """
    said = _said(words)
    kind = said.pop("with", CaptionerKind.BLIP)
    if kind is CaptionerKind.BLIP:
        for key in ("threshold", "character_threshold", "escape"):
            if key in said:
                raise UserError(f"{key} is {said[key]}, which is for with=tagger; BLIP writes no tags.")
    of_choice = {key: said.pop(key) for key in CHOICE if key in said}
    trigger = said.pop("trigger", None)
    if trigger is None:
        trigger = (names_of(folder) or (None,))[0]
    if trigger is None:  # a guess would be wrong in every caption
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
"""Words that are fields of ``CaptionerChoice``."""
FLAG, SHARE = "true or false", "a number between 0 and 1"
WORDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "trigger": ("at least one word", _text),
    "with": (" or ".join(CaptionerKind), CaptionerKind),
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
"""Word to its values in words, for errors, and the function that reads one, which raises ValueError for any other."""
