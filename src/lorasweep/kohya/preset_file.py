"""A preset written as YAML: every text quoted, so that it is data whatever it holds."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from lorasweep.config.compose import literal
from lorasweep.errors import UserError


def preset_text(name: str, base: str, sets: Mapping[str, Any], comments: Sequence[str]) -> str:
    """The file ``preset/NAME.yaml`` that sets dotted keys of a run on top of preset ``base``.

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
        if value == "???":
            raise UserError("the text '???' means a missing value in a configuration; it must be another one")
        return _quoted(literal(value))
    if isinstance(value, list):
        return f"[{', '.join(_scalar(part) for part in cast('list[Any]', value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _quoted(text: str) -> str:
    """JSON's quotes are YAML's too; what YAML does not print is spelled out, but nothing beyond 16 bits is split."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]", lambda sign: f"\\u{ord(sign[0]):04x}", quoted
    )


def _one_line(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe]", "?", text).strip()
