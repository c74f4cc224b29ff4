"""``lorasweep caption``: a caption file beside every picture that has none, and what is wrong with all of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasweep.console import counting, waiting
from lorasweep.data.atomic import write_atomically
from lorasweep.data.caption_lint import lint_captions
from lorasweep.data.captions import holds_word, prefixed, read_captions
from lorasweep.data.findings import Finding
from lorasweep.data.folders import CAPTIONS, Files, files_of, photo_folders
from lorasweep.data.pictures import load_pixels, open_picture
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.captioning.captioners import Captioner, CaptionerChoice
    from lorasweep.captioning.settings import CaptionSettings
    from lorasweep.console import Say


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who wrote captions: enough to write the same ones again."""

    kind: str
    model: str
    """A local folder or a hub id."""
    revision: str | None
    sha256: str
    """Of the weights."""
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """What ``lorasweep caption`` did."""

    author: Author | None
    """None where there was nothing to write."""
    trigger: str
    written: tuple[Path, ...]
    kept: int
    """Pictures that had a caption before, and keep it."""
    findings: tuple[Finding, ...]
    """About all captions of the folder, old and new."""


@dataclass(frozen=True)
class _Task:
    picture: Path
    target: Path


def caption(folder: str | Path, words: Sequence[str] = (), *, say: "Say" = print) -> Captioned:
    """Write what is missing, then say what is wrong with the captions.

    Each file is written whole, batch by batch, so that after Ctrl-C the same command goes on where it was.

    Args:
        folder: of pictures, or of Kohya's folders ``<repeats>_<token> <class>``.
        words: ``key=value`` each, as ``caption_words.WORDS`` has them.

    Raises:
        UserError: a bad word, pictures that cannot be read (all of them, one sentence a line), or no such model.
        TryAgainError: the hub does not answer, or the disk is full.
    """
    from lorasweep.captioning.settings import settings_of

    root = Path(folder).expanduser()
    found: list[Finding] = []
    places = _places(root, found)
    problems = [finding.text for finding in found]
    if not places:
        raise UserError("\n".join(problems))
    settings = settings_of(words, root)
    tasks = [task for files in places for task in _tasks(files, settings, problems)]
    problems += [problem for task in tasks if (problem := _unreadable(task.picture))]
    if problems:
        raise UserError("\n".join(problems))
    kept = sum(len(files.pictures) for files in places) - len(tasks)
    author = _write(tasks, settings, say) if tasks else None
    say(_summary(root, tasks, kept, author))
    findings = _lint(_places(root, []), settings.trigger, say)
    return Captioned(
        author=author,
        trigger=settings.trigger,
        written=tuple(task.target for task in tasks),
        kept=kept,
        findings=tuple(findings),
    )


def with_trigger(text: str, trigger: str, prefix: str = "") -> str:
    """The caption as it is written: the prefix, else the trigger, before what was seen; never twice.

    What is written is what ``data.captions.full_caption`` would train on.
    """
    if not text:
        return prefix if holds_word(prefix, trigger) else prefixed(prefix, trigger)
    if not holds_word(f"{prefix} {text}", trigger):
        text = f"{trigger}, {text}"
    return prefixed(prefix, text)


def _places(root: Path, problems: list[Finding]) -> list[Files]:
    """The files of every folder of pictures in ``root`` as they are now."""
    folders = photo_folders(root, "the folder of photos", problems)
    return [files_of(place.path, root, problems) for place in folders]


def _tasks(files: Files, settings: "CaptionSettings", problems: list[str]) -> list[_Task]:
    """The pictures of one folder that get a caption, and the file that it goes to: the one that is read, if any is."""
    read = {path.stem: path for ending in reversed(CAPTIONS) for path in files.captions if _ends(path, ending)}
    tasks = [
        _Task(picture, read.get(picture.stem, picture.with_name(f"{picture.stem}{settings.ending}")))
        for picture in files.pictures
        if settings.overwrite or picture.stem not in read
    ]
    for target, times in Counter(task.target for task in tasks).items():
        if times > 1:
            alike = [task.picture.name for task in tasks if task.target == target]
            problems.append(f"{target} would be the caption of {' and '.join(alike)}; rename all but one of them.")
    return tasks


def _ends(path: Path, ending: str) -> bool:
    return path.suffix.lower() == ending


def _unreadable(path: Path) -> str | None:
    try:
        open_picture(path)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); it must be a picture that this user may open."
    return None


def _write(tasks: Sequence[_Task], settings: "CaptionSettings", say: "Say") -> Author:
    from lorasweep.captioning.captioners import open_captioner
    from lorasweep.models import device_of

    choice = settings.choice.pinned()
    choice = replace(choice, device=str(device_of(choice.device, "device")))
    say(f"Opening {_name(choice)}")
    with waiting("Opening the captioner"):
        captioner = open_captioner(choice)
    with counting("Captions", len(tasks)) as done:
        _write_all(tasks, captioner, settings, done)
    return Author(
        kind=choice.kind,
        model=str(choice.model),
        revision=choice.revision,
        sha256=captioner.sha256,
        settings=dict(captioner.settings),
    )


def _write_all(
    tasks: Sequence[_Task], captioner: "Captioner", settings: "CaptionSettings", done: Callable[[int], None]
) -> None:
    for start in range(0, len(tasks), settings.batch_size):
        batch = tasks[start : start + settings.batch_size]
        texts = captioner.caption(load_pixels(task.picture) for task in batch)
        for task, text in zip(batch, texts, strict=True):
            full = with_trigger(text, settings.trigger, settings.prefix)
            write_atomically(task.target, f"{full}\n".encode())
        done(len(batch))


def _name(choice: "CaptionerChoice") -> str:
    return f"{choice.model} at {choice.revision}" if choice.revision else str(choice.model)


def _summary(root: Path, tasks: Sequence[_Task], kept: int, author: Author | None) -> str:
    if author is None:
        return f"Nothing was written: all {kept} pictures of {root} have captions; overwrite=true writes them again."
    at = f" at {author.revision}" if author.revision else ""
    told = ", ".join(f"{key} {value}" for key, value in author.settings.items())
    return (
        f"{len(tasks)} captions were written in {root}, {kept} were there. "
        f"They are by {author.model}{at} (sha256 {author.sha256[:12]}; {told})."
    )


def _lint(places: Sequence[Files], trigger: str, say: "Say") -> list[Finding]:
    """Findings about all captions as they are read for training; each is said, as is a file that cannot be read."""
    problems: list[Finding] = []
    captions: dict[Path, str] = {}
    for files in places:
        texts = read_captions(files, problems)
        beside = {path.stem: path for ending in reversed(CAPTIONS) for path in files.captions if _ends(path, ending)}
        captions |= {beside[stem]: text for stem, text in texts.items()}
    findings = lint_captions(captions, trigger)
    for line in [*(problem.text for problem in problems), *(f"{finding.level}: {finding.text}" for finding in findings)]:
        say(line)
    return findings
