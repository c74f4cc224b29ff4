"""The configuration and the photos that a folder of another trainer's files is scored with, and notes on both."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lorasweep.config.compose import as_override, load_run
from lorasweep.config.schema import DataConfig, RunConfig, told_by
from lorasweep.data.captions import noun_beside
from lorasweep.data.dataset import fingerprint, read_dataset
from lorasweep.data.folders import words_unsaid
from lorasweep.data.lora_folder import Placed
from lorasweep.errors import UserError
from lorasweep.evaluate.identity import ENOUGH_FACES, ENOUGH_PHOTOS
from lorasweep.records import Dataset

PATHS = frozenset({"data.path", "data.held_out_path", "model.path", "model.config", "evaluate.model"})
"""Keys whose values are taken as they are typed, so that paths may hold what Hydra's grammar reads as its own."""
UNITS = {
    "step": "Numbers are optimiser steps.",
    "epoch": "Numbers are epochs: the files tell no steps.",
    "number": "Numbers are those of the files' names.",
    "place": "Numbers are places in the folder's order: nothing tells one training's steps or epochs.",
}
NOTHING_TO_JUDGE_BY = (
    "There is nothing to judge a likeness by; add references=DIR, a folder of photos of the subject that were not "
    "trained on, or data.path=DIR, the photos that were."
)


def compose(
    root: str | Path,
    overrides: Sequence[str],
    headers: Mapping[str, Mapping[str, str]],
    config_dirs: Sequence[str | Path] = (),
) -> RunConfig:
    """Return the configuration of an evaluation. No photo is split off: references are given as such.

    The trigger is the user's, else the one that the files name, else that of Kohya's folder of photos.

    Raises:
        UserError: no photos are given, or ``evaluate.enabled`` is false.
    """
    words = [as_override("track.root", str(root)), "data.held_out=0", *(_word(word) for word in overrides)]
    keys = {word.partition("=")[0] for word in words}
    if "data.held_out_path" in keys and "data.path" not in keys:  # see `photos_of`
        references = next(word for word in words if word.startswith("data.held_out_path="))
        words.append(references.replace("data.held_out_path", "data.path", 1))
    run = load_run(words, config_dirs=config_dirs, when_missing={"data.path": ""})  # a preset may name the photos too
    if not run.data.path:
        raise UserError(NOTHING_TO_JUDGE_BY)
    if not run.evaluate.enabled:
        raise UserError("evaluate.enabled is false; a folder of files is there to be scored, so leave it on.")
    named = next((text for header in headers.values() if (text := header.get("modelspec.trigger_phrase", ""))), "")
    found = words_unsaid(Path(run.data.path), [*keys, *(["data.trigger"] if named else [])])
    if "data.class_noun" in found:
        found["data.class_noun"] = noun_beside(found["data.class_noun"], run.data.class_noun)
    if named and run.data.trigger == DataConfig.trigger:
        found["data.trigger"] = named
    changes = {key.removeprefix("data."): text for key, text in found.items()}
    return dataclasses.replace(run, data=dataclasses.replace(run.data, **changes))


def _word(word: str) -> str:
    """Return an override whose path is quoted for Hydra, unless the user quoted it; ``references=DIR`` is one too."""
    key, equals, text = word.partition("=")
    if key == "references":
        if not Path(text).expanduser().is_dir():
            raise UserError(f"references is {text!r}, which is no folder; it must be a folder of the subject's photos.")
        key = "data.held_out_path"
    if key not in PATHS or not equals or text in ("", "null") or text[0] in "'\"":
        return word
    path = Path(text).expanduser()
    if key.startswith("data."):
        return as_override(key, str(path.absolute()))
    return as_override(key, str(path) if text.startswith("~") else text)  # a model may be an id of the hub


def photos_of(run: RunConfig) -> Dataset:
    """Return the photos to judge by.

    Raises:
        UserError: they are too few for the likeness that the sheet asks for.
    """
    data = run.data
    # `compose` gives one folder both roles if only references were given: what was trained on is not known then
    if data.held_out_path and Path(data.path).resolve() == Path(data.held_out_path).resolve():
        found = read_dataset(dataclasses.replace(data, held_out_path=None, held_out=0.0))
        mark = fingerprint((), found.train)
        dataset = dataclasses.replace(found, train=(), held_out=found.train, fingerprint=mark)
    else:
        dataset = read_dataset(data)
    count = len(dataset.train) + len(dataset.held_out)
    needed = {"face": ENOUGH_FACES, "image": ENOUGH_PHOTOS, "none": 0}[told_by(run)]
    asks = (prompt.face is True or told_by(run) == "image" for prompt in run.sample.prompts.values() if prompt.subject)
    if count < needed and any(asks):
        raise UserError(
            f"There are {count} photos to judge by; {needed} or more are needed, those of references=DIR and of "
            "data.path=DIR taken together."
        )
    return dataset


def notes_on(
    run: RunConfig, dataset: Dataset, headers: Mapping[str, Mapping[str, str]], placed: Placed
) -> Iterator[str]:
    """Yield the sentences that a reader of these scores must know."""
    files = placed.files
    yield f"Scored only: these {len(files)} files were trained elsewhere, so there are no losses. {UNITS[placed.unit]}"
    if placed.guessed:
        yield f"Nothing tells how far {files[-1].name} came; it counts as {files[-1].step}."
    captions = " ".join(header.get("ss_tag_frequency", "") for header in headers.values())
    if captions.strip() and run.data.trigger.casefold() not in captions.casefold():
        yield (
            f"The captions that the files name never hold the trigger {run.data.trigger!r}; give the word that they "
            "were trained with as data.trigger=WORD."
        )
    else:
        yield f"Prompts say {run.data.trigger!r} (data.trigger) and {run.data.class_noun!r} (data.class_noun)."
    if not dataset.train:
        yield "The photos that were trained on were not given (data.path=DIR): copying is not judged."
    if not dataset.held_out:
        yield (
            "All photos were trained on: likeness is measured among them, one against the others, and copying cannot "
            "be ruled out; references=DIR names photos that were not."
        )
