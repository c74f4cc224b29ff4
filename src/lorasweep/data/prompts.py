"""The sheet's prompts, with the subject's words filled in."""

import re
from typing import TYPE_CHECKING

from lorasweep.errors import UserError
from lorasweep.records import Prompt

if TYPE_CHECKING:
    from lorasweep.config.schema import DataConfig, PromptConfig, SampleConfig


def fill_prompts(sample: "SampleConfig", data: "DataConfig") -> tuple[Prompt, ...]:
    """Return the prompts of ``sample`` in their order, ``{trigger}`` and ``{class_noun}`` filled in from ``data``.

    ``sample.prefix`` goes before every text; ``sample.negative`` is for prompts without one of their own.

    Raises:
        UserError: an empty sheet, an empty text, or a placeholder that does not exist.
    """
    if not sample.prompts:
        raise UserError("sample.prompts is empty; it must name at least one prompt.")
    prefix = _insert("sample.prefix", sample.prefix, data).strip(" ,")
    negative = _insert("sample.negative", sample.negative, data)
    return tuple(_fill(key, prompt, data, prefix, negative) for key, prompt in sample.prompts.items())


def _fill(key: str, prompt: "PromptConfig", data: "DataConfig", prefix: str, negative: str) -> Prompt:
    text = _insert(f"sample.prompts.{key}.text", prompt.text, data).strip()
    if text in ("", "???"):  # OmegaConf's word for a value that is missing
        raise UserError(f"sample.prompts.{key}.text is empty; it must say what to draw.")
    if prompt.people not in (1, 2):
        raise UserError(
            f"sample.prompts.{key}.people is {prompt.people}; it must be 1, or 2 for the subject and another."
        )
    if prompt.face not in (True, False, "small"):
        raise UserError(f"sample.prompts.{key}.face is {prompt.face}; it must be true, false or small.")
    given = _insert(f"sample.prompts.{key}.score_text", prompt.score_text, data).strip()
    return Prompt(
        key=key,
        text=f"{prefix}, {text}" if prefix else text,
        negative=_insert(f"sample.prompts.{key}.negative", prompt.negative, data) or negative,
        score_text=given or without_trigger(text, data.trigger),
        face=prompt.face is True,
        subject=prompt.subject,
        photo=prompt.photo,
        people=prompt.people,
    )


def _insert(key: str, template: str, data: "DataConfig") -> str:
    # not through `str.format`, whose placeholders reach into objects
    text = template.replace("{trigger}", data.trigger).replace("{class_noun}", data.class_noun)
    if "{" in text or "}" in text:
        raise UserError(f"{key} is {template!r}; only {{trigger}} and {{class_noun}} may stand in braces.")
    return text


def without_trigger(text: str, trigger: str) -> str:
    """Return ``text`` in plain words: "photo of s1lv10 person" is "photo of a person", "s1lv10, smiling" is "smiling".

    CLIP was never taught the trigger: with it in the text, every image would seem to miss the prompt a little.
    """
    word = re.escape(trigger)
    text = re.sub(rf"\b(a|an|the)\s+{word}\b[ \t]*", r"\1 ", text, flags=re.IGNORECASE)
    text = re.sub(rf"(?<!\S){word}\s+([a-z])", _with_article, text, flags=re.IGNORECASE)
    text = re.sub(rf"(?<!\S){word}\b\s*,?\s*", "", text, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", text).strip(" ,")


def _with_article(match: re.Match[str]) -> str:
    return f"{'an' if match[1].lower() in 'aeiou' else 'a'} {match[1]}"
