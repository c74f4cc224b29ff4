"""A run with its photos: all that is known before a model is loaded."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lorasweep.config.schema import RunConfig
from lorasweep.data.dataset import all_photos, read_dataset
from lorasweep.data.facts import PictureFacts
from lorasweep.records import Dataset, JsonDict
from lorasweep.track.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class ForeignFiles:
    """LoRA files of another trainer, which a run scores and has not trained."""

    folder: Path
    facts: JsonDict
    """For the provenance: names and hashes by step, the unit of the steps, and what was left out."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run that is to be trained or scored."""

    run: RunConfig
    dataset: Dataset
    folder: RunFolder | None
    """None for a run without a name yet."""
    facts: tuple[PictureFacts, ...] = ()
    """Of the subject's photos."""
    foreign: ForeignFiles | None = None
    """What a run that trains nothing scores."""


def entries_of(runs: Sequence[RunConfig], folders: Sequence[RunFolder | None] | None = None) -> list[Entry]:
    """Return runs with their photos; runs with equal ``data`` share one data set.

    Args:
        folders: those of runs that have begun, None for each of the others.
    """
    entries: list[Entry] = []
    for run, folder in zip(runs, folders or [None] * len(runs), strict=True):
        # decoding and hashing the photos takes longer than everything else that is checked beforehand
        same = next((other for other in entries if other.run.data == run.data), None)
        entries.append(dataclasses.replace(same, run=run, folder=folder) if same else entry_of(run, folder))
    return entries


def entry_of(run: RunConfig, folder: RunFolder | None = None) -> Entry:
    """Return a run with its photos and their facts; each photo is decoded once."""
    facts: list[PictureFacts] = []
    return Entry(run, dataset_of(run, facts), folder, tuple(facts))


def dataset_of(run: RunConfig, facts: list[PictureFacts] | None = None) -> Dataset:
    """Return a run's photos, split as ``data`` asks; ``facts`` as in ``read_dataset``."""
    dataset = read_dataset(run.data, facts)
    return all_photos(dataset) if run.data.train_on == "all" else dataset
