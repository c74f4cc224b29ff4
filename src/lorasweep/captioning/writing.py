"""``lorasweep caption``: write a caption file beside every photo that has none, and say what is wrong with them all."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorasweep.captioning.captioners import WEIGHTS, Captioner, CaptionerChoice, CaptionerKind, model_folder
from lorasweep.captioning.settings import CaptionSettings, settings_of
from lorasweep.console import Say, counting, waiting
from lorasweep.data.atomic import write_atomically
from lorasweep.data.caption_lint import lint_captions
from lorasweep.data.captions import holds_word, prefixed, read_captions
from lorasweep.data.findings import Finding
from lorasweep.data.folders import CAPTIONS, Files, files_of, photo_folders
from lorasweep.data.pictures import load_pixels, open_picture
from lorasweep.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Author:
    """What wrote the captions: enough to write the same ones again."""

    kind: str
    model: str
    """A local folder or a hub id."""
    revision: str | None
    sha256: str
    """Of the weights."""
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """What ``lorasweep caption`` did; ``--json`` prints its fields."""

    author: Author | None
    """None if there was nothing to write."""
    trigger: str
    written: tuple[Path, ...]
    kept: int
    """Photos that had a caption before, and keep it."""
    findings: tuple[Finding, ...]
    """About all captions of the folder, old and new."""


@dataclass(frozen=True)
class _Task:
    """A photo, and the caption file that is to be written for it."""

    picture: Path
    target: Path


def caption(folder: str | Path, words: Sequence[str] = (), *, say: Say = print) -> Captioned:
    """Write the captions that are missing, then say what is wrong with all of them.

    After Ctrl-C the same command goes on where it stopped, since each file is written whole.

    Args:
        folder: of photos, or of Kohya's folders ``<repeats>_<token> <class>``.
        words: ``key=value`` each; ``settings.WORDS`` lists them.

    Raises:
        UserError: a bad word, photos that cannot be read (all of them, one sentence a line), or no such model.
        TryAgainError: the hub does not answer, or the disk is full.
    """
    root = Path(folder).expanduser()
    found: list[Finding] = []
    places = _places(root, found)
    problems = [finding.text for finding in found]
    if not places:
        raise UserError("\n".join(problems))
    settings = settings_of(words, root)
    tasks = [task for files in places for task in _tasks(files, settings, problems)]
    # every photo is opened before the model is, so that a bad one does not end an hour of captioning
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
    """Return a caption with the prefix, else the trigger, in front, neither of them twice.

    ``data.captions.full_caption`` leaves such a caption as it is, so what is written is what is trained on.
    """
    if not text:
        return prefix if holds_word(prefix, trigger) else prefixed(prefix, trigger)
    if not holds_word(f"{prefix} {text}", trigger):
        text = f"{trigger}, {text}"
    return prefixed(prefix, text)


def _places(root: Path, problems: list[Finding]) -> list[Files]:
    """Return the files of every folder of photos in ``root`` as they are now."""
    folders = photo_folders(root, "the folder of photos", problems)
    return [files_of(place.path, root, problems) for place in folders]


def _tasks(files: Files, settings: CaptionSettings, problems: list[str]) -> list[_Task]:
    """Return the photos of one folder that get a caption, each with the file to write: the one that is read, if any."""
    read = {path.stem: path for ending in reversed(CAPTIONS) for path in files.captions if _ends(path, ending)}
    tasks = [
        _Task(picture, read.get(picture.stem, picture.with_name(f"{picture.stem}{settings.ending}")))
        for picture in files.pictures
        if settings.overwrite or picture.stem not in read
    ]
    for target, times in Counter(task.target for task in tasks).items():
        if times > 1:  # a.jpg and a.png would share a.txt
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


def _write(tasks: Sequence[_Task], settings: CaptionSettings, say: Say) -> Author:
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


def open_captioner(choice: CaptionerChoice) -> Captioner:
    """Return the captioner, its model loaded.

    Raises:
        UserError: the model is not there, is a pickle, lacks a file or cannot be read.
        TryAgainError: the hub does not answer.
    """
    if choice.kind == CaptionerKind.BLIP:
        from lorasweep.captioning import blip

        return blip.Blip(model_folder(choice, blip.HUB_FILES), choice.device)
    from lorasweep.captioning import taggers

    folder = model_folder(choice, taggers.HUB_FILES)
    # older generations are on the hub as ONNX only
    if not (folder / WEIGHTS).is_file() and not Path(str(choice.pinned().model)).expanduser().exists():
        folder = model_folder(choice, taggers.ONNX_HUB_FILES)
    rules = taggers.Rules(
        threshold=choice.threshold, character_threshold=choice.character_threshold, escape=choice.escape
    )
    return taggers.open_tagger(folder, rules, choice.device)


def _write_all(
    tasks: Sequence[_Task], captioner: Captioner, settings: CaptionSettings, done: Callable[[int], None]
) -> None:
    for start in range(0, len(tasks), settings.batch_size):
        batch = tasks[start : start + settings.batch_size]
        texts = captioner.caption(load_pixels(task.picture) for task in batch)
        for task, text in zip(batch, texts, strict=True):
            full = with_trigger(text, settings.trigger, settings.prefix)
            # captions and nothing else are left in the folder: other trainers read it too
            write_atomically(task.target, f"{full}\n".encode())
        done(len(batch))


def _name(choice: CaptionerChoice) -> str:
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


def _lint(places: Sequence[Files], trigger: str, say: Say) -> list[Finding]:
    """Return the findings about all captions as training reads them; print each, and every file that cannot be read."""
    problems: list[Finding] = []
    captions: dict[Path, str] = {}
    for files in places:
        texts = read_captions(files, problems)
        beside = {path.stem: path for ending in reversed(CAPTIONS) for path in files.captions if _ends(path, ending)}
        captions |= {beside[stem]: text for stem, text in texts.items()}
    findings = lint_captions(captions, trigger)
    lines = [*(problem.text for problem in problems), *(f"{finding.level}: {finding.text}" for finding in findings)]
    for line in lines:
        say(line)
    return findings
