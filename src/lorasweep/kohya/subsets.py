"""Carry a dataset file's folders over: as one folder of photos, or as Kohya's folders ``N_token class`` in one
folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import kohya_name, photo_folders, split_words
from lorasweep.kohya.dataset_file import DatasetFile, Subset
from lorasweep.kohya.draft import Draft, Status
from lorasweep.kohya.folding import argument_of


@dataclass(frozen=True)
class Place:
    """A folder of images, with all subsets of the file that name it."""

    folder: str
    repeats: int
    """Times an image is seen in an epoch, over all datasets."""
    words: str
    """Its class_tokens."""
    subsets: tuple[Subset, ...]


def carry_folders(draft: Draft, file: DatasetFile, folder: str | None, usual: str) -> str:
    """Carry path, repeats, regularisation, trigger and class noun; return the trigger, '' if none is named.

    Args:
        folder: the photos, if they are named beside the settings.
        usual: the class noun of the preset that this one builds on.
    """
    subjects, others = places_of(draft, file, is_reg=False), places_of(draft, file, is_reg=True)
    folders = f"{_count(len(subjects), 'folder')}, {len(others)} of regularisation" if others else ""
    folders = folders or _count(len(subjects), "folder")
    draft.note("dataset_config", Status.CARRIED, f"read: {_count(len(file.parts), 'dataset')}, {folders}")
    _carry_subjects(draft, subjects, folder)
    _carry_others(draft, others)
    return _carry_words(draft, subjects, usual)


def places_of(draft: Draft, file: DatasetFile, *, is_reg: bool) -> tuple[Place, ...]:
    """Return the file's folders in its order, each once."""
    found: dict[str, list[Subset]] = {}
    for subset in (subset for part in file.parts for subset in part.subsets):
        # sd-scripts ignores folders without repeats
        if subset.is_reg is is_reg and subset.folder and repeats_of(draft, subset) > 0:
            found.setdefault(subset.folder, []).append(subset)
    return tuple(
        Place(
            folder=folder,
            repeats=sum(repeats_of(draft, subset) for subset in subsets),
            words=next((words for subset in subsets if (words := _words(subset))), ""),
            subsets=tuple(subsets),
        )
        for folder, subsets in found.items()
    )


def repeats_of(draft: Draft, subset: Subset) -> int:
    """Return ``num_repeats`` of a folder, or what the arguments say of all.

    Raises:
        UserError: no whole number.
    """
    said = subset.said.get("num_repeats") or draft.said.get(argument_of("num_repeats"))
    if said is None:
        return 1
    single = Draft(said={"num_repeats": said}, defaults={"num_repeats": 1}, family=draft.family)
    return single.whole("num_repeats")


def parent_of(places: Sequence[Place]) -> str | None:
    """Return the folder that can stand for all of them, if each is called and repeated as Kohya's folders are."""
    paths = [_pure(place.folder) for place in places]
    named = [kohya_name(path.name) for path in paths]
    alike = all(name and name[0] == place.repeats for name, place in zip(named, places, strict=True))
    parents = {str(path.parent) for path in paths}
    if not alike or len(parents) != 1:
        return None
    parent = parents.pop()
    if not Path(parent).is_dir():
        return parent
    # another folder beside them would be trained on too
    there = {found.path.resolve() for found in photo_folders(Path(parent), "data.path", [])}
    return parent if there == {Path(place.folder).resolve() for place in places} else None


def _carry_subjects(draft: Draft, places: Sequence[Place], folder: str | None) -> None:
    if not places:
        return
    if len(places) == 1:
        draft.sets["data.path"] = folder or places[0].folder
        draft.sets["data.repeats"] = places[0].repeats
        _say(draft, places, "image_dir", Status.CARRIED, f"data.path={draft.sets['data.path']}")
        how = f", {len(places[0].subsets)} datasets together" if len(places[0].subsets) > 1 else ""
        _say(draft, places, "num_repeats", Status.CARRIED, f"data.repeats={places[0].repeats}{how}")
        if not any("num_repeats" in subset.said for subset in places[0].subsets):
            says = f"data.repeats={places[0].repeats}"
            if "num_repeats" not in draft.lines:
                draft.tell("num_repeats", Status.DEFAULT, says)
        return
    parent = folder or parent_of(places)
    if parent:
        draft.sets["data.path"] = parent
        _say(draft, places, "image_dir", Status.CARRIED, f"data.path={parent}")
        _say(draft, places, "num_repeats", Status.CARRIED, "the folder's name says it")
        return
    for place in places:
        wanted = f"{place.repeats}_{place.words or _trigger(places) or 'TOKEN CLASS'}"
        says = f"a run reads one folder: call it {wanted!r}, in one folder with the others, and name that one"
        _say(draft, [place], "image_dir", Status.LOST, says)
        _say(draft, [place], "num_repeats", Status.LOST, f"stands in the folder's name: {wanted!r}")


def _carry_others(draft: Draft, places: Sequence[Place]) -> None:
    if not places:
        return
    path = places[0].folder if len(places) == 1 else parent_of(places)
    _say(
        draft,
        places,
        "num_repeats",
        Status.NEAR,
        "regularisation is shown as often as the subject, its pictures in turn",
    )
    _say(
        draft,
        places,
        "class_tokens",
        Status.NEAR,
        "a picture without a caption is called as data.class_noun or its folder",
    )
    if path is None:
        path, rest = places[0].folder, places[1:]
        says = "data.regularisation_path is one folder: put them into folders '1_CLASS' of one folder, and name that"
        _say(draft, rest, "image_dir", Status.LOST, says)
        _say(draft, rest, "is_reg", Status.LOST, says)
        places = places[:1]
    draft.sets["data.regularisation_path"] = path
    draft.carry("prior_loss_weight", "data.regularisation_weight", draft.number("prior_loss_weight"))
    for name in ("image_dir", "is_reg"):
        _say(draft, places, name, Status.CARRIED, f"data.regularisation_path={path}")


def _carry_words(draft: Draft, places: Sequence[Place], usual: str) -> str:
    """Take trigger and class noun from class_tokens, as from a Kohya folder's name; return the trigger."""
    for place in places:
        _say(draft, [place], "is_reg", Status.INERT, "off")
    told = {place.words: split_words(place.words) for place in places if place.words}
    if not told:
        return ""
    triggers = {trigger.casefold(): trigger for trigger, _ in told.values()}
    if len(triggers) > 1:
        names = ", ".join(map(repr, sorted(triggers.values())))
        _say(
            draft, places, "class_tokens", Status.LOST, f"a run teaches one subject, not {names}; say data.trigger=WORD"
        )
        return ""
    trigger = next(iter(triggers.values()))
    nouns = {noun for _, noun in told.values()}
    draft.sets["data.trigger"] = trigger
    says = f"data.trigger={trigger}"
    if len(nouns) == 1 and (noun := nouns.pop()):
        draft.sets["data.class_noun"] = noun = noun_beside(noun, usual)
        says += f", data.class_noun={noun}"
    _say(draft, places, "class_tokens", Status.NEAR, f"{says}: the trigger is put into captions that lack it")
    return trigger


def _say(draft: Draft, places: Sequence[Place], name: str, status: Status, says: str) -> None:
    """Write a line for the key ``name`` of each folder; an inherited key gets one line for all."""
    for said in (subset.said[name] for place in places for subset in place.subsets if name in subset.said):
        # of several, the line that tells of a loss stays
        if said.key not in draft.lines or draft.lines[said.key].kind in (Status.CARRIED, Status.INERT):
            draft.tell_of(said, status, says)


def _words(subset: Subset) -> str:
    return " ".join(str(subset.said["class_tokens"].value).split()) if "class_tokens" in subset.said else ""


def _trigger(places: Sequence[Place]) -> str:
    return next((place.words for place in places if place.words), "")


def _pure(folder: str) -> PurePath:
    return PureWindowsPath(folder) if "\\" in folder else PurePath(folder)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
