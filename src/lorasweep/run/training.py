"""Training: one run, or many side by side.

From photos to optimiser: ``commands.train`` calls ``train_entries`` on photos (``run.entries``, ``data.dataset``);
``run.session`` opens base model and journal; ``run.loop`` drives ``train.cohort``, whose steps are made of rows
(``train.trial``), losses (``train.step``) and updates (``train.slot``, ``train.optimizers``). From there to the pick:
``run.recorder``, ``run.evaluator``, ``run.picking``.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from lorasweep.check.text import short_warnings
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.plan.announcements import announcement, photo_notes, say_sizes
from lorasweep.run.entries import Entry, entries_of
from lorasweep.run.loop import Queue, train_side_by_side
from lorasweep.run.multirun import Multirun
from lorasweep.run.recorder import Outcome
from lorasweep.run.session import Purpose, Session
from lorasweep.run.stopping import StopRequest, graceful_stop


def train_together(runs: Sequence[RunConfig], *, width: int | str = "auto", say: Say = print) -> list[Outcome]:
    """Train runs side by side if they can share a base model; return their outcomes in order.

    More than one run makes a multirun: a parent in MLflow with one child each. Photos, model folder and scorers of
    every run are checked before the first one is named, so that a mistake leaves nothing behind.
    """
    entries = entries_of(runs)
    with Multirun(runs[0]) if len(runs) > 1 else nullcontext() as parent:
        return train_entries(entries, width, parent, say)


def train_entries(entries: Sequence[Entry], width: int | str, parent: Multirun | None, say: Say) -> list[Outcome]:
    """Train group after group of runs that can share a base model; return the outcomes in the order of ``entries``.

    After Ctrl-C or SIGTERM, save all states and leave the program.
    """
    from lorasweep.train.trial import Trial

    groups: dict[object, list[int]] = {}
    for place, entry in enumerate(entries):
        key = Trial("", entry.run, entry.dataset, Path()).key  # depends on neither name nor folder
        groups.setdefault(key, []).append(place)
    outcomes: dict[int, Outcome] = {}
    with graceful_stop() as stop:
        for places in groups.values():
            if not stop:
                done = _train_group([entries[place] for place in places], width, parent, stop, say)
                outcomes |= dict(zip(places, done, strict=True))
    if stop:
        name = parent.name if parent and parent.begun else "last"
        say(f"Stopped and saved; 'lorasweep resume {name}' goes on from here.")
        stop.leave()
    return [outcomes[place] for place in range(len(entries))]


def _train_group(
    entries: Sequence[Entry], width: int | str, parent: Multirun | None, stop: StopRequest, say: Say
) -> list[Outcome]:
    with Session(Purpose.TRAIN, entries[0].run) as session:
        for entry in entries:  # all of them before the first is named: a mistake leaves no run behind
            session.require(entry)
        announce(entries, say)
        name = parent.begin() if parent else ""
        runs = [session.open(entry, name) for entry in entries]
        for table in dict.fromkeys(run.trial.table for run in runs):
            say_sizes(table, say)
        train_side_by_side(Queue(runs), session.family, width, len(runs), stop, say)
        return [run.stop() if stop else run.finish() for run in runs]


def announce(entries: Sequence[Entry], say: Say) -> None:
    """Say what is to be known of the photos, once for runs that share them, and what evaluation will cost."""
    for note in dict.fromkeys(note for entry in entries for note in photo_notes(entry.run, entry.dataset)):
        say(note)
    for entry in {entry.run.data.path: entry for entry in entries}.values():
        for line in short_warnings(entry.run, entry.facts):
            say(line)
    if entries[0].run.evaluate.enabled:
        say(announcement(entries[0].run))
