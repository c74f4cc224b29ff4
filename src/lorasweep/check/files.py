"""The files of a data set before any picture is opened: what is there, and what is wrong with names and captions."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.data.captions import read_captions
from lorasweep.data.findings import Finding
from lorasweep.data.folders import CAPTIONS, files_of, photo_folders
from lorasweep.data.pictures import FOREIGN

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig


@dataclass(frozen=True, kw_only=True)
class PhotoFiles:
    """What is to be looked at."""

    pictures: tuple[Path, ...]
    captions: Mapping[Path, str]
    """Text by caption file."""
    caption_of: Mapping[Path, Path]
    """Caption file by picture."""
    findings: tuple[Finding, ...]
    words: Mapping[Path, str] = field(default_factory=dict[Path, str])
    """What the Kohya folder of a picture says, by picture; plain folders say nothing."""


def read_files(root: Path, data: "DataConfig") -> PhotoFiles:
    """Pictures and captions of ``root``, or of Kohya's folders in it; everything that is wrong becomes a finding."""
    problems: list[str] = []
    apart = [Path(other) for other in (data.held_out_path, data.regularisation_path, data.masks_path) if other]
    folders = photo_folders(root, "data.path", problems, apart)
    pictures: list[Path] = []
    captions: dict[Path, str] = {}
    caption_of: dict[Path, Path] = {}
    words: dict[Path, str] = {}
    captioned: set[Path] = set()
    for folder in folders:
        files = files_of(folder.path, root, problems)
        texts = read_captions(files, problems)
        pictures += files.pictures
        words |= dict.fromkeys(files.pictures, folder.words)
        for picture in files.pictures:
            file = _caption_file(picture.stem, files.captions)
            if file:
                captioned.add(picture)
            if file and picture.stem in texts:
                captions[file], caption_of[picture] = texts[picture.stem], file
    findings = _once([_finding(says, root, [folder.path for folder in folders]) for says in problems])
    return PhotoFiles(
        pictures=tuple(pictures),
        captions=captions,
        caption_of=caption_of,
        findings=(*findings, *_without_caption(pictures, captioned, words)),
        words=words,
    )


def _caption_file(stem: str, files: Sequence[Path]) -> Path | None:
    """The file whose text counts where there are several."""
    by_ending = {path.suffix.lower(): path for path in files if path.stem == stem}
    return next((by_ending[ending] for ending in CAPTIONS if ending in by_ending), None)


def _without_caption(pictures: Sequence[Path], captioned: Set[Path], words: Mapping[Path, str]) -> list[Finding]:
    """One finding where no picture has a caption, else one for each that lacks it.

    A Kohya folder's words are a caption where all of its pictures have no other; a file that cannot be read is one,
    too, and is told by itself.
    """
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


def _finding(says: str, root: Path, folders: Sequence[Path]) -> Finding:
    """A problem's sentence, and its kind by the file or folder that it begins with."""
    entries = [entry for folder in {root, *folders} if folder.is_dir() for entry in folder.iterdir()]
    about = max(
        (path for path in entries if says.startswith(f"{path} ")), key=lambda path: len(str(path)), default=None
    )
    paths = (about,) if about else ()
    return Finding(kind=_kind(about), text=says, paths=paths)


def _once(findings: list[Finding]) -> list[Finding]:
    """Without captions whose picture is there and named already, since it is of a kind that cannot be read."""
    named = {path.with_suffix("") for each in findings if each.kind == "unreadable" for path in each.paths}
    return [
        each
        for each in findings
        if each.kind != "caption_orphan" or not {path.with_suffix("") for path in each.paths} & named
    ]


def _kind(path: Path | None) -> str:
    if path is None:
        return "folder"
    if path.suffix.lower() in CAPTIONS and not path.is_symlink():
        has_picture = any(other.stem == path.stem and other != path for other in _pictures_beside(path))
        return "caption_unreadable" if has_picture else "caption_orphan"
    if path.is_symlink():
        return "link"
    return "unreadable" if path.suffix.lower() in FOREIGN else "folder"


def _pictures_beside(path: Path) -> list[Path]:
    from lorasweep.data.pictures import SUFFIXES

    return [other for other in path.parent.iterdir() if other.suffix.lower() in SUFFIXES]
