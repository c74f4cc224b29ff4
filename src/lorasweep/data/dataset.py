"""Folders of photos, read once: every problem reported together, then captions, masks, split and fingerprint."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lorasweep.data.captions import full_caption, holds_word, read_captions, regularisation_caption
from lorasweep.data.facts import PictureFacts
from lorasweep.data.findings import Finding
from lorasweep.data.folders import PhotoFolder, files_of, natural_order, photo_folders
from lorasweep.data.masks import find_masks, mask_of_alpha, mask_of_file, mask_problem
from lorasweep.data.picture_facts import facts_of
from lorasweep.data.pictures import cover, decode_stored, set_upright, to_srgb
from lorasweep.data.split import SIGNATURE_SIDE, choose_held_out
from lorasweep.errors import UserError
from lorasweep.records import Dataset, Floats, Photo

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig

SUBJECT, HELD_OUT, REGULARISATION = "data.path", "data.held_out_path", "data.regularisation_path"
"""The keys that name folders of photos."""
PICTURES_AN_EPOCH = 400
"""Images an epoch that a plain folder aims at, held-out photos not counted."""


@dataclass(frozen=True)
class _Look:
    """A photo, the repeats of its folder's name, and its thumbnail, which only the split needs."""

    photo: Photo
    repeats: int | None
    signature: Floats


def read_dataset(data: "DataConfig", facts: list[PictureFacts] | None = None) -> Dataset:
    """Return the photos of ``data.path``, split into those that train and those that only judge.

    Every photo is read whole, once; no pixels are kept.

    Args:
        facts: if given, filled with what a check needs to know of each photo, from the same decode.

    Raises:
        UserError: all problems found, one sentence a line: a missing or empty folder, a sub-folder that is none of
            Kohya's, a photo that is unreadable, truncated, empty or too large, a caption without its photo or not in
            UTF-8, a mask that is missing, black or of another shape, a symbolic link that leads out of the folder, a
            photo that has two roles.
    """
    problems: list[str] = []
    looks = _read(SUBJECT, data.path, data, problems, facts)
    judges = _read(HELD_OUT, data.held_out_path, data, problems)
    others = _read(REGULARISATION, data.regularisation_path, data, problems)
    problems += _shared(looks, judges, "a held-out photo must not be trained on")
    problems += _shared(looks, others, "regularisation is done with pictures of others")
    problems += _contradictions(data)
    if problems:  # all at once: nobody wants to mend forty photos one run at a time
        lines = (problem.replace("\n", "\\n") for problem in problems)  # a file's name may hold a line break
        raise UserError("\n".join(lines))
    train, held_out = _split(looks, judges, data)
    regularisation = _regularisation([replace(look.photo, repeats=look.repeats or 1) for look in others], train)
    return Dataset(
        path=Path(data.path),
        train=train,
        held_out=held_out,
        regularisation=regularisation,
        trigger=data.trigger,
        class_noun=data.class_noun,
        fingerprint=fingerprint(train, held_out, regularisation),
    )


def all_photos(dataset: Dataset) -> Dataset:
    """Return the same subject with nothing held out: what a refit trains on once the steps are known."""
    train = tuple(  # in the order that reading the folder would have given
        sorted((*dataset.train, *dataset.held_out), key=lambda photo: (natural_order(photo.path.name), photo.sha256))
    )
    regularisation = _regularisation(dataset.regularisation, train)
    mark = fingerprint(train, (), regularisation)
    return replace(dataset, train=train, held_out=(), regularisation=regularisation, fingerprint=mark)


def fingerprint(train: Sequence[Photo], held_out: Sequence[Photo], regularisation: Sequence[Photo] = ()) -> str:
    """Return the sha256 over contents, captions, repeats, masks and roles in order; names and folders do not count."""
    digest = hashlib.sha256()
    for role, photos in (("train", train), ("held_out", held_out), ("regularisation", regularisation)):
        for photo in photos:
            told = (role, photo.sha256, photo.caption, str(photo.repeats), photo.mask_sha256)
            digest.update("".join(f"{part}\0" for part in told).encode())
    return digest.hexdigest()


def judging_fingerprint(dataset: Dataset) -> str:
    """Return the sha256 over what a score depends on: the contents of the photos that train and that judge."""
    # captions, repeats, masks and regularisation change a LoRA, not the measure that it is scored by
    digest = hashlib.sha256()
    for role, photos in (("train", dataset.train), ("held_out", dataset.held_out)):
        for photo in photos:
            digest.update(f"{role}\0{photo.sha256}\0".encode())
    return digest.hexdigest()


def plain_repeats(photos: int) -> int:
    """Return how often each of ``photos`` is seen if nothing says so: about 400 images an epoch, each at least once."""
    return max(1, round(PICTURES_AN_EPOCH / photos))


def spread_repeats(repeats: Sequence[int], total: int, *, passing: bool = False) -> tuple[int, ...]:
    """Return the repeats of regularisation images, raised or cut until they add up to ``total``.

    As in sd-scripts (``library/train_util.py``, DreamBoothDataset): images are taken in turn with the repeats of their
    folder until ``total`` is reached, so that the last of too many are left out (0); of too few, each is raised by one
    in turn. Unlike there, the image that reaches ``total`` does not pass it.

    Args:
        repeats: of each image as its folder says, 1 or more.
        total: the subject's images an epoch.
        passing: let that image keep all its repeats, exactly as sd-scripts does.
    """
    spread: list[int] = []
    for wanted in repeats:
        left = max(0, total - sum(spread))
        spread.append(wanted if passing and left else min(wanted, left))
    short = max(0, total - sum(spread))
    each, rest = divmod(short, len(spread)) if spread else (0, 0)
    return tuple(count + each + (place < rest) for place, count in enumerate(spread))


def _split(
    looks: Sequence[_Look], judges: Sequence[_Look], data: "DataConfig"
) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Return photos that train and photos that judge, with repeats; those of the latter count in a refit."""
    chosen = frozenset[int]() if data.held_out_path else _held_out_rows(looks, data)
    plain = plain_repeats(len(looks) - len(chosen))
    photos = [replace(look.photo, repeats=data.repeats or look.repeats or plain) for look in looks]
    train = tuple(photo for row, photo in enumerate(photos) if row not in chosen)
    if not data.held_out_path:
        return train, tuple(photos[row] for row in sorted(chosen))
    usual = round(sum(photo.repeats for photo in train) / len(train))
    return train, tuple(replace(look.photo, repeats=data.repeats or look.repeats or usual) for look in judges)


def _held_out_rows(looks: Sequence[_Look], data: "DataConfig") -> frozenset[int]:
    if not data.held_out or len(looks) < data.held_out_from:
        return frozenset()
    signatures = np.stack([look.signature for look in looks])
    return choose_held_out(signatures, [look.photo.sha256 for look in looks], data.held_out)


def _regularisation(photos: Sequence[Photo], train: Sequence[Photo]) -> tuple[Photo, ...]:
    # as many images an epoch as the subject has, so that neither drowns the other
    repeats = spread_repeats([photo.repeats for photo in photos], sum(photo.repeats for photo in train))
    return tuple(replace(photo, repeats=count) for photo, count in zip(photos, repeats, strict=True) if count)


def _shared(subject: Sequence[_Look], others: Sequence[_Look], why: str) -> list[str]:
    known = {look.photo.sha256: look.photo.path for look in subject}
    return [
        f"{look.photo.path} is the same picture as {known[look.photo.sha256]}; {why}."
        for look in others
        if look.photo.sha256 in known
    ]


def _contradictions(data: "DataConfig") -> list[str]:
    if not data.masks_path:
        return []
    if data.masks != "files":
        return [f"data.masks_path is {data.masks_path!r}, but data.masks is {data.masks!r}; set data.masks=files."]
    if not Path(data.masks_path).is_dir():
        return [f"data.masks_path is {data.masks_path!r}, which is no folder; it must be a folder of masks."]
    return []


def _read(
    key: str, folder: str | None, data: "DataConfig", problems: list[str], facts: list[PictureFacts] | None = None
) -> list[_Look]:
    """Return all photos of a plain folder, or of Kohya's folders in it; [] if ``folder`` is None."""
    if not folder:
        return []
    root = Path(folder)
    named = (data.path, data.held_out_path, data.regularisation_path, data.masks_path)
    # held-out photos and masks may lie within data.path, and are then no part of it
    apart = [Path(other) for other in named if other and other != folder]
    findings: list[Finding] = []
    folders = photo_folders(root, key, findings, apart)
    problems += [finding.text for finding in findings]
    return [look for found in folders for look in _read_folder(found, root, key, data, problems, facts)]


def _read_folder(
    folder: PhotoFolder,
    root: Path,
    key: str,
    data: "DataConfig",
    problems: list[str],
    facts: list[PictureFacts] | None,
) -> list[_Look]:
    findings: list[Finding] = []
    files = files_of(folder.path, root, findings)
    captions = read_captions(files, findings)
    problems += [finding.text for finding in findings]
    masks = find_masks(files, root, data, problems, needed=key == SUBJECT)
    looks: list[_Look] = []
    for path in files.pictures:
        caption = captions.get(path.stem)
        if key == REGULARISATION:
            text = regularisation_caption(caption, data, folder.words)
            problems += _trigger_outside(path, text, data.trigger)
        else:
            text = full_caption(caption, data, folder.words)
        look = _look(path, text, masks.get(path), data.masks, problems, facts)
        if look:
            looks.append(replace(look, repeats=folder.repeats))
    return looks


def _trigger_outside(path: Path, caption: str, trigger: str) -> list[str]:
    if not holds_word(caption, trigger):
        return []
    return [
        f"{path} is there to keep others of the class as they are, but its caption {caption!r} holds the trigger; take "
        f"{trigger!r} out of it, or choose another data.trigger."
    ]


def _look(
    path: Path, caption: str, mask: Path | None, masks: str, problems: list[str], facts: list[PictureFacts] | None
) -> _Look | None:
    try:
        content = path.read_bytes()
        stored = decode_stored(path, content)
    except UserError as error:
        problems.append(str(error))
        return None
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror}); it must be a picture that this user may open.")
        return None
    if facts is not None:
        facts.append(facts_of(path, content, stored))
    picture = set_upright(stored)
    mask_sha256 = ""
    if masks == "alpha":
        problems += _told(mask_problem(path, mask_of_alpha(picture), picture.size))
    elif mask is not None:
        mask_sha256 = _check_mask(mask, picture, problems)
    photo = Photo(
        path=path,
        caption=caption,
        width=picture.width,
        height=picture.height,
        sha256=hashlib.sha256(content).hexdigest(),
        mask=mask,
        mask_sha256=mask_sha256,
    )
    thumbnail = np.asarray(cover(to_srgb(picture), SIGNATURE_SIDE, SIGNATURE_SIDE), dtype=np.float64)
    return _Look(photo, None, thumbnail.ravel() / 255)


def _check_mask(path: Path, picture: Image.Image, problems: list[str]) -> str:
    """Return the sha256 of a mask that was read, decoded and found to fit; '' if it does not."""
    try:
        content = path.read_bytes()
        problems += _told(mask_problem(path, mask_of_file(path, content), picture.size))
    except UserError as error:
        problems.append(str(error))
        return ""
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror}); it must be a mask that this user may open.")
        return ""
    return hashlib.sha256(content).hexdigest()


def _told(problem: str | None) -> list[str]:
    return [problem] if problem else []
