"""Where a subject's photos lie: in one plain folder, or in Kohya's folders ``<repeats>_<token> <class>``.

Only names are looked at here; no file is opened.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorasweep.data.findings import Finding
from lorasweep.data.pictures import FOREIGN, SUFFIXES
from lorasweep.errors import UserError

CAPTIONS = (".txt", ".caption")
"""Endings of caption files; of two captions of one photo the first ending counts."""
COMPANIONS = ("-masklabel", "-condlabel")
"""Ends of the names of images that OneTrainer keeps beside a photo; they are no photos themselves."""
MOST_REPEATS = 999
"""A larger number at the front of a folder's name is a year or a date."""
LITTER = frozenset({"__MACOSX"})
"""Folders that archive programs leave behind."""
EXPECTED = "'10_ohwx man': 1 to 999 repeats, an underscore, the trigger and what the subject is"


@dataclass(frozen=True)
class PhotoFolder:
    """A folder that holds photos itself."""

    path: Path
    repeats: int | None = None
    """What its name says, None on a plain folder."""
    words: str = ""
    """Trigger and class as its name says them, '' on a plain folder."""


@dataclass(frozen=True)
class Files:
    """The files of one folder, in natural order."""

    pictures: tuple[Path, ...]
    captions: tuple[Path, ...]
    companions: tuple[Path, ...]
    """Masks and the like: images that are no photos."""


def kohya_name(name: str) -> tuple[int, str] | None:
    """Return repeats and words of a folder named as sd-scripts has it; None for any other name."""
    # as there: a number before the first underscore, and all of the rest are words
    number, _, rest = name.partition("_")
    words = " ".join(rest.split())
    if not re.fullmatch(r"\d{1,9}", number, flags=re.ASCII) or not words:
        return None
    return (int(number), words) if 1 <= int(number) <= MOST_REPEATS else None


def photo_folders(root: Path, key: str, problems: list[Finding], apart: Iterable[Path] = ()) -> list[PhotoFolder]:
    """Return the folders to read, in natural order: ``root`` itself, or Kohya's folders in it; [] if there is none.

    Args:
        key: what names ``root`` in the configuration, for errors.
        problems: one finding is added for each thing that is wrong.
        apart: folders of another role, such as held-out photos, which may lie within ``root``.
    """
    if not root.is_dir():
        what = "is a file" if root.is_file() else "does not exist"
        problems.append(_folder(f"{key} is {str(root)!r}, which {what}; it must be a folder of pictures."))
        return []
    own = _has_pictures(root)
    inner = _children(root, problems, {path.resolve() for path in apart})
    named = [found for child in inner if (found := _named(child, problems))]
    problems += _case_clashes(named)
    if own and named:
        says = (
            f"{root} holds pictures of its own beside {named[0].path.name!r}; move them into a folder called as that "
            f"one is, or give {str(named[0].path)!r} as {key}."
        )
        problems.append(_folder(says))
    if not inner and not own:
        problems.append(_folder(_no_picture(root, key)))
    if not own:
        return named
    repeats, words = kohya_name(root.resolve().name) or (None, "")
    return [PhotoFolder(root, repeats, words)]


def names_of(root: Path) -> tuple[str, str] | None:
    """Return trigger and class noun that Kohya's folder names give; None for a plain folder or no folder at all.

    The first word is the trigger, the others are the class noun: '' if there are none, or if several folders disagree.

    Raises:
        UserError: the folders are of several subjects, but a run teaches one.
    """
    folders = photo_folders(root, "data.path", [])
    names = {folder.path.name: split_words(folder.words) for folder in folders if folder.words}
    if not names:
        return None
    triggers = {trigger.casefold(): trigger for trigger, _ in names.values()}
    if len(triggers) > 1:
        raise UserError(
            f"{root} holds folders of {len(triggers)} subjects, {', '.join(map(repr, sorted(triggers.values())))}; a "
            "run teaches one: name one of the folders, or the word for all of them as data.trigger=WORD."
        )
    nouns = {noun for _, noun in names.values()}
    return next(iter(triggers.values())), nouns.pop() if len(nouns) == 1 else ""


def words_unsaid(root: Path, overrides: Sequence[str]) -> dict[str, str]:
    """Return ``data.trigger`` and ``data.class_noun`` of Kohya's folder names, less those that ``overrides`` set.

    Raises:
        UserError: as ``names_of``, unless the trigger is set.
    """
    said = {word.lstrip("+").partition("=")[0] for word in overrides}
    try:
        trigger, noun = names_of(root) or ("", "")
    except UserError:
        if "data.trigger" not in said:
            raise
        return {}
    found = {"data.trigger": trigger, "data.class_noun": noun}
    return {key: text for key, text in found.items() if text and key not in said}


def files_of(folder: Path, root: Path, problems: list[Finding]) -> Files:
    """Return the folder's own photos, captions and masks.

    Problems are an image that cannot be read here, such as HEIC, a name that is not UTF-8, and a symbolic link out of
    ``root``, which holds ``folder`` or is it.
    """
    home = root.resolve()
    found: list[Path] = []
    for path in sorted(folder.iterdir(), key=lambda path: natural_order(path.name)):
        if path.name.startswith(".") or path.is_dir():  # `._x` and `.DS_Store` are other programs' litter
            continue
        # a folder of photos that was passed on must not read files from elsewhere on this machine
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            says = f"{path} is a symbolic link that leads out of {root}; put the file itself there."
            problems.append(Finding(kind="link", text=says, paths=(path,)))
        elif not _is_text(path):
            shown = os.fsencode(path).decode("utf-8", "replace")
            says = f"{shown} has a name that is not UTF-8, so that it cannot be written down; rename it."
            problems.append(_folder(says))  # without its path, which no report could print
        elif _ends(path, FOREIGN):
            says = f"{path} is a picture of a kind that cannot be read; save it as JPEG or PNG."
            problems.append(Finding(kind="unreadable", text=says, paths=(path,)))
        else:
            found.append(path)
    pictures = [path for path in found if _ends(path, SUFFIXES)]
    return Files(
        pictures=tuple(path for path in pictures if not _is_companion(path)),
        captions=tuple(path for path in found if _ends(path, CAPTIONS)),
        companions=tuple(path for path in pictures if _is_companion(path)),
    )


def split_words(words: str) -> tuple[str, str]:
    """Return trigger and class noun in a folder's words; '' for the noun if there is but one word."""
    first, _, rest = words.partition(" ")
    return first.strip(",") or first, rest.strip(" ,")


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts ``photo2`` before ``photo10``."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts] + [(2, 0, name)]


def _children(root: Path, problems: list[Finding], apart: set[Path]) -> list[Path]:
    """Return sub-folders that hold photos, without hidden ones and those of another role."""
    home = root.resolve()
    found: list[Path] = []
    for child in sorted(root.iterdir(), key=lambda path: natural_order(path.name)):
        if not child.is_dir() or child.name.startswith(".") or child.name in LITTER or child.resolve() in apart:
            continue
        if not _has_pictures(child):
            continue
        if not child.resolve().is_relative_to(home):
            says = f"{child} is a symbolic link that leads out of {root}; put the folder itself there."
            problems.append(Finding(kind="link", text=says, paths=(child,)))
            continue
        found.append(child)
    return found


def _folder(says: str, *paths: Path) -> Finding:
    return Finding(kind="folder", text=says, paths=paths)


def _named(child: Path, problems: list[Finding]) -> PhotoFolder | None:
    found = kohya_name(child.name)
    if found is None:
        says = (
            f"{child} holds pictures, but it is not called as in {EXPECTED}; rename it, or put a dot before its name "
            "to have it passed over."
        )
        problems.append(_folder(says, child))
        return None
    return PhotoFolder(child, *found)


def _case_clashes(folders: Sequence[PhotoFolder]) -> list[Finding]:
    # a text encoder reads `Ohwx` and `ohwx` as one word, so that one of them is a slip
    first: dict[str, tuple[str, str]] = {}
    problems: list[Finding] = []
    for folder in folders:
        for words in (folder.words, split_words(folder.words)[0]):
            known, where = first.setdefault(words.casefold(), (words, folder.path.name))
            if known != words:
                says = f"{folder.path} says {words!r} where {where!r} says {known!r}; write them alike."
                problems.append(_folder(says, folder.path))
                break
    return problems


def _no_picture(root: Path, key: str) -> str:
    # people give Kohya's project folder, whose photos are in `img`
    says = f"{key} is {str(root)!r}, which holds no picture; "
    below = sorted(child.parent for child in root.glob("*/*_*") if child.is_dir() and kohya_name(child.name))
    return says + (f"did you mean {str(below[0])!r}?" if below else f"it must hold {', '.join(SUFFIXES)} files.")


def _is_text(path: Path) -> bool:
    try:  # on Linux a name may be any bytes, such as Latin-1 from an old archive
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_pictures(folder: Path) -> bool:
    return any(
        _ends(path, (*SUFFIXES, *FOREIGN)) and not path.name.startswith(".") and not _is_companion(path)
        for path in folder.iterdir()
        if not path.is_dir()
    )


def _is_companion(path: Path) -> bool:
    return path.stem.lower().endswith(COMPANIONS)


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    return path.suffix.lower() in endings
