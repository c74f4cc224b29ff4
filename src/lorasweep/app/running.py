"""Training: one run, or many side by side."""

import dataclasses
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.app.budget import announcement
from lorasweep.app.check import short_warnings
from lorasweep.app.judge import Judge, load_drawing_family
from lorasweep.app.live import LiveRun, Say
from lorasweep.app.multirun import Multirun
from lorasweep.app.outcome import Outcome
from lorasweep.app.photo_notes import photo_notes
from lorasweep.app.plan import require_card
from lorasweep.app.sizes import say_sizes
from lorasweep.app.stopping import StopRequest, graceful_stop
from lorasweep.config.compose import from_plain, to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.config.signature import run_signature
from lorasweep.data.dataset import all_photos, read_dataset
from lorasweep.data.errors import UserError
from lorasweep.data.facts import PictureFacts
from lorasweep.data.prompts import fill_prompts
from lorasweep.data.records import Checkpoint, Dataset, Failure, Step
from lorasweep.track.run_folder import RunFolder, claim_name, find_run, new_run_name

if TYPE_CHECKING:
    from lorasweep.app.progress import Progress
    from lorasweep.models.family import Family
    from lorasweep.track.shipper import Shipper

WIDEST = 8
"""``width=auto`` puts no more adapters than this side by side."""


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
    from lorasweep.models import load_family
    from lorasweep.track.recall import read_run
    from lorasweep.track.shipper import shipper_of

    folder = find_run(root, what)
    view = read_run(folder.path)
    run = from_plain(view.config)
    entry = Entry(run, dataset_of(run), folder)
    family = load_family(run.model, run.hardware)
    shipper = shipper_of(run.track)
    with ExitStack() as closing:
        if shipper is not None:
            closing.callback(shipper.stop)
        live = _open(entry, family, _judges([entry], family)[0], shipper, view.parent)
        closing.callback(live.tracker.close)
        yield live


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
    from lorasweep.models import load_family
    from lorasweep.track.shipper import shipper_of
    from lorasweep.train.optimizers import require_optimizer
    from lorasweep.train.starting import starting_adapter

    first = entries[0].run
    if first.hardware.threads:
        import torch

        torch.set_num_threads(first.hardware.threads)
    require_card(first, entries[0].dataset)
    family = load_family(first.model, first.hardware)
    for entry in entries:  # what the model cannot do is told before a run is named
        family.refuse(entry.run)
        require_optimizer(entry.run.optim)
        if entry.run.lora.init:
            starting_adapter(entry.run, family)
    with ExitStack() as closing:
        judges = _judges(entries, family)
        shipper = shipper_of(first.track)
        if shipper is not None:
            closing.callback(shipper.stop)
        _say_notes(entries, say)
        if first.evaluate.enabled:
            say(announcement(first))
        lives = []
        for entry, judge in zip(entries, judges, strict=True):
            lives.append(_open(entry, family, judge, shipper, parent.name if parent else ""))
            closing.callback(lives[-1].tracker.close)
        for table in dict.fromkeys(live.trial.table for live in lives):
            say_sizes(table, say)
        _train_lives(lives, family, _width(width, len(lives)), stop, say)
        return [live.stop() if stop else live.finish() for live in lives]


def _say_notes(entries: Sequence[Entry], say: Say) -> None:
    """What is to be known of the photos, once for runs that share them."""
    for note in dict.fromkeys(note for entry in entries for note in photo_notes(entry.run, entry.dataset)):
        say(note)
    for entry in {entry.run.data.path: entry for entry in entries}.values():
        for line in short_warnings(entry.run, entry.facts):
            say(line)


def _train_lives(lives: Sequence[LiveRun], family: "Family", width: int, stop: StopRequest, say: Say) -> None:
    """The loop: admit where a slot is free, train to the next checkpoint, look at what was saved."""
    from lorasweep.app.progress import Progress
    from lorasweep.train.cache import cache_folder
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.validation import FixedLoss

    by_name = {live.name: live for live in lives}
    queue = deque(lives)
    cohort = Cohort(family, width, cache_folder=cache_folder(lives[0].trial.config))
    loss = FixedLoss(family, cohort.latents, cohort.texts)
    for live in lives:
        live.watch_losses(cohort, loss)

    def on_step(step: Step) -> None:
        progress.step(step)
        by_name[step.trial].stepped(step, cohort)

    with Progress(lives, say) as progress:
        while (queue or cohort.busy) and not stop:
            while queue and cohort.free_slots:
                live = queue.popleft()
                live.catch_up()
                if cohort.admit(live.trial) >= live.trial.config.optim.steps:
                    progress.finished(live.finish())
            events = cohort.run_interval(on_step, lambda: bool(stop))
            _draw_together([(by_name[event.trial], event) for event in events if isinstance(event, Checkpoint)])
            for event in events:
                _hear(by_name[event.trial], event, progress)
            queue.extendleft(by_name[trial.name] for trial in cohort.returned)
            cohort.returned.clear()


def _draw_together(pairs: Sequence[tuple[LiveRun, Checkpoint]]) -> None:
    """Sheets of several runs that are due at once are drawn in the same batches; looking at them then finds them."""
    judges = {id(live.judge): live.judge for live, checkpoint in pairs if checkpoint.step in live.drawn}
    for judge in judges.values():
        due = [(live, checkpoint) for live, checkpoint in pairs if live.judge is judge]
        if judge is not None and len(due) > 1:
            judge.draw([checkpoint for _, checkpoint in due], [live.samples_folder() for live, _ in due])


def _hear(live: LiveRun, event: Checkpoint | Failure, progress: "Progress") -> None:
    """Act on what the cohort reports of one run; a run at its last step is picked from at once."""
    if isinstance(event, Failure):
        live.fail(event)
        progress.failed(event)
        return
    progress.looking(event)
    progress.checkpoint(event, live.take(event))
    if event.step >= live.trial.config.optim.steps:
        progress.finished(live.finish())


def _open(entry: Entry, family: "Family", judge: Judge | None, shipper: "Shipper | None", parent: str) -> LiveRun:
    """Name the run if it has no name, take its lock, and write down what it is made of.

    A new run that cannot be written down, as on a full disk, leaves no folder.
    """
    from lorasweep.app.origin import origin
    from lorasweep.track.tracker import JournalTracker, RunMeta
    from lorasweep.train.trial import Trial

    run, root = entry.run, Path(entry.run.track.root)
    folder = entry.folder or RunFolder(root / "runs" / _name(run, root))
    prompts = fill_prompts(run.sample, run.data) if run.sample.prompts else ()
    signature = run_signature(run, entry.dataset.fingerprint)
    meta = RunMeta(
        name=folder.name,
        config=to_plain(run),
        dataset=entry.dataset,
        prompts=prompts,
        run_signature=signature,
        evaluation_signature=judge.signature if judge else "",
        provenance=origin(run, entry.dataset, family, judge, signature),
        parent=parent,
    )
    with ExitStack() as undo:
        if entry.folder is None:
            undo.callback(shutil.rmtree, folder.path, ignore_errors=True)
        tracker = JournalTracker(folder.path, shipper)
        undo.callback(tracker.close)
        tracker.start(meta)
        undo.pop_all()
    trial = Trial(folder.name, run, entry.dataset, folder.path)
    return LiveRun(trial, family, tracker, prompts, judge)


def _name(run: RunConfig, root: Path) -> str:
    if run.name:
        return claim_name(run.name, root)
    base = Path(run.model.path).stem
    return new_run_name(run.data.trigger, base, run.optim.lr, root)


def _judges(entries: Sequence[Entry], family: "Family") -> list[Judge | None]:
    """One judge for all runs that would be judged alike, so that base sheets and photos are looked at once."""
    shared: dict[str, Judge] = {}
    bases: dict[str | None, Family] = {None: family}
    judges: list[Judge | None] = []
    for entry in entries:
        if not entry.run.evaluate.enabled:
            judges.append(None)
            continue
        other = entry.run.evaluate.model
        if other not in bases:
            bases[other] = load_drawing_family(entry.run)
        judge = Judge(entry.run, bases[other], entry.dataset, fill_prompts(entry.run.sample, entry.run.data))
        judges.append(shared.setdefault(f"{judge.signature}/{entry.run.seed}/{entry.run.track.root}", judge))
    return judges


def _width(width: int | str, trials: int) -> int:
    """As many slots as there are trials, up to the width asked for."""
    if width == "auto":
        return min(trials, WIDEST)
    if not isinstance(width, int) or width < 1:
        raise UserError(f"hydra.launcher.width is {width!r}; it must be auto or a number of adapters from 1 up.")
    return min(trials, width)
