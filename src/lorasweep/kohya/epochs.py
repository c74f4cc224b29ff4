"""Photos as Kohya counts them: folders ``N_token class``, or those of a dataset file, and batches by bucket.

Kohya's rules count here, not ours, since Kohya's steps are what is wanted: sizes are those of the file's header, not
turned upright by EXIF, and only files with endings that Kohya reads exist.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorasweep.config.photos import DataConfig
from lorasweep.data.buckets import Size, bucket_rule, bucket_table, place_pictures, steps_an_epoch
from lorasweep.data.dataset import spread_repeats
from lorasweep.errors import UserError
from lorasweep.kohya.dataset_file import DatasetFile, Part, Subset
from lorasweep.kohya.draft import Draft
from lorasweep.kohya.folding import main_part, part_sets
from lorasweep.kohya.steps import Counts, Length
from lorasweep.kohya.subsets import places_of, repeats_of

BY_GUI = (".jpg", ".jpeg", ".png", ".webp")
"""Endings that the GUI counts."""
BY_SCRIPTS = (*BY_GUI, ".bmp")
"""Endings that sd-scripts trains on."""


@dataclass(frozen=True)
class _Shown:
    """An image and how often it is seen in an epoch."""

    path: Path
    repeats: int


@dataclass(frozen=True)
class _Part:
    """Images that share resolution and batch size."""

    subject: Sequence[_Shown]
    others: Sequence[_Shown]
    """Regularisation images, with the repeats that the settings say."""
    data: DataConfig
    side: int
    batch: int


def counts_of(
    draft: Draft, length: Length, resolution: int, file: DatasetFile | None = None, folder: str | None = None
) -> Counts | None:
    """Return the photos as Kohya counts them; None if they are not here and the steps do not depend on them.

    Args:
        resolution: in pixels, if the settings name none.
        file: what the settings' ``dataset_config`` names.
        folder: the photos, if they are not where that file says.

    Raises:
        UserError: epochs cannot be counted, since the photos are not here or cannot be read.
    """
    needed = length.steps is None
    missing = _missing(draft, file, folder)
    if missing is None:
        try:
            return _count([_part_of(draft, resolution)] if file is None else _parts_of(draft, file, resolution, folder))
        except UserError:
            if needed:
                raise
            return None
    if not needed:
        return None
    raise UserError(
        f"{draft.name_of(length.name)} is {length.epochs}, and how many steps that is depends on the photos, which are "
        f"not here ({missing}); name the folder after the settings, or say --steps N."
    )


def count_folder(data: DataConfig, resolution: int, batch: int) -> Counts:
    """Return images and batches of an epoch of ``data.path``, with those of ``data.regularisation_path``.

    Raises:
        UserError: no folder ``N_token class`` holds images, or an image cannot be read.
    """
    others = _pictures(Path(data.regularisation_path)) if data.regularisation_path else []
    return _count([_Part(_subject(data.path), others, data, resolution, batch)])


def _missing(draft: Draft, file: DatasetFile | None, folder: str | None) -> str | None:
    """Return what is not here; None if everything can be counted."""
    if file is not None and any("metadata_file" in subset.said for part in file.parts for subset in part.subsets):
        return "a metadata_file is not read"
    places = [draft.sets.get("data.path"), draft.sets.get("data.regularisation_path")]
    if file is not None:
        kinds = (True,) if folder else (True, False)
        places = [folder, *(place.folder for is_reg in kinds for place in places_of(draft, file, is_reg=is_reg))]
    elif not places[0]:
        return "no folder is named"
    return next((place for place in places if place and not Path(place).is_dir()), None)


def _part_of(draft: Draft, resolution: int) -> _Part:
    """Return the images of folders called ``N_token class``."""
    data = _data_of(draft.sets)
    others = _pictures(Path(data.regularisation_path)) if data.regularisation_path else []
    side = draft.sets.get("model.resolution", resolution)
    return _Part(_subject(data.path), others, data, side, draft.sets["optim.batch_size"])


def _parts_of(draft: Draft, file: DatasetFile, resolution: int, folder: str | None) -> list[_Part]:
    """Return the images of a dataset file's folders; ``folder`` stands for those of the subject."""
    several = len(places_of(draft, file, is_reg=False)) > 1
    parts: list[_Part] = []
    for part in [main_part(file)] if folder and several else file.parts:
        shown: dict[bool, list[_Shown]] = {True: [], False: []}
        for subset in part.subsets:
            place = Path(folder if folder and not subset.is_reg else subset.folder)
            shown[subset.is_reg] += _shown_in(draft, part, subset, place)
        sets, batch = part_sets(draft, part)
        subject = _subject(folder) if folder and several else shown[False]
        parts.append(_Part(subject, shown[True], _data_of(sets), sets.get("model.resolution", resolution), batch))
    if not any(part.subject for part in parts):
        raise UserError(f"{file.path} names no folder that holds pictures itself; name one after the settings.")
    return parts


def _shown_in(draft: Draft, part: Part, subset: Subset, folder: Path) -> list[_Shown]:
    """Return the images of one folder that are trained on, without sd-scripts' share for validation."""
    paths, repeats = _files(folder), repeats_of(draft, subset)
    if repeats < 1:  # sd-scripts ignores such a folder
        return []
    single = Draft(said={**draft.said, **part.said}, defaults=draft.defaults, family=draft.family)
    share = single.number("validation_split")
    if 0 < share <= 1 and not subset.is_reg:
        if single.text("validation_seed"):  # drawn as sd-scripts draws, so that the same images are left
            random.Random(single.whole("validation_seed")).shuffle(paths)
        paths = paths[: math.ceil(len(paths) * (1 - share))]
    return [_Shown(path, repeats) for path in paths]


def _data_of(sets: Mapping[str, Any]) -> DataConfig:
    return DataConfig(**{key.partition(".")[2]: value for key, value in sets.items() if key.startswith("data.")})


def _count(parts: Sequence[_Part]) -> Counts:
    """Return the counts of all datasets: each makes its own batches, and an epoch has all of them."""
    subject = [picture for part in parts for picture in part.subject]
    by_gui = sum(picture.repeats for picture in subject if picture.path.suffix.lower() in BY_GUI)
    return Counts(pictures=by_gui, batches=sum(_batches(part) for part in parts))


def _batches(part: _Part) -> int:
    total = sum(picture.repeats for picture in part.subject)
    # regularisation images fill an epoch up to the subject's number, in turn
    spread = spread_repeats([picture.repeats for picture in part.others], total, passing=True)
    added = [_Shown(picture.path, count) for picture, count in zip(part.others, spread, strict=True) if count]
    pictures = [*part.subject, *added]
    sizes = [_size(picture.path) for picture in pictures]
    placed = place_pictures(sizes, bucket_rule(part.data, part.side), [str(picture.path) for picture in pictures])
    return steps_an_epoch(bucket_table(placed, [picture.repeats for picture in pictures], part.batch))


def _subject(folder: str) -> list[_Shown]:
    found = _pictures(Path(folder))
    if not found:
        raise UserError(
            f"{folder} holds no pictures in folders such as '10_ohwx man', so that Kohya would find none; name "
            "the folder that train_data_dir means, or say --steps N."
        )
    return found


def _pictures(root: Path) -> list[_Shown]:
    """Return the images of every folder in ``root`` whose name starts with a number, or of ``root`` if it is one."""
    children = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    folders = [(child, count) for child in children if (count := _repeats(child.name)) > 0]
    if not folders and _repeats(root.resolve().name) > 0 and root.is_dir():
        folders = [(root, _repeats(root.resolve().name))]
    return [_Shown(path, count) for folder, count in folders for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in BY_SCRIPTS and path.is_file()]


def _repeats(name: str) -> int:
    number = name.partition("_")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0


def _size(path: Path) -> Size:
    """Return an image's size from its header, not turned upright."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a picture that can be read; replace it or take it away.") from error
