"""Kohya's sample prompts as prompts of the sheet: drawn and shown, and judged for prompt-following only.

Whether they ask for a face is not known, so none may sway the pick by likeness.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorasweep.errors import UserError
from lorasweep.kohya.draft import Draft, Status

MOST = 8
"""Prompts that are taken at most; more would cost more to draw than the sheet itself."""
OPTIONS = {"n": "negative", "w": "width", "h": "height", "s": "steps", "l": "scale", "g": "guidance", "d": "seed"}
"""Options that may follow a prompt after two dashes, by letter."""
NAMES = {
    "negative_prompt": "negative",
    "width": "width",
    "height": "height",
    "sample_steps": "steps",
    "scale": "scale",
    "guidance_scale": "guidance",
    "seed": "seed",
}
"""The same options in a TOML or JSON file of prompts."""


@dataclass(frozen=True, kw_only=True)
class SamplePrompt:
    """One of Kohya's prompts."""

    text: str
    options: Mapping[str, Any]
    """Option to its value, called as OPTIONS and NAMES call it; unknown ones by their own letter or name."""


def prompts_in(text: str) -> tuple[SamplePrompt, ...]:
    """Return the prompts of a text, one per line; a line that begins with ``#`` is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple(_parsed(line) for line in lines)


def prompts_of(path: Path) -> tuple[SamplePrompt, ...]:
    """Return the prompts of a file: lines of text, TOML or JSON.

    Raises:
        UserError: the file cannot be read as its ending says.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".toml":
            table = tomllib.loads(text)["prompt"]
            return tuple(_from_table({**table, **part}) for part in table.get("subset", [{}]))
        if path.suffix.lower() == ".json":
            return tuple(_parsed(row) if isinstance(row, str) else _from_table(row) for row in json.loads(text))
    except (UserError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the file of prompts {str(path)!r} cannot be read ({error}); it must be lines, TOML or JSON"
        ) from error
    return prompts_in(text)


def _parsed(line: str) -> SamplePrompt:
    text, *parts = line.split(" --")
    options: dict[str, Any] = {}
    for part in parts:
        letter, _, value = part.strip().partition(" ")
        options[OPTIONS.get(letter.lower(), letter)] = value.strip()
    return SamplePrompt(text=text.strip(), options=options)


def _from_table(row: Mapping[str, Any]) -> SamplePrompt:
    named = {NAMES.get(key, key): value for key, value in row.items() if key not in ("prompt", "subset", "enum")}
    return SamplePrompt(text=str(row.get("prompt", "")).strip(), options=named)


def carry_prompts(draft: Draft, prompts: Sequence[SamplePrompt], trigger: str) -> None:
    """Add the prompts to those of the sheet."""
    # braces are fields of a prompt here, and ??? is a missing value
    fit = [prompt for prompt in prompts if prompt.text and not re.search(r"[{}]|\?\?\?", _words(prompt))]
    for number, prompt in enumerate(fit[:MOST], 1):
        key = f"sample.prompts.q{number}_kohya"
        draft.sets[f"{key}.text"] = _with_trigger(prompt.text, trigger)
        if negative := prompt.options.get("negative"):
            draft.sets[f"{key}.negative"] = _with_trigger(str(negative), trigger)
        # drawn and judged by prompt-following only
        draft.sets |= {f"{key}.face": False, f"{key}.photo": False}
    kept = min(len(fit), MOST)
    if kept:
        draft.note(
            "sample_prompts", Status.CARRIED, f"sample.prompts.q1_kohya to q{kept}_kohya, drawn beside the sheet"
        )
    left = len(prompts) - kept
    if left:
        why = f"{left} of {len(prompts)} left out: braces cannot be drawn, and {MOST} are the most"
        draft.tell("sample_prompts …", Status.LOST, why, left)
    if kept:
        _options(draft, fit[:MOST])
    else:
        draft.note("sample_sampler", Status.INERT, "there are no sample_prompts")


def _words(prompt: SamplePrompt) -> str:
    return f"{prompt.text} {prompt.options.get('negative', '')}"


def _with_trigger(text: str, trigger: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(trigger)}(?!\w)", "{trigger}", text, flags=re.IGNORECASE) if trigger else text


def _options(draft: Draft, prompts: Sequence[SamplePrompt]) -> None:
    """Write a line for each option of the prompts, none of which is taken."""
    # size, steps, guidance and seeds are the sheet's for all prompts, so that scores can be compared
    keys = {"width": "width", "height": "height", "steps": "steps", "seed": "seeds"}
    keys["guidance" if draft.family == "flux" else "scale"] = "guidance"
    for name in sorted({name for prompt in prompts for name in prompt.options} - {"negative"}):
        letter = next((letter for letter, long in OPTIONS.items() if long == name), name)
        values = ", ".join(dict.fromkeys(str(prompt.options[name]) for prompt in prompts if name in prompt.options))
        says = f"the sheet is drawn in one way; sample.{keys[name]} is how" if name in keys else "not here"
        draft.tell(f"sample_prompts --{letter}", Status.LOST, says, values)
    draft.note("sample_sampler", Status.LOST, "the base preset says what suits its model; sample.sampler changes it")
