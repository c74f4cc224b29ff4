"""What a picture is trained with: its caption file, made whole; or, where it has none, the words for its subject."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.data.findings import Finding
from lorasweep.data.folders import CAPTIONS, Files
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig

TAG = re.compile(r"\d+(girl|boy|other)s?\+?", flags=re.ASCII)
"""Class nouns of tagged pictures, as danbooru counts who is in them."""
TAG_OF: Mapping[str, str] = {
    **dict.fromkeys(("girl", "woman", "female", "lady"), "1girl"),
    **dict.fromkeys(("boy", "man", "male"), "1boy"),
}
"""What plain words for one person are called where tags count who is in a picture."""
DRAWN = ("style", "character")
"""Last words of class nouns whose pictures are no photos."""


def full_caption(caption: str | None, data: "DataConfig", folder_words: str = "") -> str:
    """The caption that is trained on: always with the trigger in it, and with ``data.caption_prefix`` before it.

    Args:
        caption: of the picture's own file; None or '' where it has none.
        folder_words: what a Kohya folder's name says of the pictures in it.
    """
    text = caption or subject_caption(data.trigger, data.class_noun, folder_words)
    start = _bare(data.caption_prefix)
    if not holds_word(text, data.trigger) and not holds_word(start, data.trigger):
        rest = text[len(start) :].lstrip(" ,") if _begins(text, start) else text
        text = f"{data.trigger}, {rest}" if rest else data.trigger
    return prefixed(start, text)


def subject_caption(trigger: str, class_noun: str, folder_words: str = "") -> str:
    """What a picture without a caption shows, said as the sheet of such subjects says it.

    1. In a Kohya folder: its words, as in sd-scripts; another trigger than the folder's takes the place of the first.
    2. ``1girl``, ``1boy``, ``2girls``, …: tags, ``s1lv10, 1girl``.
    3. ``style``, ``character``, ``art style``, …: ``s1lv10 style``, since it need not be a photo.
    4. Else ``a photo of s1lv10 person``.
    """
    if folder_words:
        if holds_word(folder_words, trigger):
            return folder_words
        return " ".join([trigger, *folder_words.split()[1:]])
    if TAG.fullmatch(class_noun.strip()):
        return f"{trigger}, {class_noun.strip()}"
    return f"{trigger} {class_noun}" if _drawn(class_noun) else f"a photo of {trigger} {class_noun}"


def noun_beside(words: str, usual: str) -> str:
    """The class noun that a Kohya folder's class words mean where without them it would be ``usual``.

    Where that is a tag, such as ``1girl``, plain words do not take its place, since the base model was taught tags: a
    girl is ``1girl``, a man ``1boy``, and what is no such word leaves it as it is. Words that hold a tag count.
    """
    if not TAG.fullmatch(usual.strip()) or any(TAG.fullmatch(word) for word in re.split(r"[\s,]+", words)):
        return words
    return TAG_OF.get(words.rpartition(" ")[2].casefold(), usual)


def regularisation_caption(caption: str | None, data: "DataConfig", folder_words: str = "") -> str:
    """The caption of a picture of others of the class: its own, or the class's words.

    The trigger is never put in; neither is a prefix that holds it.
    """
    text = caption or folder_words or _class_caption(data.class_noun.strip())
    return text if holds_word(data.caption_prefix, data.trigger) else prefixed(data.caption_prefix, text)


def prefixed(prefix: str, caption: str) -> str:
    """``prefix, caption``; a caption that begins with the prefix already stays as it is."""
    start = _bare(prefix)
    return caption if _begins(caption, start) else f"{start}, {caption}"


def shuffled(caption: str, keep: int, order: Sequence[int]) -> str:
    """The comma-separated clauses of ``caption`` in another order, the first ``keep`` of them left where they are.

    Args:
        order: a permutation of range(``loose_clauses(caption, keep)``).
    """
    clauses = [clause.strip() for clause in caption.split(",")]
    return ", ".join([*clauses[:keep], *(clauses[keep + place] for place in order)])


def loose_clauses(caption: str, keep: int) -> int:
    """How many clauses of ``caption`` shuffling may move."""
    return max(0, caption.count(",") + 1 - keep)


def holds_word(text: str, word: str) -> bool:
    """Whether ``word`` stands in ``text`` as a word of its own, in upper or lower case."""
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags=re.IGNORECASE))


def read_captions(files: Files, problems: list[Finding]) -> dict[str, str]:
    """Captions by the stem of their picture; one without its picture, or that is no UTF-8, is a problem."""
    stems = {path.stem for path in files.pictures}
    captions: dict[str, str] = {}
    for ending in reversed(CAPTIONS):
        for path in (path for path in files.captions if path.suffix.lower() == ending):
            if path.stem not in stems:
                says = f"{path} is a caption without its picture; a picture called {path.stem!r} must lie beside it."
                problems.append(Finding(kind="caption_orphan", text=says, paths=(path,)))
                continue
            try:
                captions[path.stem] = read_caption(path)
            except UserError as error:
                problems.append(Finding(kind="caption_unreadable", text=str(error), paths=(path,)))
    return captions


def read_caption(path: Path) -> str:
    """The text of a caption file in one line, a byte order mark and carriage returns left out.

    Raises:
        UserError: it cannot be opened, or is not in UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read as a caption ({error.strerror}); this user must be able to.") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise UserError(
            f"{path} cannot be read as a caption: it is in UTF-16 ('Unicode' in Notepad); save it as UTF-8."
        )
    try:
        return " ".join(content.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read as a caption: byte {error.start + 1} is not UTF-8 (perhaps it is Windows-1252 or "
            "Shift-JIS); save it as UTF-8."
        ) from error


def _class_caption(class_noun: str) -> str:
    """As ``subject_caption`` without the trigger, as DreamBooth words it."""
    return class_noun if TAG.fullmatch(class_noun) or _drawn(class_noun) else f"a photo of {class_noun}"


def _drawn(class_noun: str) -> bool:
    return class_noun.split()[-1].lower() in DRAWN


def _bare(prefix: str) -> str:
    return prefix.strip(" ,")


def _begins(caption: str, start: str) -> bool:
    """Whether the caption begins with ``start`` and its last word is not only the beginning of a longer one."""
    inside = start[-1:].isalnum() and caption[len(start) :][:1].isalnum()
    return caption.startswith(start) and not inside
