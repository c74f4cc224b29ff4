"""A folder of photos, read once: every problem reported together, then captions, split and fingerprint."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorasweep.data.errors import UserError
from lorasweep.data.pictures import FOREIGN, SUFFIXES, cover, decode_picture
from lorasweep.data.records import Dataset, Floats, Photo
from lorasweep.data.split import SIGNATURE_SIDE, choose_held_out

if TYPE_CHECKING:
    from lorasweep.config.schema import DataConfig

CAPTIONS = (".txt", ".caption")
"""Endings of caption files; where a picture has both, the first one counts."""
PICTURES_AN_EPOCH = 400
"""What ``data.repeats: null`` aims at."""


@dataclass(frozen=True)
class _Look:
    """A photo and its thumbnail, which only the split needs."""

    photo: Photo
    signature: Floats


def read_dataset(data: "DataConfig") -> Dataset:
    """The photos of ``data.path``, split into those that train and those that only judge.

    Reads every picture whole. Raises one UserError that lists all problems found, one sentence a line: a missing or
    empty folder, a picture that is unreadable, truncated, empty or too large, a caption without its picture or not in
    UTF-8, a symbolic link that leads out of the folder, a photo that both trains and judges.
    """
    problems: list[str] = []
    folder = Path(data.path)
    looks = _read_folder(folder, "data.path", data, problems)
    judges = _read_folder(Path(data.held_out_path), "data.held_out_path", data, problems) if data.held_out_path else []
    problems += _shared_photos(looks, judges)
    if problems:
        raise UserError("\n".join(problems))
    photos = [look.photo for look in looks]
    if not data.held_out_path:
        chosen = _held_out_rows(looks, data)
        judges = [looks[row] for row in chosen]
        photos = [look.photo for row, look in enumerate(looks) if row not in chosen]
    held_out = tuple(look.photo for look in judges)
    return Dataset(
        path=folder,
        train=tuple(photos),
        held_out=held_out,
        trigger=data.trigger,
        class_noun=data.class_noun,
        repeats=data.repeats or max(1, round(PICTURES_AN_EPOCH / len(photos))),
        fingerprint=fingerprint(photos, held_out),
    )


def all_photos(dataset: Dataset) -> Dataset:
    """The same subject with nothing held out: what a refit trains on once the steps are known."""
    train = tuple(sorted((*dataset.train, *dataset.held_out), key=lambda photo: natural_order(photo.path.name)))
    return replace(dataset, train=train, held_out=(), fingerprint=fingerprint(train, ()))


def fingerprint(train: Sequence[Photo], held_out: Sequence[Photo]) -> str:
    """sha256 over contents, captions and the split, in order, wherever the files lie and whatever they are called."""
    digest = hashlib.sha256()
    for role, photos in (("train", train), ("held_out", held_out)):
        for photo in photos:
            digest.update(f"{role}\0{photo.sha256}\0{photo.caption}\0".encode())
    return digest.hexdigest()


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts ``photo2`` before ``photo10``."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts] + [(2, 0, name)]


def _held_out_rows(looks: Sequence[_Look], data: "DataConfig") -> frozenset[int]:
    if not data.held_out or len(looks) < data.held_out_from:
        return frozenset()
    signatures = np.stack([look.signature for look in looks])
    return choose_held_out(signatures, [look.photo.sha256 for look in looks], data.held_out)


def _shared_photos(train: Sequence[_Look], held_out: Sequence[_Look]) -> list[str]:
    known = {look.photo.sha256: look.photo.path for look in train}
    return [
        f"{look.photo.path} is the same picture as {known[look.photo.sha256]}; a held-out photo must not be trained on."
        for look in held_out
        if look.photo.sha256 in known
    ]


def _read_folder(folder: Path, key: str, data: "DataConfig", problems: list[str]) -> list[_Look]:
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        problems.append(f"{key} is {str(folder)!r}, which {what}; it must be a folder of pictures.")
        return []
    files = _files(folder, problems)
    problems += [
        f"{path} is a picture of a kind that cannot be read; save it as JPEG or PNG."
        for path in files
        if _ends(path, FOREIGN)
    ]
    pictures = [path for path in files if _ends(path, SUFFIXES)]
    captions = _captions(files, {path.stem for path in pictures}, problems)
    if not pictures:
        problems.append(f"{key} is {str(folder)!r}, which holds no picture; it must hold {', '.join(SUFFIXES)} files.")
    looks = [_look(path, captions.get(path.stem), data, problems) for path in pictures]
    return [look for look in looks if look]


def _files(folder: Path, problems: list[str]) -> list[Path]:
    """The folder's own files in natural order; hidden ones (``._x``, ``.DS_Store``) are other programs' litter."""
    home = folder.resolve()
    found: list[Path] = []
    for path in sorted(folder.iterdir(), key=lambda path: natural_order(path.name)):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            problems.append(f"{path} is a symbolic link that leads out of {folder}; put the file itself there.")
            continue
        found.append(path)
    return found


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    return path.suffix.lower() in endings


def _captions(files: Sequence[Path], stems: set[str], problems: list[str]) -> dict[str, str]:
    """Captions by the stem of their picture."""
    captions: dict[str, str] = {}
    for ending in reversed(CAPTIONS):
        for path in (path for path in files if path.suffix.lower() == ending):
            if path.stem not in stems:
                problems.append(
                    f"{path} is a caption without its picture; a picture called {path.stem!r} must lie beside it."
                )
                continue
            try:
                captions[path.stem] = " ".join(path.read_text(encoding="utf-8-sig").split())
            except (UnicodeDecodeError, OSError) as error:
                problems.append(f"{path} cannot be read as a caption ({error}); it must be text in UTF-8.")
    return captions


def _look(path: Path, caption: str | None, data: "DataConfig", problems: list[str]) -> _Look | None:
    try:
        content = path.read_bytes()
        picture = decode_picture(path, content)
    except UserError as error:
        problems.append(str(error))
        return None
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror}); it must be a picture that this user may open.")
        return None
    photo = Photo(
        path=path,
        caption=full_caption(caption, data.trigger, data.class_noun),
        width=picture.width,
        height=picture.height,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    thumbnail = np.asarray(cover(picture, SIGNATURE_SIDE, SIGNATURE_SIDE), dtype=np.float64)
    return _Look(photo, thumbnail.ravel() / 255)


def full_caption(caption: str | None, trigger: str, class_noun: str) -> str:
    """The caption that is trained on: a plain one where the photo has none, and always with the trigger in it."""
    if not caption:
        return f"a photo of {trigger} {class_noun}"
    if re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, flags=re.IGNORECASE):
        return caption
    return f"{trigger}, {caption}"
