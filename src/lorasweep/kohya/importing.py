"""``lorasweep import``: Kohya's settings as a preset, and a line for every one of them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lorasweep.config.compose import PRESETS_VARIABLE, as_override, load_run, presets
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.atomic import write_atomically
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import names_of
from lorasweep.errors import UserError
from lorasweep.kohya.base import carry_machine, carry_model, carry_photos, carry_resolution
from lorasweep.kohya.draft import CARRIED, INERT, LOST, NEAR, Draft, Line, left_over
from lorasweep.kohya.epochs import counts_of
from lorasweep.kohya.files import KohyaFile, read_kohya
from lorasweep.kohya.folding import fold, note_others
from lorasweep.kohya.gui import draft_of, spread, stated_family
from lorasweep.kohya.preset_file import preset_text
from lorasweep.kohya.prompts import SamplePrompt, carry_prompts, prompts_in, prompts_of
from lorasweep.kohya.steps import carry_steps, length_of, steps_of
from lorasweep.kohya.subsets import carry_folders
from lorasweep.kohya.text import print_imported, train_command
from lorasweep.kohya.training import (
    carry_batch,
    carry_lora,
    carry_loss,
    carry_optimizer,
    carry_rates,
    carry_schedule,
    carry_step,
)

DEFAULT_FOLDER = "presets"
"""Where presets go that no ``--to`` and no LORASWEEP_CONF names a place for."""
DATASET_ALONE = (carry_resolution, carry_photos, carry_batch)
"""What a dataset file that was named without a LoRA's settings says."""
ALL = (
    carry_model,
    carry_machine,
    carry_photos,
    carry_lora,
    carry_optimizer,
    carry_rates,
    carry_schedule,
    carry_loss,
    carry_batch,
    carry_step,
)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A preset made of another trainer's settings."""

    preset: Path
    """The file that was written."""
    name: str
    base: str
    """The preset that it builds on."""
    lines: tuple[Line, ...]
    """What became of every key of the file, and of Kohya's defaults that count."""
    effective_rate: float | None
    """lr * alpha / rank, the same as there; None where the file does not say it."""
    train: str
    """The command that trains with it."""


def import_settings(
    file: str | Path,
    folder: str | Path | None = None,
    *,
    to: str | Path | None = None,
    like: str | None = None,
    steps: int | None = None,
    overwrite: bool = False,
    say: Say = print,
) -> Imported:
    """Write a preset that trains as Kohya would with the settings in ``file``, and say what became of each.

    Args:
        folder: the photos, where they do not lie where the settings say.
        to: the preset's file; its folder must be called ``preset``.
        like: the preset that it builds on for all that Kohya does not know; the one for persons unless named.
        steps: in place of counting epochs.

    Raises:
        UserError: the file is in the way, or the photos that an epoch is counted by are not there.
        UserError: settings that are none of a LoRA's, or hold what cannot be.
    """
    path = Path(file).expanduser()
    settings = read_kohya(path)
    base = like or f"person_{draft_of(settings).family}"
    usual = _base_of(base)
    draft = draft_of(settings, usual.model.family)
    _same_family(draft, settings, base, usual.model.family)
    named = None if folder is None else str(_existing(folder))
    trigger = _carry_photos(draft, settings, named, usual.data.class_noun)
    if settings.kind != "dataset":
        _carry_length(draft, settings, steps, usual.model.resolution, named)
        carry_prompts(draft, _prompts(settings, draft), trigger)
    elif steps is not None:
        draft.sets["optim.steps"] = steps
    draft.sets.pop("model.family", None)
    target = _target(path, draft, to)
    run = _write(target, base, draft, path, overwrite=overwrite)
    lines = (*draft.lines.values(), *left_over(spread(settings), draft.lines))
    made = Imported(
        preset=target,
        name=target.stem,
        base=base,
        lines=lines,
        effective_rate=None if settings.kind == "dataset" else run.optim.lr * run.lora.alpha / run.lora.rank,
        train=train_command(target, draft.sets, run),
    )
    print_imported(made, say)
    return made


def _carry_photos(draft: Draft, settings: KohyaFile, folder: str | None, usual: str) -> str:
    """All but the steps and what is drawn; returns the trigger, '' where nothing tells it.

    Args:
        folder: the photos, where they are named beside the settings.
        usual: the class noun of the preset that this one builds on.
    """
    file, arguments = settings.dataset, draft.said
    if file is not None:
        fold(draft, file)
    for carry in DATASET_ALONE if settings.kind == "dataset" else ALL:
        carry(draft)
    if folder is not None:
        draft.sets["data.path"] = folder
        draft.note("train_data_dir", INERT, "the folder that was named counts")
    if file is None:
        return _carry_names(draft, usual)
    note_others(draft, file, arguments)
    return carry_folders(draft, file, folder, usual) or _carry_names(draft, usual)


def _base_of(preset: str) -> RunConfig:
    known = presets()
    if preset not in known:
        raise UserError(f"--like is {preset!r}; it must be one of {', '.join(known)}.")
    return _composed(preset)


def _same_family(draft: Draft, settings: KohyaFile, base: str, family: str) -> None:
    if draft.family != family:
        raise UserError(f"--like is {base!r}, made for {family}, but {settings.path} trains {draft.family}.")
    if stated_family(settings) is None:
        says = f"model.family={family} (guessed, since no script is named; --like person_sd15 would say otherwise)"
        draft.lines["(script)"] = Line(key="(script)", value=None, kind=NEAR, says=says)


def _composed(preset: str, config_dirs: Sequence[str | Path] = ()) -> RunConfig:
    words = [as_override("preset", preset)]
    return load_run(words, config_dirs=config_dirs, when_missing={"model.path": "", "data.path": ""})


def _existing(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"the folder of photos {str(folder)!r} does not exist; name one after the settings, or none.")
    return path.absolute()


def _carry_names(draft: Draft, usual: str) -> str:
    """Trigger and class noun from the folders' names, which are all that Kohya knows of them."""
    path = Path(draft.sets.get("data.path", ""))
    try:
        names = names_of(path) if draft.sets.get("data.path") and path.is_dir() else None
    except UserError as error:  # folders of several subjects: which one is meant, the user must say
        draft.lines["(folder names)"] = Line(key="(folder names)", value=None, kind=LOST, says=str(error))
        return ""
    if names is None:
        return ""
    trigger, noun = names
    draft.sets["data.trigger"] = trigger
    if noun:
        draft.sets["data.class_noun"] = noun = noun_beside(noun, usual)
    says = f"data.trigger={trigger}{f', data.class_noun={noun}' if noun else ''}"
    draft.lines["(folder names)"] = Line(key="(folder names)", value=None, kind=CARRIED, says=says)
    return trigger


def _carry_length(draft: Draft, settings: KohyaFile, steps: int | None, resolution: int, folder: str | None) -> None:
    length = length_of(draft, settings.kind == "gui")
    if steps is not None:
        length = replace(length, steps=steps)
    counts = counts_of(draft, length, resolution, settings.dataset, folder)
    carry_steps(draft, length, steps_of(draft, length, counts), counts)
    if steps is not None:
        draft.note(length.name, INERT, f"--steps counts: optim.steps={steps}")


def _prompts(settings: KohyaFile, draft: Draft) -> tuple[SamplePrompt, ...]:
    """The GUI keeps the prompts themselves, sd-scripts' words name a file."""
    said = draft.text("sample_prompts")
    if settings.kind == "gui":
        return prompts_in(said)
    for place in (Path(said), settings.path.parent / said):
        if said and place.is_file():
            return prompts_of(place)
    if said:
        draft.note("sample_prompts", LOST, "the file is not here")
    return ()


def _target(path: Path, draft: Draft, to: str | Path | None) -> Path:
    """Where the preset goes: ``FOLDER/preset/NAME.yaml``, where Hydra looks for it."""
    if to is None:
        name = draft.text("output_name") or path.stem
        draft.note("output_name", CARRIED, f"the preset's name: {_slug(name)}")
        return Path(os.environ.get(PRESETS_VARIABLE) or DEFAULT_FOLDER) / "preset" / f"{_slug(name)}.yaml"
    target = Path(to).expanduser()
    if target.suffix != ".yaml" or target.stem != _slug(target.stem):
        raise UserError(f"--to is {str(to)!r}; it must end in NAME.yaml, a name of letters, digits, - and _.")
    if target.absolute().parent.name != "preset":
        better = target.parent / "preset" / target.name
        raise UserError(f"--to is {str(to)!r}; presets are found in a folder called preset: say --to {better}.")
    draft.note("output_name", INERT, "--to names the preset")
    return target


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:80] or "kohya"


def _write(target: Path, base: str, draft: Draft, source: Path, *, overwrite: bool) -> RunConfig:
    """Compose the preset once before it is put in its place, so that what is written can be trained with."""
    if target.exists() and not overwrite:
        raise UserError(f"{target} is already there; name another with --to, or say --overwrite.")
    if target.stem == base:
        raise UserError(f"--to is {str(target)!r}, the name of the preset that it builds on; it must have another.")
    comments = [f"Imported from Kohya's settings in {source.name} by 'lorasweep import'."]
    comments += [f"What is not said here is as in {base}."]
    text = preset_text(target.stem, base, draft.sets, comments)
    with TemporaryDirectory() as trial:
        place = Path(trial) / "preset" / target.name
        place.parent.mkdir()
        place.write_text(text, encoding="utf-8")
        run = _composed(target.stem, [trial])
    write_atomically(target, text.encode())
    return run
