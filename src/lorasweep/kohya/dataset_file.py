"""The file that ``dataset_config`` names: which folders are trained on, and with which settings.

As in sd-scripts (``library/config_util.py``), a subset's setting stands above its dataset's, that above ``[general]``,
and that above the arguments.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lorasweep.errors import UserError
from lorasweep.kohya.draft import Said
from lorasweep.kohya.keys import as_number, is_off

OF_DATASETS = frozenset(
    {
        "batch_size",
        "resolution",
        "enable_bucket",
        "bucket_no_upscale",
        "bucket_reso_steps",
        "min_bucket_reso",
        "max_bucket_reso",
        "validation_seed",
        "validation_split",
        "network_multiplier",
        "resize_interpolation",
    }
)
"""Keys of ``[[datasets]]`` and ``[general]``."""
OF_SUBSETS = frozenset(
    {
        "num_repeats",
        "shuffle_caption",
        "keep_tokens",
        "keep_tokens_separator",
        "secondary_separator",
        "caption_separator",
        "enable_wildcard",
        "color_aug",
        "flip_aug",
        "face_crop_aug_range",
        "random_crop",
        "caption_prefix",
        "caption_suffix",
        "token_warmup_min",
        "token_warmup_step",
        "custom_attributes",
        "resize_interpolation",
        "caption_dropout_rate",
        "caption_dropout_every_n_epochs",
        "caption_tag_dropout_rate",
        "caption_extension",
        "class_tokens",
        "cache_info",
    }
)
"""Keys of ``[[datasets.subsets]]``, ``[[datasets]]`` and ``[general]``."""
ONLY_OF_SUBSETS = frozenset(
    {
        "image_dir",
        "is_reg",
        "alpha_mask",
        "metadata_file",
        "conditioning_data_dir",
    }
)
"""Keys of ``[[datasets.subsets]]`` only."""
OF_FOLDERS = frozenset(["image_dir", "num_repeats", "is_reg", "class_tokens", "metadata_file"])
"""Keys that differ from folder to folder; the others have one value in a run."""
ARGUMENTS = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
"""Keys whose arguments have another name."""


@dataclass(frozen=True, kw_only=True)
class Subset:
    """One folder of images."""

    place: str
    """Such as ``dataset 1 subset 2``."""
    said: Mapping[str, Said]
    """Its settings by the file's keys, inherited ones included."""

    @property
    def folder(self) -> str:
        """Return ``image_dir``; '' if only a metadata file is named."""
        return str(self.said["image_dir"].value).strip() if "image_dir" in self.said else ""

    @property
    def is_reg(self) -> bool:
        """Return whether its images are for regularisation."""
        return "is_reg" in self.said and not is_off(self.said["is_reg"].value)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of ``[[datasets]]``: folders that share resolution and batch size."""

    place: str
    said: Mapping[str, Said]
    subsets: tuple[Subset, ...]
    """Each folder once, since sd-scripts ignores one that is named again."""


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """A dataset file as it was written."""

    path: Path
    parts: tuple[Part, ...]
    written: tuple[Said, ...]
    """Every key, wherever it stands."""
    misplaced: frozenset[str]
    """``Said.key`` of the keys that sd-scripts does not accept where they stand."""


def name_of(said: Said) -> str:
    """Return the file's key without its place."""
    return said.key.rpartition(" ")[2]


def dataset_file(path: Path, tables: Mapping[str, Any]) -> DatasetFile:
    """Return the datasets in ``tables``, with the settings that each folder inherits.

    Raises:
        UserError: no datasets, or folders that sd-scripts would not find in it.
    """
    general = _settings("general", _table(path, "general", tables.get("general", {})))
    written, parts = list(general.values()), list[Part]()
    for number, entry in enumerate(_entries(path, "datasets", tables.get("datasets")), 1):
        place = f"dataset {number}"
        own = _settings(place, {key: value for key, value in entry.items() if key != "subsets"})
        inherited = {**general, **own}
        written += own.values()
        subsets: dict[str, Subset] = {}
        for count, inner in enumerate(_entries(path, f"{place} subsets", entry.get("subsets")), 1):
            said = _settings(f"{place} subset {count}", inner)
            written += said.values()
            subset = Subset(place=f"{place} subset {count}", said={**inherited, **said})
            subsets.setdefault(_identity(path, subset), subset)
        parts.append(Part(place=place, said=inherited, subsets=tuple(subsets.values())))
    others = {key: value for key, value in tables.items() if key not in ("general", "datasets")}
    written += _settings("top", others).values()
    misplaced = frozenset(said.key for said in written if not _taken(said))
    return DatasetFile(path=path, parts=tuple(parts), written=tuple(written), misplaced=misplaced)


def sides_of(value: Any) -> str:
    """Return a resolution as arguments write it: ``512,768``."""
    return ",".join(str(side) for side in cast("list[Any]", value)) if isinstance(value, list) else str(value)


def area_of(part: Part) -> float:
    """Return the pixels of a dataset's resolution; 0 if it names none."""
    if "resolution" not in part.said:
        return 0
    sides = [as_number(side) or 0 for side in sides_of(part.said["resolution"].value).split(",")]
    return sides[0] * sides[-1]


def _settings(place: str, table: Mapping[str, Any]) -> dict[str, Said]:
    """Return the settings of a table by their keys."""
    return {  # JSON's null says nothing
        key: Said(key=f"{place} {key}", value=value, written=value) for key, value in table.items() if value is not None
    }


def _table(path: Path, name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{name} of {path} is {value!r}; it must be a table of settings")
    return cast("dict[str, Any]", value)


def _entries(path: Path, name: str, value: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{path} has no {name}; it must have [[datasets]] and in each of them [[datasets.subsets]]")
    for entry in cast("list[Any]", value):
        yield _table(path, name, entry)


def _identity(path: Path, subset: Subset) -> str:
    """Return what sd-scripts tells folders apart by."""
    metadata = subset.said.get("metadata_file")
    if metadata is None and not subset.folder:
        raise UserError(f"{subset.place} of {path} names no image_dir; it must name the folder of its pictures")
    return str(metadata.value) if metadata else f"{subset.folder}\0"  # \0: a folder is never taken for such a file


def _taken(said: Said) -> bool:
    """Return whether sd-scripts accepts the key where it stands."""
    place, _, key = said.key.rpartition(" ")
    if "subset" in place:
        return key in OF_SUBSETS | ONLY_OF_SUBSETS
    return place != "top" and key in OF_DATASETS | OF_SUBSETS
