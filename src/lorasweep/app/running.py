"""Training: one run, many side by side, and going on with what was interrupted."""

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.app.budget import announcement
from lorasweep.app.judge import Judge
from lorasweep.app.live import LiveRun, Say
from lorasweep.app.outcome import Outcome
from lorasweep.app.stopping import StopRequest, graceful_stop
from lorasweep.config.compose import from_plain, to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.config.signature import run_signature
from lorasweep.data.dataset import all_photos, read_dataset
from lorasweep.data.errors import UserError
from lorasweep.data.prompts import fill_prompts
from lorasweep.data.records import Checkpoint, Dataset, Failure, RunView
from lorasweep.track.run_folder import RunFolder, all_runs, claim_name, find_run, new_run_name

if TYPE_CHECKING:
    from lorasweep.app.progress import Progress
    from lorasweep.models.family import Family
    from lorasweep.track.shipper import Shipper

WIDEST = 8
"""``width=auto`` puts no more adapters than this side by side."""


def train(run: RunConfig, *, say: Say = print) -> float:
    """Train one run from photos to pick; returns the picked checkpoint's score on fresh seeds, NaN without a pick."""
    (outcome,) = train_together([run], say=say)
    if outcome.error is not None:
        raise outcome.error
    return outcome.score


def train_together(runs: Sequence[RunConfig], *, width: int | str = "auto", say: Say = print) -> list[Outcome]:
    """Train runs side by side where they can share a base; returns their outcomes in order.

    More than one run makes a multirun: a parent in MLflow with one child each. Every run is checked (photos, model
    folder, scorers) before the first one is named, so that a mistake leaves nothing behind.
    """
    datasets = [_dataset(run) for run in runs]
    parent = _new_parent(runs) if len(runs) > 1 else ""
    named = [(run, dataset, None) for run, dataset in zip(runs, datasets, strict=True)]
    outcomes = _train_all([_Entry(*each) for each in named], width, parent, say)
    if parent:
        _close_parent(Path(runs[0].track.root), parent, outcomes)
    return outcomes


def resume(root: str | Path, what: str, *, say: Say = print) -> list[Outcome]:
    """Go on with an interrupted run, or with every unfinished run of a multirun; bit-equal on a CPU."""
    from lorasweep.track.recall import read_run

    found = find_run(Path(root), what)
    views = children_of(found) or [read_run(found.path)]
    waiting = [view for view in views if view.status not in ("finished", "failed", "running")]
    if not waiting:
        raise UserError(f"{found.name} is {views[0].status}; there is nothing to resume.")
    entries = []
    for view in waiting:
        run = from_plain(view.config)
        entries.append(_Entry(run, _dataset(run), RunFolder(view.folder)))
    return _train_all(entries, "auto", waiting[0].parent, say)


def refit(root: str | Path, what: str, *, say: Say = print) -> Outcome:
    """Train on all photos, held-out ones included, for the picked number of steps; nothing is left to judge it with."""
    from lorasweep.track.recall import read_run

    view = read_run(find_run(Path(root), what).path)
    if view.pick is None or view.pick.step is None:
        raise UserError(f"{view.name} has no picked checkpoint to refit; pick one first with 'lorasweep pick'.")
    run = from_plain(view.config)
    run = dataclasses.replace(
        run,
        name=f"{view.name}-refit",
        data=dataclasses.replace(run.data, train_on="all"),
        optim=dataclasses.replace(run.optim, steps=view.pick.step),
        save=dataclasses.replace(run.save, every_steps=view.pick.step),
        evaluate=dataclasses.replace(run.evaluate, enabled=False),
    )
    (outcome,) = train_together([run], say=say)
    return outcome


def children_of(parent: RunFolder) -> list[RunView]:
    """The runs of a multirun, oldest first; none for a run that is no parent."""
    from lorasweep.track.recall import read_run

    views = (read_run(run.path) for run in all_runs(parent.root) if run.name != parent.name)
    return [view for view in views if view.parent == parent.name]


@contextmanager
def reopened(root: Path, what: str) -> Iterator[LiveRun]:
    """A run that is not training, with its base model, scorers and journal open again."""
    from lorasweep.models import load_family
    from lorasweep.track.recall import read_run

    folder = find_run(root, what)
    view = read_run(folder.path)
    run = from_plain(view.config)
    entry = _Entry(run, _dataset(run), folder)
    family = load_family(run.model, run.hardware)
    shipper = _shipper(run)
    with ExitStack() as closing:
        if shipper is not None:
            closing.callback(shipper.stop)
        live = _open(entry, family, _judges([entry], family)[0], shipper, view.parent)
        closing.callback(live.tracker.close)
        yield live


@dataclasses.dataclass(frozen=True)
class _Entry:
    run: RunConfig
    dataset: Dataset
    folder: RunFolder | None
    """None for a run that is yet to be named."""


def _dataset(run: RunConfig) -> Dataset:
    dataset = read_dataset(run.data)
    return all_photos(dataset) if run.data.train_on == "all" else dataset


def _train_all(entries: Sequence[_Entry], width: int | str, parent: str, say: Say) -> list[Outcome]:
    """Group by what can share a base, train group after group, keep the order of `entries`."""
    from lorasweep.train.trial import cohort_key

    groups: dict[object, list[int]] = {}
    for place, entry in enumerate(entries):
        groups.setdefault(cohort_key(entry.run), []).append(place)
    outcomes: dict[int, Outcome] = {}
    with graceful_stop() as stop:
        for places in groups.values():
            if not stop:
                done = _train_group([entries[place] for place in places], width, parent, stop, say)
                outcomes |= dict(zip(places, done, strict=True))
    if stop:
        say("Stopped and saved; 'lorasweep resume last' goes on from here.")
        stop.leave()
    return [outcomes[place] for place in range(len(entries))]


def _train_group(
    entries: Sequence[_Entry], width: int | str, parent: str, stop: StopRequest, say: Say
) -> list[Outcome]:
    from lorasweep.models import load_family

    first = entries[0].run
    if first.hardware.threads:
        import torch

        torch.set_num_threads(first.hardware.threads)
    family = load_family(first.model, first.hardware)
    with ExitStack() as closing:
        judges = _judges(entries, family)
        shipper = _shipper(first)
        if shipper is not None:
            closing.callback(shipper.stop)
        if first.evaluate.enabled:
            say(announcement(first))
        lives = []
        for entry, judge in zip(entries, judges, strict=True):
            lives.append(_open(entry, family, judge, shipper, parent))
            closing.callback(lives[-1].tracker.close)
        _train_lives(lives, family, _width(width, len(lives)), stop, say)
        return [live.stop() if stop else live.finish() for live in lives]


def _train_lives(lives: Sequence[LiveRun], family: "Family", width: int, stop: StopRequest, say: Say) -> None:
    """The loop: admit where a slot is free, train to the next checkpoint, look at what was saved."""
    from lorasweep.app.progress import Progress
    from lorasweep.train.cohort import Cohort

    by_name = {live.name: live for live in lives}
    queue = deque(lives)
    cohort = Cohort(family, width)
    with Progress(lives, say) as progress:
        while (queue or cohort.busy) and not stop:
            while queue and cohort.free_slots:
                live = queue.popleft()
                live.catch_up()
                cohort.admit(live.trial)
            events = cohort.run_interval(progress.step, lambda: bool(stop))
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


def _open(entry: _Entry, family: "Family", judge: Judge | None, shipper: "Shipper | None", parent: str) -> LiveRun:
    """Name the run if it has no name, take its lock, and write down what it is made of."""
    from lorasweep.app.origin import origin
    from lorasweep.track.tracker import JournalTracker, RunMeta
    from lorasweep.train.trial import Trial

    run, root = entry.run, Path(entry.run.track.root)
    folder = entry.folder or RunFolder(root / "runs" / _name(run, root))
    prompts = fill_prompts(run.sample, run.data) if run.sample.prompts else ()
    tracker = JournalTracker(folder.path, shipper)
    signature = run_signature(run, entry.dataset.fingerprint)
    config = to_plain(run)
    meta = RunMeta(
        name=folder.name,
        config=config,
        dataset=entry.dataset,
        prompts=prompts,
        run_signature=signature,
        evaluation_signature=judge.signature if judge else "",
        provenance=origin(run, entry.dataset, family, judge, signature),
        parent=parent,
    )
    tracker.start(meta)
    trial = Trial(folder.name, run, entry.dataset, folder.path)
    return LiveRun(trial, family, tracker, prompts, judge)


def _name(run: RunConfig, root: Path) -> str:
    if run.name:
        return claim_name(run.name, root)
    base = Path(run.model.path).stem
    return new_run_name(run.data.trigger, base, run.optim.lr, root)


def _judges(entries: Sequence[_Entry], family: "Family") -> list[Judge | None]:
    """One judge for all runs that would be judged alike, so that base sheets and photos are looked at once."""
    shared: dict[str, Judge] = {}
    judges: list[Judge | None] = []
    for entry in entries:
        if not entry.run.evaluate.enabled:
            judges.append(None)
            continue
        judge = Judge(entry.run, family, entry.dataset, fill_prompts(entry.run.sample, entry.run.data))
        judges.append(shared.setdefault(f"{judge.signature}/{entry.run.seed}/{entry.run.track.root}", judge))
    return judges


def _shipper(run: RunConfig) -> "Shipper | None":
    if not run.track.mlflow:
        return None
    from lorasweep.track.shipper import shipper_to

    return shipper_to(Path(run.track.root), run.track.uri, run.track.experiment)


def _width(width: int | str, trials: int) -> int:
    """As many slots as there are trials, up to the width asked for."""
    if width == "auto":
        return min(trials, WIDEST)
    if not isinstance(width, int) or width < 1:
        raise UserError(f"hydra.launcher.width is {width!r}; it must be auto or a number of adapters from 1 up.")
    return min(trials, width)


def _new_parent(runs: Sequence[RunConfig]) -> str:
    """A run folder that only groups: a parent in MLflow."""
    from lorasweep.track.tracker import JournalTracker, RunMeta

    root = Path(runs[0].track.root)
    taken = {folder.name for folder in all_runs(root)}
    stem = f"{runs[0].data.trigger}-multirun"
    name = claim_name(next(n for i in itertools.count(1) if (n := f"{stem}-{i:04d}") not in taken), root)
    tracker = JournalTracker(root / "runs" / name, None)
    tracker.start(RunMeta(name=name, config=to_plain(runs[0]), multirun=True))
    tracker.close()
    return name


def _close_parent(root: Path, name: str, outcomes: Iterable[Outcome]) -> None:
    """Remember the best child, ship the last of it, and write the page that compares all of them."""
    from lorasweep.report.page import write_comparison
    from lorasweep.track.recall import read_run
    from lorasweep.track.tracker import JournalTracker

    folder = root / "runs" / name
    done = list(outcomes)
    picked = [outcome for outcome in done if not math.isnan(outcome.score)]
    config = from_plain(read_run(folder).config)
    shipper = _shipper(config)
    tracker = JournalTracker(folder, shipper)
    try:
        if picked:
            tracker.tag("best_run", max(picked, key=lambda outcome: outcome.score).name)
        tracker.end("finished" if all(outcome.error is None for outcome in done) else "failed")
    finally:
        tracker.close()
        if shipper is not None:
            shipper.stop()
    write_comparison(folder, [read_run(outcome.folder) for outcome in done])
