"""``journal.jsonl``: what happened in a run, one JSON object a line, only ever appended to."""

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lorasweep.data.atomic import not_written
from lorasweep.errors import UserError
from lorasweep.records import JsonDict
from lorasweep.track.secrets import redact_all

FILE = "journal.jsonl"
# Losing one of these loses work. Steps need no fsync: a resume takes those after the last saved state again, bit-equal.
DURABLE = frozenset({"start", "checkpoint", "sample", "scores", "strength", "pick", "end"})
"""Kinds whose line is on the disk for good when ``write`` returns."""

REPLACED = frozenset({"sample", "scores", "strength"})
"""Kinds that are written again under a key if they say something else, as when a run is scored again."""


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    seq: int
    """1-based, without gaps."""
    kind: str
    """start, params, step, fixed_batch, checkpoint, sample, scores, validation, strength, pick, tag, note, artifact or
    end."""
    key: str
    """What it is about, such as ``120``; a pair of kind and key is written once. Empty: may be repeated."""
    time: int
    """Milliseconds since 1970."""
    payload: JsonDict


class Journal:
    """The only writer of a run's journal; the caller holds the run's lock."""

    def __init__(self, folder: Path) -> None:
        """Raise UserError if a line in the middle of the file cannot be read."""
        self.path = folder / FILE
        cut_torn_tail(self.path)
        written = list(read(folder))
        self.starts = [entry.payload for entry in written if entry.kind == "start"]
        """Payloads of the ``start`` entries that were there when the file was opened."""
        self._seen = {(entry.kind, entry.key): _content(entry.kind, entry.payload) for entry in written if entry.key}
        self._seq = written[-1].seq if written else 0
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)

    def write(self, kind: str, payload: JsonDict, key: str = "") -> bool:
        """Append one line; return False if kind and key are there already, as after a resume that repeats steps.

        Of the kinds in ``REPLACED`` a line with another payload is appended all the same; the newest one counts.

        Raises:
            UserError: the disk is full; the file is as it was before.
        """
        safe = payload if kind == "step" else redact_all(payload)  # a step holds only numbers, and there are thousands
        content = _content(kind, safe)
        if key and self._seen.get((kind, key)) == content:
            return False
        entry = {"seq": self._seq + 1, "kind": kind, "key": key, "time": time.time_ns() // 1_000_000}
        try:
            _append_whole(self._fd, _dumps({**entry, "payload": safe}).encode() + b"\n")
            if kind in DURABLE:
                os.fsync(self._fd)
        except OSError as error:
            raise not_written(self.path, error) from error
        self._seq += 1
        self._seen[kind, key] = content
        return True

    def sync(self) -> None:
        """Force all lines so far to the disk."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise not_written(self.path, error) from error

    def close(self) -> None:
        """Sync and let go of the file."""
        if self._fd >= 0:
            try:
                self.sync()
            finally:
                os.close(self._fd)
                self._fd = -1


def read(folder: Path) -> Iterator[Entry]:
    """Yield every whole line in order; a torn last line is left out, a missing journal is empty."""
    yield from read_from(folder, 0)[0]


def read_from(folder: Path, offset: int) -> tuple[list[Entry], int]:
    """Return the whole lines from a byte offset on, and the offset after the last of them.

    Raises:
        UserError: a line is no journal entry.
    """
    path = folder / FILE
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]  # the rest may be a line that is being written now
    return [_parse(path, line) for line in whole.splitlines()], offset + len(whole)


def cut_torn_tail(path: Path) -> None:
    """Shorten the file to its last line that reads as an entry.

    A line is written with a single ``write``, so that a killed process leaves one torn line at most; a power cut may
    leave a tail of zeros.
    """
    if not path.exists():
        return
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    while end and not _reads(data[data.rfind(b"\n", 0, end - 1) + 1 : end]):
        end = data.rfind(b"\n", 0, end - 1) + 1
    if end < len(data):
        os.truncate(path, end)


def encode(value: Any) -> Any:
    """Return ``value`` for JSON, which lacks some numbers: they become the words NaN, Infinity and -Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: encode(item) for key, item in cast("JsonDict", value).items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in cast("list[Any]", value)]
    return value


def _dumps(value: JsonDict) -> str:
    try:  # copying every payload through `encode` would cost more than the odd line that has a NaN
        return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    except ValueError:
        return json.dumps(encode(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def _content(kind: str, payload: JsonDict) -> str:
    """Return what a newer line must differ in to be written under the same key; '' if no line may replace another."""
    return _dumps(payload) if kind in REPLACED else ""


def _append_whole(fd: int, line: bytes) -> None:
    """Write the line or nothing: if the disk is full, what was begun is taken back before the error goes on."""
    start = os.fstat(fd).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(fd, line[written:])
    except OSError:
        os.ftruncate(fd, start)
        raise


def _parse(path: Path, line: bytes) -> Entry:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} has a line that is not a journal entry: {line[:80]!r}") from error


def _reads(line: bytes) -> bool:
    try:
        Entry(**json.loads(line))
    except (ValueError, TypeError):
        return False
    return True
