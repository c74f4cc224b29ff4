"""A folder of photos as Kohya counts it: folders ``N_token class``, and batches by bucket.

Counted by Kohya's own rules, not by ours, since it is Kohya's steps that are wanted: sizes as the file's header has
them, whatever way up the camera was held, and only endings that Kohya reads.
"""

from dataclasses import dataclass
from pathlib import Path

from lorasweep.config.kohya_draft import Draft
from lorasweep.config.kohya_steps import Counts, Length
from lorasweep.config.photos import DataConfig
from lorasweep.data.buckets import Size, bucket_rule, bucket_table, place_pictures, steps_an_epoch
from lorasweep.data.errors import UserError
from lorasweep.data.repeats import spread_repeats

BY_GUI = (".jpg", ".jpeg", ".png", ".webp")
BY_SCRIPTS = (*BY_GUI, ".bmp")


@dataclass(frozen=True)
class _Shown:
    """A picture and how often it is seen in an epoch."""

    path: Path
    repeats: int


def counts_of(draft: Draft, length: Length, resolution: int) -> Counts | None:
    """The photos as Kohya counts them; None where they are not here and the steps do not depend on them.

    Args:
        resolution: in pixels, where the settings have none.

    Raises:
        UserError: epochs cannot be counted, since the photos are not here or cannot be read.
    """
    needed = length.steps is None
    folder, others = draft.sets.get("data.path"), draft.sets.get("data.regularisation_path")
    missing = next((path for path in (folder, others) if path and not Path(path).is_dir()), None)
    if folder and not missing and not draft.text("dataset_config"):
        data = {key.partition(".")[2]: value for key, value in draft.sets.items() if key.startswith("data.")}
        side = draft.sets.get("model.resolution", resolution)
        try:
            return count_folder(DataConfig(**data), side, draft.sets["optim.batch_size"])
        except ValueError:
            if needed:
                raise
            return None
    if not needed:
        return None
    where = missing or ("a dataset file is not read" if draft.text("dataset_config") else "no folder is named")
    raise UserError(
        f"{draft.name_of(length.name)} is {length.epochs}, and how many steps that is depends on the photos, which are "
        f"not here ({where}); name the folder after the settings, or say --steps N."
    )


def count_folder(data: DataConfig, resolution: int, batch: int) -> Counts:
    """Pictures and batches of an epoch of ``data.path``, with ``data.regularisation_path``.

    Raises:
        UserError: no folder ``N_token class`` with pictures, or a picture whose size cannot be read.
    """
    subject = _pictures(Path(data.path))
    if not subject:
        raise UserError(
            f"{data.path} holds no pictures in folders such as '10_ohwx man', so that Kohya would find none; name "
            "the folder that train_data_dir means, or say --steps N."
        )
    others = _pictures(Path(data.regularisation_path)) if data.regularisation_path else []
    total = sum(picture.repeats for picture in subject)
    spread = spread_repeats([picture.repeats for picture in others], total, passing=True)
    added = [_Shown(picture.path, count) for picture, count in zip(others, spread, strict=True) if count]
    pictures = [*subject, *added]
    sizes = [_size(picture.path) for picture in pictures]
    placed = place_pictures(sizes, bucket_rule(data, resolution), [str(picture.path) for picture in pictures])
    table = bucket_table(placed, [picture.repeats for picture in pictures], batch)
    by_gui = sum(picture.repeats for picture in subject if picture.path.suffix.lower() in BY_GUI)
    return Counts(pictures=by_gui, batches=steps_an_epoch(table))


def _pictures(root: Path) -> list[_Shown]:
    """Of every folder whose name starts with a number; of ``root`` itself where it is such a folder."""
    children = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    folders = [(child, count) for child in children if (count := _repeats(child.name)) > 0]
    if not folders and _repeats(root.resolve().name) > 0 and root.is_dir():
        folders = [(root, _repeats(root.resolve().name))]
    return [
        _Shown(path, count)
        for folder, count in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in BY_SCRIPTS and path.is_file()
    ]


def _repeats(name: str) -> int:
    number = name.partition("_")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0


def _size(path: Path) -> Size:
    """From the header alone, not turned upright."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a picture that can be read; replace it or take it away.") from error
