"""A dataset file laid over the arguments: a run has one value for each setting, and a line tells of the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorasweep.kohya.base import carry_buckets, carry_resolution
from lorasweep.kohya.dataset_file import (
    ARGUMENTS,
    OF_DATASETS,
    OF_FOLDERS,
    OF_SUBSETS,
    ONLY_OF_SUBSETS,
    DatasetFile,
    Part,
    Subset,
    area_of,
    name_of,
    sides_of,
)
from lorasweep.kohya.draft import Draft, Said, Status, plain
from lorasweep.kohya.keys import BECOMES, is_known, is_off

IGNORED = ("train_data_dir", "reg_data_dir", "in_json")
"""Arguments that sd-scripts does not read beside a dataset file."""
SHARED = (OF_SUBSETS | ONLY_OF_SUBSETS) - OF_FOLDERS
"""Keys of subsets that have one value in a run."""


def argument_of(name: str) -> str:
    """Return the argument's name of a dataset file's key."""
    return ARGUMENTS.get(name, name)


def main_part(file: DatasetFile) -> Part:
    """Return the dataset whose resolution and batch size a run gets: that of the largest images, the first of
    equals."""
    # a run has one size and one batch; what fits the largest images fits all
    return max(file.parts, key=area_of)


def main_subset(file: DatasetFile) -> Subset:
    """Return the folder whose settings for captions a run gets: the first that is not for regularisation."""
    subsets = [*main_part(file).subsets, *(subset for part in file.parts for subset in part.subsets)]
    return next((subset for subset in subsets if not subset.is_reg), subsets[0])


def fold(draft: Draft, file: DatasetFile) -> None:
    """Put the file's settings above the arguments, and drop those that are not read beside a dataset file."""
    over = {name: said for name, said in main_part(file).said.items() if name in OF_DATASETS}
    over |= {name: said for name, said in main_subset(file).said.items() if name in SHARED}
    # dropped, since a folder in the arguments would be trained on here, and is not there
    kept = {name: said for name, said in draft.said.items() if name not in IGNORED}
    draft.said = {**kept, **{argument_of(name): _as_argument(said) for name, said in over.items()}}


def part_sets(draft: Draft, part: Part) -> tuple[dict[str, Any], int]:
    """Return the ``data.*`` and ``model.resolution`` of one dataset that decide on sizes, and its batch size."""
    own = {argument_of(name): _as_argument(said) for name, said in part.said.items() if name in OF_DATASETS}
    scratch = Draft(said={**draft.said, **own}, defaults=draft.defaults, family=draft.family)
    carry_resolution(scratch)
    carry_buckets(scratch)
    return scratch.sets, scratch.whole("train_batch_size")


def note_others(draft: Draft, file: DatasetFile, arguments: Mapping[str, Said]) -> None:
    """Write a line for every key that is not the one that counts: overridden, the same, or in conflict with it."""
    for name in IGNORED:
        _note(draft, arguments.get(name), Status.INERT, "not read beside a dataset file")
    for said in file.written:
        if said.key in file.misplaced and is_known(name_of(said)):
            _note(draft, said, Status.LOST, "sd-scripts does not take it in this place")
    _note_shared(draft, file, arguments, file.parts, OF_DATASETS)
    subsets = [subset for part in file.parts for subset in part.subsets]
    _note_shared(draft, file, arguments, subsets, SHARED)
    _note_unused(draft, file, arguments, subsets)


def _note_shared(
    draft: Draft,
    file: DatasetFile,
    arguments: Mapping[str, Said],
    units: Sequence[Part] | Sequence[Subset],
    names: frozenset[str],
) -> None:
    for name in sorted(name for name in names if argument_of(name) in BECOMES):
        argument = arguments.get(argument_of(name))
        counting = {said.key: said for unit in units if (said := unit.said.get(name, argument))}
        main, value = draft.said.get(argument_of(name)), draft.value(argument_of(name))
        for key, said in counting.items():
            if main is not None and key == main.key:
                continue  # the one that counts has its line already
            if _alike(said.value, value):
                _note(draft, said, Status.CARRIED, f"as {main.key if main else 'without it'}")
            else:
                _note(draft, said, Status.LOST, f"a run has one for all pictures: {_plain(value)}")


def _note_unused(draft: Draft, file: DatasetFile, arguments: Mapping[str, Said], subsets: Sequence[Subset]) -> None:
    """Write a line for values that every dataset, or every folder, overrides."""
    for name in OF_DATASETS | SHARED | OF_FOLDERS:
        argument = arguments.get(argument_of(name))
        units = [*(file.parts if name in OF_DATASETS else ()), *(() if name in OF_DATASETS - OF_SUBSETS else subsets)]
        used = {said.key for unit in units if (said := unit.said.get(name, argument))}
        for said in (*file.written, *([argument] if argument else [])):
            mine = said is argument or name_of(said) == name
            if mine and said.key not in used and said.key not in file.misplaced:
                _note(draft, said, Status.INERT, "what stands nearer to the pictures counts")


def _note(draft: Draft, said: Said | None, status: Status, says: str) -> None:
    if said is not None:
        draft.tell_of(said, status, says)


def _as_argument(said: Said) -> Said:
    if name_of(said) != "resolution":
        return said
    return Said(key=said.key, value=sides_of(said.value), written=said.written)


def _alike(one: Any, other: Any) -> bool:
    return _plain(one) == _plain(other) or (is_off(one) and is_off(other))


def _plain(value: Any) -> str:
    """Return a value as text that is the same for the same setting."""
    # 512 and [512, 512] are one resolution, 0.1 and '0.1' one number
    sides = sides_of(value).split(",")
    if isinstance(value, list | str) and len({side.strip() for side in sides}) == 1:
        return sides[0].strip()
    return ",".join(side.strip() for side in sides) if isinstance(value, list) else plain(value)
