"""What captioners have in common: which one is asked for, where its model lies, what a model folder must hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from lorasweep.data.hub import HUB_ID, fetch_folder
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.vision.embedder import first_sentence

WEIGHTS = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.pb")  # reading one may run code
"""Endings of weights that are never read."""


class CaptionerKind(StrEnum):
    """What writes the captions."""

    BLIP = "blip"
    """Sentences about photos."""
    TAGGER = "tagger"
    """Booru tags of drawings."""


# Of BLIP the large model: Kohya's utility runs it, and the hub has the smaller one as a pickle only.
DEFAULTS = {
    CaptionerKind.BLIP: ("Salesforce/blip-image-captioning-large", "2227ac38c9f16105cb0412e7cab4759978a8fd90"),
    CaptionerKind.TAGGER: ("SmilingWolf/wd-vit-tagger-v3", "7f6b584d0bd3f55c4531f14ba3d4761b2bccdc0f"),
}
"""Hub id and commit by kind."""


class Captioner(Protocol):
    """Writes one line about each image, the same line every time."""

    sha256: str
    """Of the weights."""
    settings: Mapping[str, Any]
    """Everything else that decides the words."""

    def caption(self, pictures: Iterable[Pixels]) -> list[str]:
        """Return one caption, without the trigger, for each image, [H, W, 3] uint8 of any size.

        Args:
            pictures: consumed one by one, so that a generator holds one photo in memory; they form one batch.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionerChoice:
    """Which captioner, and its settings."""

    kind: CaptionerKind = CaptionerKind.BLIP
    model: str | None = None
    """A local folder or a hub id; None is the model of this kind in ``DEFAULTS``."""
    revision: str | None = None
    """The commit of a hub id."""
    offline: bool = False
    """Whether a hub id is looked up in the cache only."""
    device: str = "cpu"
    threshold: float = 0.35
    """Probability, 0 to 1, from which a general tag is written."""
    character_threshold: float | None = None
    """The same for names of known characters; None writes none, since the trigger is the name."""
    escape: bool = False
    """Whether brackets in tags get a backslash, as prompts of A1111 and ComfyUI need it."""

    def pinned(self) -> "CaptionerChoice":
        """Return the choice with the default model and commit of its kind, unless others are named."""
        model, revision = DEFAULTS[self.kind]
        if self.model is None:
            return replace(self, model=model, revision=self.revision or revision)
        return replace(self, revision=self.revision or revision) if self.model == model else self


def model_folder(choice: CaptionerChoice, patterns: Sequence[str]) -> Path:
    """Return the model's folder on this disk, fetched from the hub if an id is named.

    Args:
        patterns: file names to fetch, ``*`` standing for anything.

    Raises:
        UserError: the model is not there, or is a single file.
        TryAgainError: the hub does not answer.
    """
    choice = choice.pinned()
    name = str(choice.model)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        what = "a pickle, which may run code" if any(path.match(ending) for ending in PICKLES) else "a file"
        raise UserError(
            f"model is {name!r}, {what}; give a folder that holds {WEIGHTS}, or a hub id such as "
            f"{DEFAULTS[choice.kind][0]}."
        )
    if not HUB_ID.fullmatch(name):
        raise UserError(
            f"model is {name!r}, which is no folder here; give one, or a hub id such as {DEFAULTS[choice.kind][0]}."
        )
    return fetch_folder(name, choice.revision, patterns, key="model", offline=choice.offline)


def require_files(folder: Path, names: Sequence[str], what: str) -> None:
    """Raise UserError if a model folder lacks one of the files; ``a or b`` asks for either.

    Args:
        what: a model folder of this kind, in words.
    """
    missing = [name for name in names if not any((folder / either).is_file() for either in name.split(" or "))]
    if not missing:
        return
    pickles = sorted(path.name for ending in PICKLES for path in folder.glob(ending))
    if WEIGHTS in missing and pickles:
        raise UserError(
            f"model is {str(folder)!r}, whose weights are {pickles[0]}, which is not read since it may run code; "
            f"it must hold {WEIGHTS}."
        )
    raise UserError(f"model is {str(folder)!r}, which lacks {', '.join(missing)}; it must be {what}.")


def unreadable(folder: Path, error: Exception, what: str) -> UserError:
    """Return the error for a model that cannot be loaded, to be raised ``from`` the library's own."""
    return UserError(f"model is {str(folder)!r}, which cannot be read ({first_sentence(error)}); it must be {what}.")
