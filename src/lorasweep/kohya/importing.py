"""``lorasweep import``: turn Kohya's settings into a preset, with a line for what became of each of them."""

from dataclasses import replace
from pathlib import Path

from lorasweep.config.compose import presets
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import names_of
from lorasweep.errors import UserError
from lorasweep.kohya.base import carry_machine, carry_model, carry_photos, carry_resolution
from lorasweep.kohya.draft import Draft, Imported, Status, left_over
from lorasweep.kohya.epochs import counts_of
from lorasweep.kohya.files import FileKind, KohyaFile, read_kohya
from lorasweep.kohya.folding import fold, note_others
from lorasweep.kohya.gui import draft_of, spread, stated_family
from lorasweep.kohya.preset_file import composed, place_for, write_preset
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

DATASET_ALONE = (carry_resolution, carry_photos, carry_batch)
"""What a dataset file says that is imported by itself."""
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
    """Write a preset that trains as Kohya would with the settings in ``file``, and print what became of each.

    Args:
        folder: the photos, if they are not where the settings say.
        to: the preset's file; its folder must be called ``preset``.
        like: the preset that it builds on for all that Kohya does not know; by default that for persons.
        steps: how many to train, instead of counting epochs.

    Raises:
        UserError: the settings are not those of a LoRA or hold an impossible value, a file is in the way, or the
            photos that an epoch is counted by are not there.
    """
    path = Path(file).expanduser()
    settings = read_kohya(path)
    # the base preset says how images are drawn and judged, of which Kohya knows nothing
    base = like or f"person_{draft_of(settings).family}"
    usual = _base_of(base)
    draft = draft_of(settings, usual.model.family)
    _same_family(draft, settings, base, usual.model.family)
    named = None if folder is None else str(_existing(folder))
    trigger = _carry_photos(draft, settings, named, usual.data.class_noun)
    if settings.kind is not FileKind.DATASET:
        _carry_length(draft, settings, steps, usual.model.resolution, named)
        carry_prompts(draft, _prompts(settings, draft), trigger)
    elif steps is not None:
        draft.sets["optim.steps"] = steps
    draft.sets.pop("model.family", None)  # the base preset is of that family
    target = place_for(path, draft, to)
    run = write_preset(target, base, draft.sets, path, overwrite=overwrite)
    lines = (*draft.lines.values(), *left_over(spread(settings), draft.lines))
    made = Imported(
        preset=target,
        name=target.stem,
        base=base,
        lines=lines,
        effective_rate=None if settings.kind is FileKind.DATASET else run.optim.lr * run.lora.alpha / run.lora.rank,
        train=train_command(target, draft.sets, run),
    )
    print_imported(made, say)
    return made


def _carry_photos(draft: Draft, settings: KohyaFile, folder: str | None, usual: str) -> str:
    """Carry everything but the steps and what is drawn; return the trigger, '' if nothing names it.

    Args:
        folder: the photos, if they are named beside the settings.
        usual: the class noun of the preset that this one builds on.
    """
    file, arguments = settings.dataset, draft.said
    if file is not None:
        fold(draft, file)
    for carry in DATASET_ALONE if settings.kind is FileKind.DATASET else ALL:
        carry(draft)
    if folder is not None:
        draft.sets["data.path"] = folder
        draft.note("train_data_dir", Status.INERT, "the folder that was named counts")
    if file is None:
        return _carry_names(draft, usual)
    note_others(draft, file, arguments)
    return carry_folders(draft, file, folder, usual) or _carry_names(draft, usual)


def _base_of(preset: str) -> RunConfig:
    known = presets()
    if preset not in known:
        raise UserError(f"--like is {preset!r}; it must be one of {', '.join(known)}.")
    return composed(preset)


def _same_family(draft: Draft, settings: KohyaFile, base: str, family: str) -> None:
    if draft.family != family:
        raise UserError(f"--like is {base!r}, made for {family}, but {settings.path} trains {draft.family}.")
    if stated_family(settings) is None:  # a guess must be seen, or a wrong base goes unnoticed
        says = f"model.family={family} (guessed, since no script is named; --like person_sd15 would say otherwise)"
        draft.tell("(script)", Status.NEAR, says)


def _existing(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"the folder of photos {str(folder)!r} does not exist; name one after the settings, or none.")
    return path.absolute()


def _carry_names(draft: Draft, usual: str) -> str:
    """Take trigger and class noun from the folders' names, which is all that Kohya knows of them; return the
    trigger."""
    path = Path(draft.sets.get("data.path", ""))
    try:
        names = names_of(path) if draft.sets.get("data.path") and path.is_dir() else None
    except UserError as error:  # folders of several subjects, of which the user must choose one
        draft.tell("(folder names)", Status.LOST, str(error))
        return ""
    if names is None:
        return ""
    trigger, noun = names
    draft.sets["data.trigger"] = trigger
    if noun:
        draft.sets["data.class_noun"] = noun = noun_beside(noun, usual)
    says = f"data.trigger={trigger}{f', data.class_noun={noun}' if noun else ''}"
    draft.tell("(folder names)", Status.CARRIED, says)
    return trigger


def _carry_length(draft: Draft, settings: KohyaFile, steps: int | None, resolution: int, folder: str | None) -> None:
    length = length_of(draft, settings.kind is FileKind.GUI)
    if steps is not None:
        length = replace(length, steps=steps)
    counts = counts_of(draft, length, resolution, settings.dataset, folder)
    carry_steps(draft, length, steps_of(draft, length, counts), counts)
    if steps is not None:
        draft.note(length.name, Status.INERT, f"--steps counts: optim.steps={steps}")


def _prompts(settings: KohyaFile, draft: Draft) -> tuple[SamplePrompt, ...]:
    said = draft.text("sample_prompts")
    if settings.kind is FileKind.GUI:  # the GUI keeps the prompts themselves, sd-scripts the name of their file
        return prompts_in(said)
    for place in (Path(said), settings.path.parent / said):
        if said and place.is_file():
            return prompts_of(place)
    if said:
        draft.note("sample_prompts", Status.LOST, "the file is not here")
    return ()
