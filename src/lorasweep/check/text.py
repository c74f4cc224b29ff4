"""What ``lorasweep check`` found, for people: errors first, one line a finding."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lorasweep.console import Say

if TYPE_CHECKING:
    from lorasweep.check.inspection import CheckResult
    from lorasweep.data.findings import Finding

MOST = 6
"""Findings of one kind that are written out; --json has all of them."""
STYLES = {"error": "bold red", "warning": "yellow", "advice": "cyan"}
HEADS = {"error": "Training would not start", "warning": "The result will suffer", "advice": "Worth a look"}


def print_check(result: "CheckResult", say: Say) -> None:
    """Groups by level and kind, what was not checked, where sheet and copy are, and the verdict in one sentence."""
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


def warnings_in_short(findings: Iterable["Finding"], folder: str) -> list[str]:
    """One line a kind with how often it occurs, for a run that is about to train."""
    kinds: dict[str, int] = {}
    for finding in findings:
        if finding.level == "warning":
            kinds[finding.kind] = kinds.get(finding.kind, 0) + 1
    if not kinds:
        return []
    counts = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in kinds.items())
    return [f"The photos have warnings ({counts}); 'lorasweep check {folder}' shows them."]


def _level(findings: Sequence["Finding"], prefix: str) -> Text:
    """A heading and its findings; paths lose ``prefix``, the folder that was named."""
    level = findings[0].level
    lines = Text(f"{HEADS[level]} ({len(findings)} {level}{_plural(level, len(findings))})\n", style=STYLES[level])
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        same = list(group)
        for finding in same[:MOST] if len(same) > MOST + 1 else same:
            lines.append(f"  {kind:<19} ", style="dim")
            lines.append(finding.text.replace(prefix, "").replace("\n", "\\n") + "\n", style="default not bold")
        if len(same) > MOST + 1:
            lines.append(f"  {kind:<19} and {len(same) - MOST} more; --json lists them all\n", style="dim")
    return lines


def _plural(level: str, count: int) -> str:
    return "" if count == 1 or level == "advice" else "s"


def _shown(console: Console, text: Text) -> str:
    """With colours where the output is a terminal, each finding on one line however wide that is."""
    with console.capture() as caught:
        console.print(text, soft_wrap=True, end="")
    return caught.get().rstrip("\n")
