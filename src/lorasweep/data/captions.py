"""What a photo is trained with: the text of its caption file, completed, or else the words for its subject."""

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
"""Class nouns of tagged images, as danbooru counts who is in them."""
TAG_OF: Mapping[str, str] = {
    **dict.fromkeys(("girl", "woman", "female", "lady"), "1girl"),
    **dict.fromkeys(("boy", "man", "male"), "1boy"),
}
"""Tag of the plain words for one person."""
DRAWN = ("style", "character")
"""Last words of class nouns whose images are no photos."""


def full_caption(caption: str | None, data: "DataConfig", folder_words: str = "") -> str:
    """Return the caption that is trained on: with the trigger in it, and with ``data.caption_prefix`` before it.

    Args:
        caption: of the photo's own file; None or '' if it has none.
        folder_words: what a Kohya folder's name says of the photos in it.
    """
    text = caption or subject_caption(data.trigger, data.class_noun, folder_words)
    start = _bare(data.caption_prefix)
    # without the trigger nothing would tie the word to what is learned
    if not holds_word(text, data.trigger) and not holds_word(start, data.trigger):
        rest = text[len(start) :].lstrip(" ,") if _begins(text, start) else text
        text = f"{data.trigger}, {rest}" if rest else data.trigger
    return prefixed(start, text)


def subject_caption(trigger: str, class_noun: str, folder_words: str = "") -> str:
    """Return the caption of a photo that has none, worded as the prompts of such subjects are.

    1. In a Kohya folder: its words, as in sd-scripts; another trigger than the folder's takes the place of the first.
    2. ``1girl``, ``1boy``, ``2girls``, …: tags, ``s1lv10, 1girl``.
    3. ``style``, ``character``, ``art style``, …: ``s1lv10 style``, since the image need not be a photo.
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
    """Return the class noun for a Kohya folder's class words, ``usual`` being the preset's own.

    If that is a tag, such as ``1girl``, plain words do not take its place, since the base model was taught tags: a girl
    is ``1girl``, a man ``1boy``, and any other word leaves it as it is. Words that hold a tag do take its place.
    """
    if not TAG.fullmatch(usual.strip()) or any(TAG.fullmatch(word) for word in re.split(r"[\s,]+", words)):
        return words
    return TAG_OF.get(words.rpartition(" ")[2].casefold(), usual)


def regularisation_caption(caption: str | None, data: "DataConfig", folder_words: str = "") -> str:
    """Return the caption of a regularisation image, of others of the class: its own, or the class's words."""
    # neither the trigger nor a prefix with it: the word must not come to mean the others
    text = caption or folder_words or _class_caption(data.class_noun.strip())
    return text if holds_word(data.caption_prefix, data.trigger) else prefixed(data.caption_prefix, text)


def prefixed(prefix: str, caption: str) -> str:
    """Return ``prefix, caption``; a caption that begins with the prefix already stays as it is."""
    start = _bare(prefix)
    return caption if _begins(caption, start) else f"{start}, {caption}"


def shuffled(caption: str, keep: int, order: Sequence[int]) -> str:
    """Return the comma-separated clauses of ``caption`` in another order, the first ``keep`` of them in their places.

    Args:
        order: a permutation of range(``loose_clauses(caption, keep)``).
    """
    clauses = [clause.strip() for clause in caption.split(",")]
    return ", ".join([*clauses[:keep], *(clauses[keep + place] for place in order)])


def loose_clauses(caption: str, keep: int) -> int:
    """Return how many clauses of ``caption`` shuffling may move."""
    return max(0, caption.count(",") + 1 - keep)


def holds_word(text: str, word: str) -> bool:
    """Return whether ``word`` stands in ``text`` as a word of its own, in upper or lower case."""
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags=re.IGNORECASE))


def read_captions(files: Files, problems: list[Finding]) -> dict[str, str]:
    """Return captions by the stem of their photo; one without its photo, or that is no UTF-8, is a problem."""
    stems = {path.stem for path in files.pictures}
    captions: dict[str, str] = {}
    for ending in reversed(CAPTIONS):  # so that of two captions of one photo the first ending is the one that stays
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
    """Return the text of a caption file in one line, without a byte order mark or carriage returns.

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
    # as `subject_caption` without the trigger, which is how DreamBooth words it
    return class_noun if TAG.fullmatch(class_noun) or _drawn(class_noun) else f"a photo of {class_noun}"


def _drawn(class_noun: str) -> bool:
    return class_noun.split()[-1].lower() in DRAWN


def _bare(prefix: str) -> str:
    return prefix.strip(" ,")


def _begins(caption: str, start: str) -> bool:
    """Return whether the caption begins with ``start``, whose last word must not end inside a longer one."""
    # What ends a word is what ``holds_word`` says, or a prefix that holds the trigger would be taken for it in "_1".
    return not start or (caption.startswith(start) and not re.match(r"\w", caption[len(start) :]))
