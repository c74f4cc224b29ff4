"""``lorasweep check DIR``: say what is wrong with a folder of photos, before it is trained on."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorasweep.check.inspection import finder_for, inspect_photos, judge
from lorasweep.check.mending import mend, require_new_folder
from lorasweep.check.sheet import save_check_sheet
from lorasweep.check.text import CheckResult, print_check, result_of
from lorasweep.commands import Answer
from lorasweep.commands.photos import add_photos, folder_words, photo_folder
from lorasweep.config.compose import load_run
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.folders import words_unsaid
from lorasweep.errors import ExitCode

PLAIN = "person_sd15"
"""The preset that a folder is judged for if none is named."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``DIR [key=value …]`` and the files to write."""
    add_photos(parser)
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw all images with what was found into this PNG")
    parser.add_argument("--fix", type=Path, metavar="DIR", help="write a mended copy into this new folder")


def main(options: Namespace) -> Answer:
    """Print what is wrong; warnings are fine, errors are not."""
    config_dirs = options.config_dir
    result = check(options.folder, options.overrides, config_dirs=config_dirs, sheet=options.sheet, fix=options.fix)
    return result, ExitCode.FINE if result.fits else ExitCode.USAGE


def check(
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    sheet: str | Path | None = None,
    fix: str | Path | None = None,
    say: Say = print,
) -> CheckResult:
    """Look at every image, face and caption in ``folder`` and say what is wrong, as for a run of these words.

    Args:
        sheet: a PNG file to draw all images into, each with what was found on it.
        fix: a new folder for a mended copy; ``folder`` itself is never changed.

    Raises:
        UserError: no such folder, a bad word, or a place to write to that is taken.
    """
    path = photo_folder(folder, "check")
    if fix is not None:
        require_new_folder(Path(fix), path)
    run, notes = _run_for(path, overrides, config_dirs)
    finder, why = finder_for(run)
    inspected = inspect_photos(path, run, finder)
    findings = judge(inspected, run, trigger=_tells_trigger(path, overrides))
    result = result_of(path, run, inspected, findings, (*notes, *why))
    if sheet is not None:
        save_check_sheet(result.findings, inspected.files.pictures, result.verdict, Path(sheet))
        result = replace(result, sheet=Path(sheet))
    if fix is not None:
        result = replace(result, mended=mend(inspected, run, path, Path(fix)))
    print_check(result, say)
    return result


def _run_for(
    folder: Path, overrides: Sequence[str], config_dirs: Sequence[str | Path]
) -> tuple[RunConfig, tuple[str, ...]]:
    """Return the run of these words, and notes for the reader; without a preset it is a person on SD 1.5."""
    named = any(word.startswith("preset=") for word in overrides)
    preset = [] if named else [f"preset={PLAIN}"]
    run = load_run(
        [*folder_words(folder, overrides, config_dirs), *preset, *overrides],
        config_dirs=config_dirs,
        when_missing={"model.path": ""},
    )
    if named:
        return run, ()
    side, noun = run.model.resolution, run.data.class_noun
    return run, (f"No preset was named: pictures are judged for {side} pixels and as photos of one {noun}.",)


def _tells_trigger(folder: Path, overrides: Sequence[str]) -> bool:
    """Return whether the trigger is given or read from Kohya's folders; a default is no reason to blame captions."""
    said = any(word.startswith("data.trigger=") for word in overrides)
    return said or "data.trigger" in words_unsaid(folder.absolute(), overrides)
