"""A preset of the user's own: where it goes, and its YAML, in which every text is quoted and so is data."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from lorasweep.config.compose import PRESETS_VARIABLE, as_override, literal, load_run
from lorasweep.config.schema import RunConfig
from lorasweep.data.atomic import write_atomically
from lorasweep.errors import UserError
from lorasweep.kohya.draft import Draft, Status

DEFAULT_FOLDER = "presets"
"""Where presets go if neither ``--to`` nor LORASWEEP_CONF names a place."""


def place_for(settings: Path, draft: Draft, to: str | Path | None) -> Path:
    """Return where the preset goes: ``FOLDER/preset/NAME.yaml``, where Hydra looks for it.

    Args:
        settings: the imported file, which names the preset if nothing else does.
        to: the file that the user asks for.

    Raises:
        UserError: Hydra would not find ``to``.
    """
    if to is None:
        name = draft.text("output_name") or settings.stem
        draft.note("output_name", Status.CARRIED, f"the preset's name: {_slug(name)}")
        return Path(os.environ.get(PRESETS_VARIABLE) or DEFAULT_FOLDER) / "preset" / f"{_slug(name)}.yaml"
    target = Path(to).expanduser()
    if target.suffix != ".yaml" or target.stem != _slug(target.stem):
        raise UserError(f"--to is {str(to)!r}; it must end in NAME.yaml, a name of letters, digits, - and _.")
    if target.absolute().parent.name != "preset":
        better = target.parent / "preset" / target.name
        raise UserError(f"--to is {str(to)!r}; presets are found in a folder called preset: say --to {better}.")
    draft.note("output_name", Status.INERT, "--to names the preset")
    return target


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:80] or "kohya"


def write_preset(target: Path, base: str, sets: Mapping[str, Any], source: Path, *, overwrite: bool) -> RunConfig:
    """Write a preset and return the run that it makes, without base model and photos if it names none.

    Args:
        base: the preset that it builds on.
        sets: dotted key of a run to its value.
        source: the file that it was made from, which a comment names.

    Raises:
        UserError: a file is in the way, or a value cannot be configured.
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} is already there; name another with --to, or say --overwrite.")
    if target.stem == base:
        raise UserError(f"--to is {str(target)!r}, the name of the preset that it builds on; it must have another.")
    comments = [f"Imported from Kohya's settings in {source.name} by 'lorasweep import'."]
    comments += [f"What is not said here is as in {base}."]
    text = preset_text(target.stem, base, sets, comments)
    # composed elsewhere before it is put in its place, so that whatever is there can be trained with
    with TemporaryDirectory() as trial:
        place = Path(trial) / "preset" / target.name
        place.parent.mkdir()
        place.write_text(text, encoding="utf-8")
        run = composed(target.stem, [trial])
    write_atomically(target, text.encode())
    return run


def composed(preset: str, config_dirs: Sequence[str | Path] = ()) -> RunConfig:
    """Return the run of a preset, with '' for a base model or photos that it does not name."""
    words = [as_override("preset", preset)]
    return load_run(words, config_dirs=config_dirs, when_missing={"model.path": "", "data.path": ""})


def preset_text(name: str, base: str, sets: Mapping[str, Any], comments: Sequence[str]) -> str:
    """Return the file ``preset/NAME.yaml`` that sets dotted keys of a run on top of preset ``base``.

    Raises:
        UserError: a text is ``???``, which a configuration cannot hold.
    """
    tree: dict[str, Any] = {}
    for key, value in sets.items():
        *rooms, last = key.split(".")
        node = tree
        for room in rooms:
            node = node.setdefault(room, {})
        node[last] = value
    head = ["# @package _global_", *(f"# {_one_line(comment)}" for comment in comments)]
    lines = [*head, "defaults:", f"  - {base}", "  - _self_", "", f"preset: {_scalar(name)}", *_lines(tree, "")]
    return "\n".join(lines) + "\n"


def _lines(tree: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(cast("dict[str, Any]", value), indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_scalar(value)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if value == "???":  # OmegaConf's word for a missing value, which no quotes hide
            raise UserError("the text '???' means a missing value in a configuration; it must be another one")
        return _quoted(literal(value))
    if isinstance(value, list):
        return f"[{', '.join(_scalar(part) for part in cast('list[Any]', value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _quoted(text: str) -> str:
    """Return the text in JSON's quotes, which are YAML's too."""
    quoted = json.dumps(text, ensure_ascii=False)  # an escaped emoji would be two surrogates, which YAML refuses
    # what YAML does not print must be escaped
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", quoted
    )


def _one_line(text: str) -> str:
    """Return a text that no line break or control character takes out of its comment."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe]", "?", text).strip()
