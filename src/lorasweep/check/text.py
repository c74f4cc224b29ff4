"""What ``lorasweep check`` found, for people: errors first, one line per finding."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lorasweep.check.files import read_files
from lorasweep.check.inspection import Inspected, findings_without_faces
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.facts import PictureFacts
from lorasweep.data.findings import LEVELS, Finding

MOST = 6
"""Findings of one kind that are printed; --json has all of them."""
STYLES = {"error": "bold red", "warning": "yellow", "advice": "cyan"}
HEADS = {"error": "Training would not start", "warning": "The result will suffer", "advice": "Worth a look"}


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What ``lorasweep check`` found; ``--json`` prints its fields."""

    folder: Path
    judged_for: str
    """The resolution and subject that findings are about, in words."""
    pictures: int
    """Images that can be read."""
    captions: int
    faces: int | None
    """Photos with a face; None if faces were not looked for."""
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
    """One sentence for people."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return all findings, errors first."""
        return (*self.errors, *self.warnings, *self.advice)


def result_of(
    folder: Path, run: RunConfig, inspected: Inspected, findings: Sequence[Finding], notes: tuple[str, ...]
) -> CheckResult:
    """Return the findings by level, with what they are about and a verdict in one sentence."""
    errors, warnings, advice = (tuple(each for each in findings if each.level == level) for level in LEVELS)
    return CheckResult(
        folder=folder,
        judged_for=f"{run.model.resolution} pixels, {run.data.class_noun}",
        pictures=len(inspected.pictures),
        captions=len(inspected.files.captions),
        faces=sum(facts.count > 0 for facts in inspected.faces) if inspected.faces else None,
        errors=errors,
        warnings=warnings,
        advice=advice,
        notes=notes,
        sheet=None,
        mended=None,
        fits=not errors,
        verdict=_verdict(len(inspected.pictures), len(errors), len(warnings), len(advice)),
    )


def _verdict(pictures: int, errors: int, warnings: int, advice: int) -> str:
    counts = ", ".join(f"{count} {word}" for count, word in ((warnings, "to mend"), (advice, "to look at")) if count)
    if errors:
        return f"Training would not start: {errors} to put right first" + (f", {counts}." if counts else ".")
    return f"{pictures} pictures can be trained on" + (
        f"; {counts}." if counts else ", and nothing is wrong with them."
    )


def print_check(result: CheckResult, say: Say) -> None:
    """Print the findings by level and kind, what was not checked, the files that were written, and the verdict."""
    console = Console()
    for level in (result.errors, result.warnings, result.advice):
        if level:
            say(_shown(console, _level(level, f"{result.folder}/")))
    for note in result.notes:
        say(note)
    if result.sheet:
        say(f"The pictures with what was found on them: {result.sheet}")
    if result.mended:
        say(f"A mended copy: {result.mended}; the originals are as they were.")
    say(result.verdict)


def short_warnings(run: RunConfig, facts: Sequence[PictureFacts]) -> list[str]:
    """Return a line that counts the warnings about the photos of a run, which is about to start; none without any.

    Args:
        facts: of the subject's photos, as ``read_dataset`` gathers them, so that no image is read twice.
    """
    files = read_files(Path(run.data.path), run.data)
    inspected = Inspected(files=files, pictures=tuple(facts), faces=(), broken=())
    kinds: dict[str, int] = {}
    # a run puts the trigger into captions that lack it, so that they need no warning here
    for finding in findings_without_faces(inspected, run, trigger=False):
        if finding.level == "warning":
            kinds[finding.kind] = kinds.get(finding.kind, 0) + 1
    if not kinds:
        return []
    counts = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in kinds.items())
    return [f"The photos have warnings ({counts}); 'lorasweep check {run.data.path}' shows them."]


def _level(findings: Sequence[Finding], prefix: str) -> Text:
    """Return a heading and the findings of one level; paths lose ``prefix``, the folder that the user named."""
    level = findings[0].level
    lines = Text(f"{HEADS[level]} ({len(findings)} {level}{_plural(level, len(findings))})\n", style=STYLES[level])
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        same = list(group)
        # "and 1 more" would take the line that the finding itself takes
        for finding in same[:MOST] if len(same) > MOST + 1 else same:
            lines.append(f"  {kind:<19} ", style="dim")
            lines.append(finding.text.replace(prefix, "").replace("\n", "\\n") + "\n", style="default not bold")
        if len(same) > MOST + 1:
            lines.append(f"  {kind:<19} and {len(same) - MOST} more; --json lists them all\n", style="dim")
    return lines


def _plural(level: str, count: int) -> str:
    return "" if count == 1 or level == "advice" else "s"


def _shown(console: Console, text: Text) -> str:
    """Return the text with colours if the output is a terminal, each finding on one line however long it is."""
    with console.capture() as caught:
        console.print(text, soft_wrap=True, end="")
    return caught.get().rstrip("\n")
