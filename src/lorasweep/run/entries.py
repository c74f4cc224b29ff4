"""Runs with their photos: what is known before a model is loaded."""

import dataclasses
from collections.abc import Sequence

from lorasweep.config.schema import RunConfig
from lorasweep.data.dataset import all_photos, read_dataset
from lorasweep.data.facts import PictureFacts
from lorasweep.records import Dataset
from lorasweep.track.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run that is to be trained or looked at."""

    run: RunConfig
    dataset: Dataset
    folder: RunFolder | None
    """None for a run that is yet to be named."""
    facts: tuple[PictureFacts, ...] = ()
    """Of the subject's pictures."""


def entries_of(runs: Sequence[RunConfig], folders: Sequence[RunFolder | None] | None = None) -> list[Entry]:
    """Runs with their photos, which runs that ask for the same ones share. ``folders`` are those of named runs."""
    entries: list[Entry] = []
    for run, folder in zip(runs, folders or [None] * len(runs), strict=True):
        same = next((other for other in entries if other.run.data == run.data), None)
        entries.append(dataclasses.replace(same, run=run, folder=folder) if same else entry_of(run, folder))
    return entries


def entry_of(run: RunConfig, folder: RunFolder | None = None) -> Entry:
    """A run with its photos and their facts, each picture decoded once."""
    facts: list[PictureFacts] = []
    return Entry(run, dataset_of(run, facts), folder, tuple(facts))


def dataset_of(run: RunConfig, facts: list[PictureFacts] | None = None) -> Dataset:
    """The photos of a run, split as it asks; ``facts`` as in ``read_dataset``."""
    dataset = read_dataset(run.data, facts)
    return all_photos(dataset) if run.data.train_on == "all" else dataset
