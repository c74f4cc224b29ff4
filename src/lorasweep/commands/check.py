"""``lorasweep check DIR``: say what is wrong with a folder of photos, before it is trained on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorasweep.check.inspection import CheckResult, finder_for, judge, look_at, result_of
from lorasweep.check.mending import mend, require_new_folder
from lorasweep.check.sheet import save_check_sheet
from lorasweep.check.text import print_check
from lorasweep.commands.overrides import folder_words
from lorasweep.config.compose import load_run
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.folders import words_unsaid
from lorasweep.errors import UserError

PLAIN = "person_sd15"
"""What a folder is judged for where no preset is named."""


def check(
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    sheet: str | Path | None = None,
    fix: str | Path | None = None,
    say: Say = print,
) -> CheckResult:
    """Look at every picture, face and caption in ``folder`` and say what is wrong, as for a run of these words.

    Args:
        sheet: a PNG file to draw all pictures into, each with what was found on it.
        fix: a new folder for a mended copy; ``folder`` itself is never changed.

    Raises:
        UserError: no such folder, a bad word, or a place to write to that is taken.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"the folder of photos {str(folder)!r} does not exist; name it right after 'check'")
    if fix is not None:
        require_new_folder(Path(fix), path)
    run, notes = _run_for(path, overrides, config_dirs)
    finder, why = finder_for(run)
    looked = look_at(path, run, finder)
    findings = judge(looked, run, trigger=_tells_trigger(path, overrides))
    result = result_of(path, run, looked, findings, (*notes, *why))
    if sheet is not None:
        save_check_sheet(result.findings, looked.files.pictures, result.verdict, Path(sheet))
        result = replace(result, sheet=Path(sheet))
    if fix is not None:
        result = replace(result, mended=mend(looked, run, path, Path(fix)))
    print_check(result, say)
    return result


def _run_for(
    folder: Path, overrides: Sequence[str], config_dirs: Sequence[str | Path]
) -> tuple[RunConfig, tuple[str, ...]]:
    """The run that these words mean; without a preset a person on SD 1.5, and a line that says so."""
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
    """Whether the trigger is known: said, or read from Kohya's folders. A default is no reason to blame captions."""
    said = any(word.startswith("data.trigger=") for word in overrides)
    return said or "data.trigger" in words_unsaid(folder.absolute(), overrides)
