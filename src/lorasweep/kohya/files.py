"""Read what Kohya's users have: the GUI's JSON, a TOML for ``--config_file``, a command line, or a dataset file."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from lorasweep.errors import UserError
from lorasweep.kohya.dataset_file import DatasetFile, dataset_file
from lorasweep.kohya.keys import is_off

LARGEST = 2_000_000
"""Bytes of a file that may still be settings, which take some kilobytes."""
SCRIPTS = {"train_network": "sd15", "sdxl_train_network": "sdxl", "flux_train_network": "flux"}
"""sd-scripts' program for LoRAs to the model family that it trains."""
LISTS = frozenset({"network_args", "optimizer_args", "lr_scheduler_args", "text_encoder_lr", "base_weights"})
"""Arguments that take several words."""
MARKS = ("network_module", "network_dim", "LoRA_type")
"""Keys of which every LoRA's settings have one, and settings of other trainings none."""


class FileKind(StrEnum):
    """What a file of settings is."""

    GUI = "gui"
    """The JSON that Kohya's GUI saves."""
    TOML = "toml"
    """sd-scripts' own names, for ``--config_file``."""
    COMMAND = "command"
    """A command line of sd-scripts."""
    DATASET = "dataset"
    """A dataset file: folders and captions alone, no settings of a LoRA."""


@dataclass(frozen=True, kw_only=True)
class KohyaFile:
    """Settings as they were written, nothing understood yet."""

    path: Path
    kind: FileKind
    values: Mapping[str, Any]
    script: str | None = None
    """A key of SCRIPTS; None unless a command line names it."""
    dataset: DatasetFile | None = None
    """The file that ``dataset_config`` names, or the settings themselves if they are a dataset file."""


def read_kohya(path: Path) -> KohyaFile:
    """Return the settings in ``path``.

    Raises:
        UserError: the file is none of the kinds, or its settings are not those of a LoRA.
    """
    text = _text_of(path)
    if re.search(r"\bdatasets\b", text) and (tables := _tables(path, text)) and "datasets" in tables:
        return KohyaFile(path=path, kind=FileKind.DATASET, values={}, dataset=dataset_file(path, tables))
    if text.lstrip().startswith(("{", "[{")) or path.suffix.lower() == ".json":
        file = _read_json(path, text)
    elif path.suffix.lower() == ".toml" or not re.search(r"(?m)(^|\s)--\w", text):
        file = KohyaFile(path=path, kind=FileKind.TOML, values=_read_toml(path, text))
    else:
        file = _read_command(path, text)
    if not any(mark in file.values for mark in MARKS):
        raise UserError(
            f"{path} holds no settings of a LoRA, none of {', '.join(MARKS)}; it must be settings of Kohya's LoRA tab "
            "or of train_network.py, or a dataset file, not of DreamBooth or fine-tuning"
        )
    name = file.values.get("dataset_config")
    return file if is_off(name) else replace(file, dataset=_dataset_config(path, str(name)))


def _tables(path: Path, text: str) -> dict[str, Any] | None:
    """Return the tables of a TOML or JSON file; None if it is neither, or holds something else."""
    try:
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _dataset_config(path: Path, name: str) -> DatasetFile:
    """Return the dataset file that settings name: from the working directory as in sd-scripts, or beside them."""
    place = _beside(path, name)
    if place is None:
        raise UserError(
            f"{path} names the dataset file {name!r}, which is not here; put it beside {path.name}, or take "
            "dataset_config out and name the folder of the photos after the settings"
        )
    if place.suffix.lower() not in (".toml", ".json"):
        raise UserError(f"dataset_config is {name!r}; it must end in .toml or .json")
    tables = _tables(place, _text_of(place))
    if tables is None:
        raise UserError(f"{place} is no dataset file; it must be {place.suffix[1:].upper()} with datasets in it")
    return dataset_file(place, tables)


def _beside(path: Path, *names: str) -> Path | None:
    return next((place for name in names for place in (Path(name), path.parent / name) if place.is_file()), None)


def _text_of(path: Path) -> str:
    if path.is_dir():
        raise UserError(
            f"{str(path)!r} is a folder; it must be a JSON file of Kohya's GUI, a TOML file or a command line"
        )
    content = path.read_bytes()
    if len(content) > LARGEST or b"\0" in content:
        raise UserError(f"{str(path)!r} is no text of settings; it must be a JSON, TOML or command line of Kohya's")
    try:
        return content.decode("utf-8-sig")  # Notepad writes a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{str(path)!r} is not in UTF-8 (byte {error.start}); save it as UTF-8") from error


def _read_json(path: Path, text: str) -> KohyaFile:
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{str(path)!r} is not JSON{where}; it must be settings that Kohya's GUI saved") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{str(path)!r} holds a {type(values).__name__}; it must be settings by name, as Kohya's GUI saves"
        )
    settings = cast("dict[str, Any]", values)
    # some tools write sd-scripts' own names as JSON: what a config file would hold
    kind = FileKind.TOML if "network_module" in settings and "LoRA_type" not in settings else FileKind.GUI
    return KohyaFile(path=path, kind=kind, values=settings)


def _read_toml(path: Path, text: str) -> dict[str, Any]:
    """Return the settings of all sections in one table, as sd-scripts reads them."""
    try:
        sections = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is neither JSON nor TOML nor a command line ({error})") from error
    flat: dict[str, Any] = {}
    for key, value in sections.items():
        flat |= cast("dict[str, Any]", value) if isinstance(value, dict) else {key: value}
    return flat


def _read_command(path: Path, text: str) -> KohyaFile:
    lines = [line for line in _logical_lines(text) if re.search(r"train\w*\.py|--network_module", line)]
    if len(lines) != 1:
        raise UserError(
            f"{path} holds {len(lines)} commands of sd-scripts; it must hold one that calls train_network.py"
        )
    words = _words(path, lines[0], path.suffix.lower() in (".bat", ".cmd", ".ps1") or _is_windows(text))
    place = next((n for n, word in enumerate(words) if word.lower().endswith(".py")), None)
    script = None if place is None else re.split(r"[\\/]", words[place])[-1][:-3].lower()
    if script is not None and script not in SCRIPTS:
        known = ", ".join(f"{name}.py" for name in SCRIPTS)
        raise UserError(f"{path} calls {script}.py; it must call {known}")
    # of accelerate's own arguments only those are told that would make larger steps
    launched = dict(_arguments(path, words[: place or 0]))
    values = {key: launched[key] for key in ("num_processes", "num_machines") if key in launched}
    values |= dict(_arguments(path, words[(place or 0) :]))
    if "config_file" in values:  # the command's own arguments stand above it, as in sd-scripts
        values = {**_config_file(path, str(values["config_file"])), **values}
    return KohyaFile(path=path, kind=FileKind.COMMAND, values=values, script=script)


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines of a script, joined where they go on, without comments."""
    # a line goes on after a backslash in sh, a caret in cmd, a backtick in PowerShell
    joined = re.sub(r"[ \t]*(?<!\\)[\\^`][ \t]*\r?\n", " ", text)
    for line in joined.splitlines():
        bare = line.strip()
        if bare and not re.match(r"(#|::|rem\b)", bare, re.IGNORECASE):
            yield bare


def _is_windows(text: str) -> bool:
    return bool(re.search(r"[\^`][ \t]*\r?\n|(?<![A-Za-z])[A-Za-z]:\\", text))


def _words(path: Path, line: str, windows: bool) -> list[str]:
    """Return the words of a line as its shell would split it."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    if windows:  # a backslash separates folders there
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise UserError(
            f"{path} holds a command that cannot be split into words ({error}); close its quotes"
        ) from error


def _arguments(path: Path, words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the arguments in ``words``: ``--key value``, ``--key=value``, ``--flag`` and ``--key several values``."""
    places = [n for n, word in enumerate(words) if re.match(r"--[A-Za-z]", word)]
    for place, end in zip(places, [*places, len(words)][1:], strict=True):
        key, equals, value = words[place].removeprefix("--").partition("=")
        rest = [value] * bool(equals) + list(words[place + 1 : end])
        if key in LISTS:
            yield key, rest
        elif len(rest) > 1:
            raise UserError(f"{path} has --{key} with the values {' '.join(rest)!r}; it takes one, in quotes")
        else:
            yield key, rest[0] if rest else True


def additional_arguments(path: Path, text: str) -> dict[str, Any]:
    """Return the arguments that the GUI appends to its own."""
    # like the GUI: quotes are dropped, and every blank divides
    return dict(_arguments(path, text.replace('"', "").split()))


def _config_file(path: Path, name: str) -> dict[str, Any]:
    if place := _beside(path, name, f"{name}.toml"):
        return _read_toml(place, _text_of(place))
    raise UserError(
        f"{path} names the config file {name!r}, which is not here; put it beside {path.name}, or import it"
    )
