"""A folder of LoRA files as trainers leave it: which files are one training's checkpoints, and in what order.

Names that are understood, without their ending:

- Kohya: ``name-000002`` (epoch), ``name-step00001000``, ``name`` (the last one);
- OneTrainer: ``2026-05-01_12-00-00-save-500-10-0`` (step, epoch, step of the epoch);
- ai-toolkit: ``name_000000250`` (step), ``name`` (the last one);
- diffusers and SimpleTuner: ``checkpoint-500/pytorch_lora_weights``, and one without a folder (the last one).

A file's header is believed before its name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from lorasweep.data.folders import natural_order

ENDING = ".safetensors"
GENERIC = frozenset({"pytorch_lora_weights", "adapter_model", "lora"})
"""Stems that every checkpoint of a training may have; the name of its folder tells them apart."""
JOURNAL = "journal.jsonl"
"""What the folder of a run of our own holds."""

_NUMBERED_FOLDER = re.compile(r"(?:^|[-_])\d+(?:-\d+-\d+)?$")
_ONE_TRAINER = re.compile(r"-save-(\d+)-(\d+)-\d+$")
_STEP = re.compile(r"(?:^|[-_])(?:step|checkpoint)[-_]?(\d+)$", re.IGNORECASE)
_EPOCH = re.compile(r"(?:^|[-_])e(?:poch)?[-_]?(\d+)$", re.IGNORECASE)
_AI_TOOLKIT = re.compile(r"_(\d{9})$")
_KOHYA = re.compile(r"-(\d{6})$")
_NUMBER = re.compile(r"[-_](\d+)$")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a file's training had come, as its header or name says; None if neither does."""

    step: int | None = None
    epoch: int | None = None
    number: int | None = None
    """A number that may be either."""


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """One checkpoint of a folder, in its place."""

    name: str
    """Its path within the folder, with forward slashes."""
    step: int
    """Above zero and above that of the file before it, in the folder's unit."""
    epoch: float
    """0 if nothing tells."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """All checkpoints of a folder, in order."""

    files: tuple[LoraFile, ...]
    unit: str
    """What their numbers are: step, epoch, number (as in the names) or place (1, 2, 3, …)."""
    guessed: bool
    """Whether nothing says how far the last file came; its number follows the distance of those before it."""


def is_lora_folder(path: Path) -> bool:
    """Return whether it is a folder of LoRA files rather than a run of our own, or no folder at all."""
    return path.is_dir() and not (path / JOURNAL).exists() and bool(find_files(path))


def find_files(folder: Path) -> list[str]:
    """Return the safetensors files of the folder and of its numbered sub-folders, in order, the last one last.

    They are paths within the folder, with forward slashes.
    """
    found = _safetensors(folder, "")
    for inner in folder.iterdir():
        if inner.is_dir() and not inner.name.startswith(".") and _NUMBERED_FOLDER.search(inner.name):
            files = _safetensors(inner, f"{inner.name}/")
            # beside a LoRA that has its usual name lie states to resume from, which are none
            found += [name for name in files if PurePosixPath(name).stem in GENERIC] or files
    last = last_ones(found)
    return sorted(found, key=lambda name: (name in last, natural_order(name)))


def _safetensors(folder: Path, prefix: str) -> list[str]:
    files = [file for file in folder.glob(f"*{ENDING}") if file.is_file() and not file.name.startswith(".")]
    return [f"{prefix}{file.name}" for file in files]


def short_name(name: str) -> str:
    """Return the part of a path that tells one checkpoint from another: the file's stem, or its folder's name."""
    path = PurePosixPath(name)
    return path.parent.name if path.parent.name and path.stem in GENERIC else path.stem


def last_ones(names: Sequence[str]) -> frozenset[str]:
    """Return the files without a number of their own, which trainers write at the end.

    Such a name holds no number, or is what is left of a sibling's if its number is taken off: ``person_2`` is the last
    one beside ``person_2-000004``, and the second one beside ``person_1``.
    """
    bare = {_bare(short_name(name)) for name in names}
    return frozenset(name for name in names if short_name(name) in bare or read_name(name) == Progress())


def _bare(word: str) -> str | None:
    """Return ``name`` for ``name-000004`` and the like, None for a word without such a number."""
    found = (pattern.search(word) for pattern in (_STEP, _EPOCH, _AI_TOOLKIT, _KOHYA))
    return next((word[: match.start()] for match in found if match), None)


def read_name(name: str) -> Progress:
    """Return how far a checkpoint's training had come, by its path."""
    word = short_name(name)
    if match := _ONE_TRAINER.search(word):
        return Progress(step=int(match[1]), epoch=int(match[2]))
    if match := _STEP.search(word) or _AI_TOOLKIT.search(word):
        return Progress(step=int(match[1]))
    if match := _EPOCH.search(word) or _KOHYA.search(word):
        return Progress(epoch=int(match[1]))
    match = _NUMBER.search(word)
    return Progress(number=int(match[1])) if match else Progress()


def read_progress(header: Mapping[str, str]) -> Progress:
    """Return how far training had come by a header of ours, Kohya's (``ss_steps``, ``ss_epoch``) or ai-toolkit's."""
    info = _json(header.get("training_info", ""))
    return Progress(
        step=_count(header.get("lorasweep.step") or header.get("ss_steps") or info.get("step")),
        epoch=_count(header.get("ss_epoch") or info.get("epoch")),
    )


def _json(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number > 0 else None


def place(headers: Mapping[str, Mapping[str, str]]) -> Placed:
    """Give every file a number above that of the one before it.

    In steps if all say theirs, else in epochs, else by the numbers of their names, else by their places. The last one
    may say nothing: it follows at the distance of the two before it.

    Args:
        headers: the metadata of each file, by its path within the folder, in the order of ``find_files``.
    """
    names, last = list(headers), last_ones(list(headers))
    known = {name: _progress(name, header, name in last) for name, header in headers.items()}
    unit, order, guessed = "place", {name: number for number, name in enumerate(names, start=1)}, False
    for word in ("step", "epoch", "number"):
        numbers = {name: getattr(known[name], word) for name in names}
        if found := _order(numbers, last):
            unit, order, guessed = word, found, None in numbers.values()
            break
    placed = [LoraFile(name=name, step=order[name], epoch=float(known[name].epoch or 0)) for name in order]
    return Placed(files=tuple(placed), unit=unit, guessed=guessed)


def _progress(name: str, header: Mapping[str, str], last: bool) -> Progress:
    # a number at the end of the last file's name belongs to the name
    told, named = read_progress(header), Progress() if last else read_name(name)
    number = named.number or named.epoch or named.step
    return Progress(step=told.step or named.step, epoch=told.epoch or named.epoch, number=number)


def _order(numbers: Mapping[str, int | None], last: frozenset[str]) -> dict[str, int] | None:
    """Return names with their numbers, ascending; None if these numbers make no order."""
    told = sorted((number, name) for name, number in numbers.items() if number)
    silent = [name for name, number in numbers.items() if not number]
    if not told or len(silent) > 1 or not last.issuperset(silent) or len({number for number, _ in told}) < len(told):
        return None
    order = {name: number for number, name in told}
    if silent:  # its name says nothing: the spacing of the checkpoints before it is the best guess
        (before, after) = [0, *order.values()][-2:]
        order[silent[0]] = 2 * after - before
    return order
