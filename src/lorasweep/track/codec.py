"""The frozen records as JSON and back, bit for bit."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from lorasweep.evaluate.text import read_notes, read_veto
from lorasweep.outcomes import NoteKind
from lorasweep.records import Dataset, Floats, JsonDict, Note, Photo, Validation, Veto
from lorasweep.track.journal import encode

Record = TypeVar("Record")
_FOLDER: ContextVar[Path] = ContextVar("_FOLDER")
"""The run's folder while one of its records is converted. A converter for each folder would take 12 ms to make."""


def to_json(record: Any, folder: Path) -> Any:
    """Return a record, or a tuple of records, as JSON types; keys stand in the order of the fields.

    Args:
        folder: of the run: paths inside are written relative to it, so that a run may be moved.
    """
    with _within(folder):
        return _converter().unstructure(record)


def from_json(kind: type[Record], payload: Any, folder: Path) -> Record:
    """Return the record that ``to_json`` wrote; fields that are missing, as in older journals, get their defaults."""
    with _within(folder):
        return _converter().structure(payload, kind)


def validation_to_json(found: Validation, base: Validation, folder: Path) -> JsonDict:
    """Return losses with the base model's own beside them, so that a line alone tells how far training has come."""
    return {**to_json(found, folder), "base_held_out": encode(base.held_out), "base_train": encode(base.train)}


@contextmanager
def _within(folder: Path) -> Generator[None]:
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


@cache
def _converter() -> Converter:
    """Return cattrs' converter with hooks for what it does not know, or what is not written as it would write it."""
    made = Converter(detailed_validation=False)  # a journal's line is ours: the first error tells enough
    made.register_unstructure_hook(float, encode)  # NaN and infinities are words in JSON
    made.register_unstructure_hook_func(lambda kind: kind is Floats, lambda array: encode(array.tolist()))
    made.register_structure_hook_func(lambda kind: kind is Floats, lambda rows, _: np.array(rows, dtype=np.float64))
    made.register_unstructure_hook(Path, _path_to_json)
    made.register_structure_hook(Path, lambda text, _: _FOLDER.get() / text)  # an absolute path stays as it is
    made.register_unstructure_hook(Note, lambda note: {"kind": note.kind, **encode(dict(note.values))})
    made.register_structure_hook_func(lambda kind: kind == tuple[Note, ...], lambda rows, _: _notes_from_json(rows))
    veto = make_dict_structure_fn(Veto, made)
    made.register_structure_hook(Veto, lambda row, kind: read_veto(row) if isinstance(row, str) else veto(row, kind))
    # photos lie outside the run, wherever that is moved; their folder stands as the user gave it
    photo = override(
        unstruct_hook=lambda path: None if path is None else str(path.absolute()),
        struct_hook=lambda text, _: Path(text) if text else None,
    )
    made.register_unstructure_hook(Photo, make_dict_unstructure_fn(Photo, made, path=photo, mask=photo))
    made.register_structure_hook(Photo, make_dict_structure_fn(Photo, made, path=photo, mask=photo))
    given = override(unstruct_hook=str, struct_hook=lambda text, _: Path(text))
    made.register_unstructure_hook(Dataset, make_dict_unstructure_fn(Dataset, made, path=given))
    made.register_structure_hook(Dataset, make_dict_structure_fn(Dataset, made, path=given))
    return made


def _path_to_json(path: Path) -> str:
    absolute, inside = path.absolute(), _FOLDER.get().absolute()
    # forward slashes, so that a run may be moved to another system too
    return absolute.relative_to(inside).as_posix() if absolute.is_relative_to(inside) else str(absolute)


def _notes_from_json(rows: list[Any]) -> tuple[Note, ...]:
    notes: list[Note] = []
    for row in rows:
        if isinstance(row, str):  # version 0.1 kept sentences, two facts in one
            notes += read_notes(row)
        else:
            notes.append(Note(NoteKind(row["kind"]), {name: value for name, value in row.items() if name != "kind"}))
    return tuple(notes)
