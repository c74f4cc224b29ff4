"""``lorasweep check --fix``: a copy of a data set in which all is mended that can be mended without a person's eye."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.check.copies import copies_of
from lorasweep.check.mended_picture import mended
from lorasweep.data.captions import holds_word
from lorasweep.data.facts import PictureFacts
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.check.inspection import Looked
    from lorasweep.config.schema import RunConfig


def require_new_folder(target: Path, source: Path) -> None:
    """Raise UserError where the copy would meet other files, or the originals."""
    if target.exists() and not target.is_dir():
        raise UserError(f"--fix is {str(target)!r}, which is a file; name a folder that is new or empty.")
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise UserError(f"--fix is {str(target)!r}, which must lie apart from the photos in {str(source)!r}.")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"--fix is {str(target)!r}, which is not empty; name a folder that is new or empty.")


def mend(looked: "Looked", run: "RunConfig", source: Path, target: Path) -> Path:
    """Write upright sRGB pictures of 8 bits, without copies, with their captions; returns ``target``.

    Folders within ``source`` and names stay; a picture that needs no mending is copied byte by byte. What cannot be
    read, and all of several copies but the best, are left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    taken: set[Path] = set()
    for facts in best_of_copies(looked.pictures):
        folder = target / facts.path.parent.relative_to(source)
        folder.mkdir(parents=True, exist_ok=True)
        content, ending = mended(facts, keep_alpha=run.data.masks == "alpha")
        path = _free(folder, facts.path.stem, ending, taken)
        if content is None:
            shutil.copyfile(facts.path, path)
        else:
            path.write_bytes(content)
        text = _caption(looked, facts.path, run.data.trigger)
        if text:
            path.with_suffix(_caption_ending(looked, facts.path)).write_text(f"{text}\n", encoding="utf-8")
    return target


def best_of_copies(pictures: Sequence[PictureFacts]) -> list[PictureFacts]:
    """Of pictures that show the same, mirrored or not, the one with the most detail in pixels; order stays."""
    groups: dict[int, list[int]] = {row: [row] for row in range(len(pictures))}
    for copy, first, _ in copies_of(pictures):
        groups[first] += groups.pop(copy)
    best = {max(rows, key=lambda row: (_true_pixels(pictures[row]), -row)) for rows in groups.values()}
    return [pictures[row] for row in sorted(best)]


def _true_pixels(facts: PictureFacts) -> float:
    return facts.width * facts.height * facts.detail**2


def _free(folder: Path, stem: str, ending: str, taken: set[Path]) -> Path:
    """A name that no other picture of the copy has, whatever its ending: captions go by the name alone."""
    number, path = 1, folder / f"{stem}{ending}"
    while path.with_suffix("") in taken:
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    taken.add(path.with_suffix(""))
    return path


def _caption(looked: "Looked", picture: Path, trigger: str) -> str:
    """The picture's own caption with the trigger in it; '' where it has none that can be read."""
    file = looked.files.caption_of.get(picture)
    text = looked.files.captions[file].strip() if file else ""
    return text if not text or holds_word(text, trigger) else f"{trigger}, {text}"


def _caption_ending(looked: "Looked", picture: Path) -> str:
    return looked.files.caption_of[picture].suffix
