"""``lorasweep check``: what is wrong with a folder of photos, before it is trained on. Originals are never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.check.copies import check_copies
from lorasweep.check.faces import check_faces
from lorasweep.check.files import PhotoFiles, read_files
from lorasweep.check.orientation import check_orientation
from lorasweep.check.pictures import check_pictures
from lorasweep.check.text import warnings_in_short
from lorasweep.check.variety import check_set
from lorasweep.config.card import planned_device
from lorasweep.config.schema import RunConfig
from lorasweep.config.subject import told_by
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

OF_TRIGGER = ("trigger_missing", "trigger_inside_word")


@dataclass(frozen=True, kw_only=True)
class Looked:
    """All that was read of a data set, pictures in order of the files."""

    files: PhotoFiles
    pictures: tuple[PictureFacts, ...]
    faces: tuple[FaceFacts, ...]
    """As many as pictures, or none where nobody looked for faces."""
    broken: tuple[Finding, ...]
    """Files that cannot be used as pictures."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What ``lorasweep check`` found."""

    folder: Path
    judged_for: str
    """The resolution and subject that findings are about, in words."""
    pictures: int
    """That can be read."""
    captions: int
    faces: int | None
    """Pictures with a face; None where faces were not looked for."""
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    advice: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What was not checked, and why."""
    sheet: Path | None
    mended: Path | None
    fits: bool
    """Whether training would start: there is no error."""
    verdict: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Errors first."""
        return (*self.errors, *self.warnings, *self.advice)


def findings_of(folder: Path, run: RunConfig, finder: "FaceFinder | None") -> tuple[Finding, ...]:
    """All findings about ``folder`` for such a run, errors first; without a finder nothing is said of faces."""
    return judge(look_at(folder, run, finder), run)


def finder_for(run: RunConfig) -> tuple["FaceFinder | None", tuple[str, ...]]:
    """The finder of ``evaluate.face`` where the subject has a face, and what it cannot do, in sentences."""
    from lorasweep.vision.describe import open_finder

    if told_by(run) != "face" or not any(prompt.face for prompt in run.sample.prompts.values()):
        return None, (f"Faces were not looked for: {run.preset} is about {run.data.class_noun}.",)
    finder = open_finder(run.evaluate, planned_device(run.hardware.device))
    if finder.unknown:
        return finder, (f"Whether all faces are one person's was not checked: {finder.unknown}",)
    return finder, ()


def look_at(folder: Path, run: RunConfig, finder: "FaceFinder | None") -> Looked:
    """Read every picture once, one at a time: what is kept of each is about 15 kB."""
    files = read_files(folder, run.data)
    pictures: list[PictureFacts] = []
    faces: list[FaceFacts] = []
    broken: list[Finding] = []
    with counting("Looking at pictures", len(files.pictures)) as seen:
        for path in files.pictures:
            seen(1)
            try:
                facts, stored = read_facts(path)
            except PictureError as error:
                broken.append(Finding(kind=error.kind, text=str(error), paths=(path,)))
                continue
            pictures.append(facts)
            if finder is not None:
                faces.append(_face(path, stored, finder))
    return Looked(files=files, pictures=tuple(pictures), faces=tuple(faces), broken=tuple(broken))


def _face(path: Path, stored: "Image.Image", finder: "FaceFinder") -> FaceFacts:
    from lorasweep.vision.face_facts import face_facts

    return face_facts(path, to_srgb(set_upright(stored)), finder)


def judge(looked: Looked, run: RunConfig, *, trigger: bool = True) -> tuple[Finding, ...]:
    """What all rules say, errors first. ``trigger``: whether captions are asked for the trigger."""
    found = [*cheap_findings(looked, run, trigger=trigger)]
    found += check_faces(looked.faces, run.model.resolution)
    found += check_set(looked.faces)
    found += check_orientation(looked.faces, run.data.check_mirror)
    return tuple(sorted(found, key=_rank))


def cheap_findings(looked: Looked, run: RunConfig, *, trigger: bool = True) -> list[Finding]:
    """What files, pictures and captions say without a look at faces."""
    rule = bucket_rule(run.data, run.model.resolution)
    placements = [_placement(facts, rule) for facts in looked.pictures]
    said = lint_captions(looked.files.captions, run.data.trigger)
    return [
        *looked.files.findings,
        *looked.broken,
        *check_pictures(looked.pictures, placements, rule.shortest, rule.longest),
        *check_copies(looked.pictures),
        *(finding for finding in said if trigger or finding.kind not in OF_TRIGGER),
    ]


def short_warnings(run: RunConfig, facts: Sequence[PictureFacts]) -> list[str]:
    """What is to be said of the photos as a run begins, without a look at faces; errors were raised before.

    ``facts`` are those of the subject's pictures, as ``read_dataset`` gathers them.
    """
    files = read_files(Path(run.data.path), run.data)
    looked = Looked(files=files, pictures=tuple(facts), faces=(), broken=())
    return warnings_in_short(cheap_findings(looked, run, trigger=False), run.data.path)


def _placement(facts: PictureFacts, rule: BucketRule) -> Placement | None:
    """None for a picture that is too small to be trained on as it is."""
    try:
        return place_pictures([(facts.width, facts.height)], rule)[0]
    except UserError:
        return None


def _rank(finding: Finding) -> tuple[int, int]:
    """By level, then by kind; sorting keeps the order of the files."""
    return LEVELS.index(finding.level), list(KINDS).index(finding.kind)


def result_of(
    folder: Path, run: RunConfig, looked: Looked, findings: Sequence[Finding], notes: tuple[str, ...]
) -> CheckResult:
    errors, warnings, advice = (tuple(each for each in findings if each.level == level) for level in LEVELS)
    return CheckResult(
        folder=folder,
        judged_for=f"{run.model.resolution} pixels, {run.data.class_noun}",
        pictures=len(looked.pictures),
        captions=len(looked.files.captions),
        faces=sum(facts.count > 0 for facts in looked.faces) if looked.faces else None,
        errors=errors,
        warnings=warnings,
        advice=advice,
        notes=notes,
        sheet=None,
        mended=None,
        fits=not errors,
        verdict=_verdict(len(looked.pictures), len(errors), len(warnings), len(advice)),
    )


def _verdict(pictures: int, errors: int, warnings: int, advice: int) -> str:
    counts = ", ".join(f"{count} {word}" for count, word in ((warnings, "to mend"), (advice, "to look at")) if count)
    if errors:
        return f"Training would not start: {errors} to put right first" + (f", {counts}." if counts else ".")
    return f"{pictures} pictures can be trained on" + (
        f"; {counts}." if counts else ", and nothing is wrong with them."
    )
