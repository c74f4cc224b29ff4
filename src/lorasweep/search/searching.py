"""``lorasweep sweep``: trials that a sampler suggests, each worth what its picked checkpoint is.

A trial's value is the score of its picked checkpoint on fresh seeds, the same for all trials; never a maximum over
checkpoints or seeds. The winner is drawn once more, on a third set of seeds, since it won by its score on the second.

One process has a study to itself by the lock of the parent run. Several workers share a study in a database server:
they count trials under a file lock, and take over the trials of a worker whose heartbeat stopped.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.schema import RunConfig, told_by
from lorasweep.config.search import SearchConfig, key_of
from lorasweep.config.signature import leaves, telling_leaves
from lorasweep.console import Say
from lorasweep.errors import TryAgainError, UserError
from lorasweep.outcomes import RunStatus
from lorasweep.run.entries import Entry, entry_of
from lorasweep.run.loop import train_side_by_side
from lorasweep.run.multirun import Multirun
from lorasweep.run.session import Purpose, Session
from lorasweep.run.stopping import StopRequest, graceful_stop
from lorasweep.run.training import announce
from lorasweep.search.sampling import Asker
from lorasweep.search.space import Dimension, resolve
from lorasweep.search.study import (
    Ended,
    Signature,
    database_url,
    enqueue,
    find_study,
    is_shared,
    let_go_of_the_dead,
    make_sampler,
    mend,
    open_study,
    trials_of,
)
from lorasweep.search.trials import Compose, Suggested, ended_of
from lorasweep.search.winner import SearchOutcome, draw_winner, find_winner
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, slug, study_lock

if TYPE_CHECKING:
    import optuna

IDLE_POLLS = 5
"""Heartbeats that a search by workers may go without a trial in training before it is called dead."""


@dataclass(frozen=True)
class _Search:
    """One search, resolved: its name, its database, its space, and the run around which it searches."""

    plan: SearchConfig
    name: str
    url: str
    base: Entry
    space: tuple[Dimension, ...]
    compose: Compose

    @property
    def root(self) -> Path:
        return Path(self.base.run.track.root)

    @property
    def trials(self) -> int:
        """As many as are wanted; of a grid no more than it has cells."""
        cells = math.prod(len(dimension.grid()) for dimension in self.space)
        return min(self.plan.trials, cells) if self.plan.sampler == "grid" else self.plan.trials


def search(
    plan: SearchConfig, compose: Compose, words: Sequence[str], *, worker: bool = False, say: Say = print
) -> SearchOutcome:
    """Search until ``plan.trials`` are finished; the same call goes on with a search that was interrupted.

    Args:
        compose: makes a run of overrides; called on this thread only.
        words: overrides of every trial, which take precedence over the plan's.
        worker: whether this is one of several that share the study; ``search_elsewhere`` then holds the parent.

    Raises:
        UserError: the space, the photos, the model or an earlier search forbid it; nothing was trained then.
    """
    this = _resolved(plan, compose, words)
    # one base model and one set of scorers for all trials: opening them takes longer than a short trial
    with Session(Purpose.TRAIN, this.base.run) as session:
        evaluator = session.require(this.base)
        assert evaluator is not None
        photos, rest = this.base.dataset.fingerprint, telling_leaves(this.base.run)
        signature = Signature.of(this.space, photos, evaluator.signature, rest)
        study = open_study(this.url, this.name, signature, plan.heartbeat)
        with nullcontext() if worker else _parent(this, study) as parent, graceful_stop() as stop:
            if parent:
                parent.begin()  # its lock keeps other processes away from the study
            quota = study_lock(this.root, this.name) if worker else nullcontext()
            with quota:
                _take_up(study, this, alone=not worker)
            say(_beginning(study, this))
            announce([this.base], say)
            with Asker(study, this.url, this.space, this.trials, quota) as asker:
                after = parent.compare if parent else _nothing
                source = Suggested(session, this.base, asker, this.compose, plan, after)
                _work(source, asker, session, this, stop, say)
                source.stop()
            # only now, when the asker has put back what is not answered
            if stop:
                say(f"Stopped and saved; the same command goes on with study {this.name}.")
                stop.leave()
            with quota:  # of several workers that finish together one draws, and the others find it drawn
                draw_winner(study, this.root, session, this.base)
            return _concluded(study, this, parent, say)


def search_elsewhere(
    plan: SearchConfig,
    compose: Compose,
    words: Sequence[str],
    launch: Callable[[int], Sequence[Exception]],
    *,
    say: Say = print,
) -> SearchOutcome:
    """Have workers search, and hold the parent run until they are done.

    Args:
        launch: starts so many workers, each of which calls ``search``, waits for them and returns what went wrong. It
            may raise if one of them dies while others go on.

    Raises:
        UserError: the study's database is no server, or what ``search`` raises.
        TryAgainError: no worker is left, and trials are missing.
    """
    this = _resolved(plan, compose, words)
    if not is_shared(this.url):
        raise UserError(
            f"the storage is {this.url}; a search by several workers needs a database server, "
            "as in storage=postgresql://user@host/studies"
        )
    find_study(this.url, this.name, plan.heartbeat)  # raises, before a worker starts, if the database does not answer
    with Multirun(this.base.run, this.name) as parent:
        parent.begin()
        say(f"Study {this.name}: {plan.workers} workers are started; they keep their runs in {parent.run.path.parent}.")
        try:
            wrong = launch(plan.workers)
        except Exception as error:  # launchers raise errors of their own for a killed worker, which is not the end
            wrong = [error]
        for error in wrong:
            say(f"A worker ended badly: {_last_words(error)}")
        # all of them were refused, for the same reason; after anything else another worker may still be searching
        if len(wrong) == plan.workers and isinstance(wrong[0], UserError):
            raise wrong[0]
        study = _when_over(this, parent)
        return _concluded(study, this, parent, say)


def _resolved(plan: SearchConfig, compose: Compose, words: Sequence[str]) -> _Search:
    fixed = [*plan.base, *words]
    run = compose(fixed)
    _require_scores(run)
    space = resolve(plan.space, leaves(run), {key_of(word): word for word in fixed})
    base = entry_of(run)  # after the space, which costs nothing to refuse
    name = plan.study or f"{run.data.trigger}-{slug(plan.name)}"
    url = plan.storage or database_url(Path(run.track.root))
    return _Search(plan, name, url, base, space, lambda more: compose([*fixed, *more]))


def _require_scores(run: RunConfig) -> None:
    if not run.evaluate.enabled:
        raise UserError("evaluate.enabled is false; a search needs it to be true, since trials are compared by score")
    if told_by(run) == "none":
        raise UserError(f"data.kind is {run.data.kind!r}, of which no checkpoint is picked; a search needs a pick")


def _parent(this: _Search, study: "optuna.Study") -> Multirun:
    """Return the parent run; raise UserError if a run of that name does not belong to the study."""
    # a parent without trials is a run that happens to be called so, or one whose database was deleted
    if RunFolder(this.root / "runs" / this.name).journal.exists() and not trials_of(study):
        where = this.root / "runs" / this.name
        raise UserError(f"{where} is there already, and study {this.name} is not; choose another study=NAME")
    return Multirun(this.base.run, this.name)


def _take_up(study: "optuna.Study", this: _Search, *, alone: bool) -> None:
    """Mend what a crash left, and queue what is known to be good."""

    def how_it_ended(name: str) -> Ended | None:
        run = RunFolder(this.root / "runs" / name)
        if not run.journal.exists():
            return None
        view = read_run(run.path)
        return ended_of(view) if view.status in (RunStatus.FINISHED, RunStatus.FAILED) else None

    if alone:  # with others at work, a trial in training is no leftover; heartbeats tell
        mend(study, how_it_ended)
    study.sampler = make_sampler(this.plan.sampler, this.space, this.plan.seed, len(trials_of(study)))
    if this.plan.sampler != "grid":
        own = leaves(this.base.run)  # the preset's own values come first: a search should not end below its start
        enqueue(study, this.space, [{each.key: own[each.key] for each in this.space}, *this.plan.recipes])


def _beginning(study: "optuna.Study", this: _Search) -> str:
    done = len(trials_of(study, "COMPLETE", "PRUNED"))
    there = f", of which {done} are finished" if done else ""
    ranges = "; ".join(f"{dimension.key} from {dimension.words()}" for dimension in this.space)
    return f"Study {this.name}: {this.trials} trials{there}, sampler {this.plan.sampler}. {ranges}."


def _work(source: Suggested, asker: Asker, session: Session, this: _Search, stop: StopRequest, say: Say) -> None:
    """Train until all trials are finished, other workers' trials included: if one of them dies, they are taken over."""
    while True:
        train_side_by_side(source, session.family, this.plan.width, this.trials, stop, say)
        if stop or asker.finished or not is_shared(this.url):
            return
        time.sleep(this.plan.heartbeat)


def _last_words(error: Exception) -> str:
    """Return what a launcher says of a job's end in one line: the message of the error that a traceback ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [line for line in lines if "Error: " in line]
    return (told[-1].partition("Error: ")[2] if told else lines[0])[:300]


def _when_over(this: _Search, parent: Multirun) -> "optuna.Study":
    """Wait until all trials are finished and return the study; meanwhile queue the trials of dead workers again."""
    idle, study = 0, None
    while True:
        study = study or find_study(this.url, this.name, this.plan.heartbeat)
        done = 0 if study is None else len(trials_of(study, "COMPLETE", "PRUNED"))
        if study is not None and done >= this.trials:
            return study
        # the workers do this as they ask for trials, but the last of them may have died
        if study is not None:
            with study_lock(this.root, this.name):
                let_go_of_the_dead(study)
        idle = 0 if study is not None and trials_of(study, "RUNNING") else idle + 1
        if idle > IDLE_POLLS:
            raise TryAgainError(f"study {this.name} has {done} of {this.trials} trials and no worker; try again")
        parent.compare()
        time.sleep(this.plan.heartbeat)


def _concluded(study: "optuna.Study", this: _Search, parent: Multirun | None, say: Say) -> SearchOutcome:
    outcome = find_winner(study, this.root)
    if parent is not None:
        if outcome.best:
            parent.tag("winner", outcome.best)
            parent.tag("winner_score", f"{outcome.score:.4f}")
        parent.lead = outcome.words()
        say(outcome.words())
    return outcome


def _nothing() -> None:
    """Stand for ``Multirun.compare`` in a worker, which does not hold the parent."""
