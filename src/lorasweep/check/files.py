"""The files of a data set before any image is opened: what is there, and what is wrong with names and captions."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.data.captions import read_captions
from lorasweep.data.findings import Finding
from lorasweep.data.folders import CAPTIONS, files_of, photo_folders

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig


@dataclass(frozen=True, kw_only=True)
class PhotoFiles:
    """The photos and captions of a data set, by name."""

    pictures: tuple[Path, ...]
    """The photos, in natural order of each folder."""
    captions: Mapping[Path, str]
    """Caption file to its text."""
    caption_of: Mapping[Path, Path]
    """Photo to its caption file."""
    findings: tuple[Finding, ...]
    words: Mapping[Path, str] = field(default_factory=dict[Path, str])
    """Photo to what the name of its Kohya folder says: trigger and class noun; '' in a plain folder."""


def read_files(root: Path, data: "DataConfig") -> PhotoFiles:
    """Return the photos and captions of ``root``, or of Kohya's folders in it; all that is wrong becomes a finding."""
    findings: list[Finding] = []
    apart = [Path(other) for other in (data.held_out_path, data.regularisation_path, data.masks_path) if other]
    pictures: list[Path] = []
    captions: dict[Path, str] = {}
    caption_of: dict[Path, Path] = {}
    words: dict[Path, str] = {}
    captioned: set[Path] = set()
    for folder in photo_folders(root, "data.path", findings, apart):
        files = files_of(folder.path, root, findings)
        texts = read_captions(files, findings)
        pictures += files.pictures
        words |= dict.fromkeys(files.pictures, folder.words)
        for picture in files.pictures:
            file = _caption_file(picture.stem, files.captions)
            if file:
                captioned.add(picture)  # also if it cannot be read, which is a finding of its own
            if file and picture.stem in texts:
                captions[file], caption_of[picture] = texts[picture.stem], file
    return PhotoFiles(
        pictures=tuple(pictures),
        captions=captions,
        caption_of=caption_of,
        findings=(*_without_echoes(findings), *_without_caption(pictures, captioned, words)),
        words=words,
    )


def _caption_file(stem: str, files: Sequence[Path]) -> Path | None:
    """Return the caption file that counts for a photo; ``.txt`` stands above ``.caption``."""
    by_ending = {path.suffix.lower(): path for path in files if path.stem == stem}
    return next((by_ending[ending] for ending in CAPTIONS if ending in by_ending), None)


def _without_caption(pictures: Sequence[Path], captioned: Set[Path], words: Mapping[Path, str]) -> list[Finding]:
    """Return one finding if no photo has a caption, else one for each that lacks it."""
    # The words of a Kohya folder are the caption of its photos, as long as none of them has one of its own.
    mixed = {path.parent for path in captioned}
    lacking = [path for path in pictures if path not in captioned and (path.parent in mixed or not words.get(path))]
    if lacking and not captioned:
        text = (
            f"None of the {len(lacking)} pictures has a caption, so that all are learned as one plain sentence; write "
            "captions with 'lorasweep caption' or by hand."
        )
        return [Finding(kind="caption_missing", text=text, paths=tuple(lacking))]
    return [
        Finding(
            kind="caption_missing",
            text=f"{path} has no caption while others have; write {path.stem}.txt beside it.",
            paths=(path,),
        )
        for path in lacking
    ]


def _without_echoes(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings without captions that only lack their photo because it is of an unreadable kind."""
    # that photo is named already, and its caption is right where it is
    named = {path.with_suffix("") for each in findings if each.kind == "unreadable" for path in each.paths}
    return [
        each
        for each in findings
        if each.kind != "caption_orphan" or not {path.with_suffix("") for path in each.paths} & named
    ]
