"""Training: one run, or many side by side."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lorasweep.check.inspection import short_warnings
from lorasweep.config.compose import from_plain
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.plan.budget import announcement
from lorasweep.plan.photo_notes import photo_notes
from lorasweep.plan.sizes import say_sizes
from lorasweep.run.entries import Entry, dataset_of, entries_of, entry_of
from lorasweep.run.loop import Listed, train_side_by_side
from lorasweep.run.multirun import Multirun
from lorasweep.run.outcome import Outcome
from lorasweep.run.recorder import LiveRun
from lorasweep.run.session import Workshop
from lorasweep.run.stopping import StopRequest, graceful_stop
from lorasweep.track.run_folder import find_run


def train(run: RunConfig, parent: Multirun | None = None, *, say: Say = print) -> float:
    """Train one run from photos to pick; returns the picked checkpoint's score on fresh seeds, NaN without a pick."""
    (outcome,) = train_entries([entry_of(run)], 1, parent, say)
    if outcome.error is not None:
        raise outcome.error
    return outcome.score


def train_together(runs: Sequence[RunConfig], *, width: int | str = "auto", say: Say = print) -> list[Outcome]:
    """Train runs side by side where they can share a base; returns their outcomes in order.

    More than one run makes a multirun: a parent in MLflow with one child each. Every run is checked (photos, model
    folder, scorers) before the first one is named, so that a mistake leaves nothing behind.
    """
    entries = entries_of(runs)
    with Multirun(runs[0]) if len(runs) > 1 else nullcontext() as parent:
        return train_entries(entries, width, parent, say)


@contextmanager
def reopened(root: Path, what: str) -> Iterator[LiveRun]:
    """A run that is not training, with its base model, scorers and journal open again."""
    from lorasweep.track.recall import read_run

    folder = find_run(root, what)
    view = read_run(folder.path)
    run = from_plain(view.config)
    entry = Entry(run, dataset_of(run), folder)
    with Workshop(entry) as shop:
        yield shop.open(entry, view.parent)


def train_entries(entries: Sequence[Entry], width: int | str, parent: Multirun | None, say: Say) -> list[Outcome]:
    """Group by what can share a base, train group after group, keep the order of `entries`."""
    from lorasweep.train.trial import Trial

    groups: dict[object, list[int]] = {}
    for place, entry in enumerate(entries):
        groups.setdefault(Trial("", entry.run, entry.dataset, Path()).key, []).append(place)
    outcomes: dict[int, Outcome] = {}
    with graceful_stop() as stop:
        for places in groups.values():
            if not stop:
                done = _train_group([entries[place] for place in places], width, parent, stop, say)
                outcomes |= dict(zip(places, done, strict=True))
    if stop:
        say(f"Stopped and saved; 'lorasweep resume {parent.name if parent else 'last'}' goes on from here.")
        stop.leave()
    return [outcomes[place] for place in range(len(entries))]


def _train_group(
    entries: Sequence[Entry], width: int | str, parent: Multirun | None, stop: StopRequest, say: Say
) -> list[Outcome]:
    with Workshop(entries[0]) as shop:
        for entry in entries:  # what the model cannot do is told before a run is named
            shop.require(entry)
        say_beforehand(entries, say)
        lives = [shop.open(entry, parent.name if parent else "") for entry in entries]
        for table in dict.fromkeys(live.trial.table for live in lives):
            say_sizes(table, say)
        train_side_by_side(Listed(lives), shop.family, width, len(lives), stop, say)
        return [live.stop() if stop else live.finish() for live in lives]


def say_beforehand(entries: Sequence[Entry], say: Say) -> None:
    """What is to be known of the photos, once for runs that share them, and what judging will cost."""
    for note in dict.fromkeys(note for entry in entries for note in photo_notes(entry.run, entry.dataset)):
        say(note)
    for entry in {entry.run.data.path: entry for entry in entries}.values():
        for line in short_warnings(entry.run, entry.facts):
            say(line)
    if entries[0].run.evaluate.enabled:
        say(announcement(entries[0].run))
