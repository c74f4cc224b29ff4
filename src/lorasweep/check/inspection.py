"""What is wrong with a folder of photos: every image is read once, then all rules are asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.check.copies import check_copies
from lorasweep.check.faces import check_faces
from lorasweep.check.files import PhotoFiles, read_files
from lorasweep.check.pictures import check_pictures
from lorasweep.check.variety import check_orientation, check_set
from lorasweep.config.card import planned_device
from lorasweep.config.schema import RunConfig, told_by
from lorasweep.console import counting
from lorasweep.data.buckets import BucketRule, Placement, bucket_rule, place_pictures
from lorasweep.data.caption_lint import lint_captions
from lorasweep.data.facts import FaceFacts, PictureFacts
from lorasweep.data.findings import KINDS, LEVELS, Finding
from lorasweep.data.picture_facts import read_facts
from lorasweep.data.pictures import PictureError, set_upright, to_srgb
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from lorasweep.vision.face_finder import FaceFinder

ABOUT_TRIGGER = ("trigger_missing", "trigger_inside_word")
"""Kinds of findings that need the trigger to be known."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """All that was read of a data set, photos in the order of their files."""

    files: PhotoFiles
    pictures: tuple[PictureFacts, ...]
    """Of the images that can be read."""
    faces: tuple[FaceFacts, ...]
    """As many as ``pictures``, or none if no face was looked for."""
    broken: tuple[Finding, ...]
    """Files that cannot be read as images."""


def findings_of(folder: Path, run: RunConfig, finder: "FaceFinder | None") -> tuple[Finding, ...]:
    """Return all findings about ``folder`` for such a run, errors first; without a finder none are about faces."""
    return judge(inspect_photos(folder, run, finder), run)


def finder_for(run: RunConfig) -> tuple["FaceFinder | None", tuple[str, ...]]:
    """Return the finder of ``evaluate.face``, and what it cannot do, in sentences; None if the subject has no face."""
    from lorasweep.vision.describe import open_finder

    if told_by(run) != "face" or not any(prompt.face is True for prompt in run.sample.prompts.values()):
        return None, (f"Faces were not looked for: {run.preset} is about {run.data.class_noun}.",)
    finder = open_finder(run.evaluate, planned_device(run.hardware.device))
    if finder.unknown:
        return finder, (f"Whether all faces are one person's was not checked: {finder.unknown}",)
    return finder, ()


def inspect_photos(folder: Path, run: RunConfig, finder: "FaceFinder | None") -> Inspected:
    """Read every image of a folder once; what is kept of each is about 15 kB."""
    files = read_files(folder, run.data)
    pictures: list[PictureFacts] = []
    faces: list[FaceFacts] = []
    broken: list[Finding] = []
    with counting("Looking at pictures", len(files.pictures)) as seen:
        for path in files.pictures:  # one at a time, so that memory does not grow with the set
            seen(1)
            try:
                facts, stored = read_facts(path)
            except PictureError as error:
                broken.append(Finding(kind=error.kind, text=str(error), paths=(path,)))
                continue
            pictures.append(facts)
            if finder is not None:
                faces.append(_face(path, stored, finder))
    return Inspected(files=files, pictures=tuple(pictures), faces=tuple(faces), broken=tuple(broken))


def _face(path: Path, stored: "Image.Image", finder: "FaceFinder") -> FaceFacts:
    from lorasweep.vision.face_facts import face_facts

    return face_facts(path, to_srgb(set_upright(stored)), finder)


def judge(inspected: Inspected, run: RunConfig, *, trigger: bool = True) -> tuple[Finding, ...]:
    """Return what all rules find, errors first.

    Args:
        trigger: whether the trigger is known, so that captions may be blamed for lacking it.
    """
    found = findings_without_faces(inspected, run, trigger=trigger)
    found += check_faces(inspected.faces, run.model.resolution)
    found += check_set(inspected.faces)
    found += check_orientation(inspected.faces, run.data.check_mirror)
    return tuple(sorted(found, key=_rank))


def findings_without_faces(inspected: Inspected, run: RunConfig, *, trigger: bool = True) -> list[Finding]:
    """Return what is wrong with files, images and captions, without a look at faces."""
    rule = bucket_rule(run.data, run.model.resolution)
    placements = [_placement(facts, rule) for facts in inspected.pictures]
    said = lint_captions(inspected.files.captions, run.data.trigger)
    return [
        *inspected.files.findings,
        *inspected.broken,
        *check_pictures(inspected.pictures, placements, rule.shortest, rule.longest),
        *check_copies(inspected.pictures),
        *(finding for finding in said if trigger or finding.kind not in ABOUT_TRIGGER),
    ]


def _placement(facts: PictureFacts, rule: BucketRule) -> Placement | None:
    """Return how an image is resized and cropped; None if it is too small to be trained on as it is."""
    try:
        return place_pictures([(facts.width, facts.height)], rule)[0]
    except UserError:  # ``check_pictures`` says that it is too small
        return None


def _rank(finding: Finding) -> tuple[int, int]:
    """Return a sort key: by level, then by kind. Sorting is stable, so that files stay in order."""
    return LEVELS.index(finding.level), list(KINDS).index(finding.kind)
