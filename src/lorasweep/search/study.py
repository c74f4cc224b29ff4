"""A study in Optuna's database: opened, refused if it is another search's, and mended after a crash.

A trial's attributes hold the name of its run from before anything is trained, so that a run which was killed is found
by that name and resumed.
"""

import json
import logging
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasweep.errors import TryAgainError, UserError
from lorasweep.records import JsonDict
from lorasweep.search.pruning import Curve
from lorasweep.search.space import Dimension

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

DATABASE = "studies.db"
_FILE = "sqlite:///"
RUN = "run"
"""Trial attribute with the name of its run."""
REFUSED = "refused"
"""Attribute of a trial that failed because it cannot be trained, or because a living worker has its run open."""
SIGNED = "signature"
STARTUP = 3
"""Trials before a sampler begins to learn: the preset's own values and two random ones."""
RETRIES = 3
"""How often a trial that was killed or has failed is tried again."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What two searches must share for their trials to be compared."""

    space: Mapping[str, JsonDict]
    photos: str
    judged: str
    """Evaluation signature."""
    config: Mapping[str, Any]
    """Every other key that can change a result."""

    @classmethod
    def of(cls, space: Sequence[Dimension], photos: str, judged: str, leaves: Mapping[str, Any]) -> "Signature":
        """Return the signature of a search around a run with these ``leaves``."""
        # a searched key counts by its range, not by the value that the run happens to have
        searched = {dimension.key: dimension.to_json() for dimension in space}
        rest = {key: value for key, value in leaves.items() if key not in searched}
        return cls(space=searched, photos=photos, judged=judged, config=rest)

    def to_json(self) -> JsonDict:
        """Return it as JSON reads it back, so that it equals one from the database."""
        return json.loads(json.dumps(vars(self), default=str))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a run that is over is worth."""

    score: float | None
    """None if it was pruned."""


@contextmanager
def answering(url: str) -> Generator[None]:
    """Turn what is raised for a database that does not answer into one sentence."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{_bare(url)} needs a driver that is not installed; pip install 'lorasweep[cluster]'"
        ) from error
    except (StorageInternalError, SQLAlchemyError) as error:
        why = str(error.__cause__ or error).strip().split("\n")[0][:200]
        raise TryAgainError(f"the database of studies, {_bare(url)}, does not answer ({why}); try again") from error


def database_url(root: Path) -> str:
    """Return the URL of the file beside MLflow's."""
    return f"{_FILE}{(root.absolute() / DATABASE).as_posix()}"


def is_shared(url: str) -> bool:
    """Return whether workers in several processes may use the database at once, as they may a server."""
    return not url.startswith(_FILE)


def find_study(url: str, name: str, heartbeat: int = 60) -> "optuna.Study | None":
    """Return the study of that name, or None."""
    import optuna

    with answering(url):
        storage = _storage(url, heartbeat)
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage) if name in names else None


def open_study(url: str, name: str, signature: Signature, heartbeat: int = 60) -> "optuna.Study":
    """Return the study, begun if there is none of that name; its sampler is yet to be set.

    In a shared study each trial in training beats every ``heartbeat`` seconds; one without a beat for five times as
    long is failed and queued again by whoever asks next.

    Raises:
        UserError: it is another search's: other photos, another space, or another value of a key that counts.
        TryAgainError: the database does not answer.
    """
    import optuna

    with answering(url):
        study = optuna.create_study(
            storage=_storage(url, heartbeat), study_name=name, direction="maximize", load_if_exists=True
        )
        known = study.user_attrs.get(SIGNED)
        if known is None:  # new, or its first process died before it could sign
            study.set_user_attr(SIGNED, signature.to_json())
        elif differences := differing(known, signature.to_json()):
            raise UserError(
                f"study {name} was begun with {'; '.join(differences)}; "
                f"go on with what it was begun with, or begin another one with study=NAME"
            )
    return study


def differing(known: JsonDict, now: JsonDict) -> list[str]:
    """Return what two signatures do not share, one phrase each, the first few of many."""
    if known == now:
        return []
    found = [
        f"{_range(known['space'].get(key))} for {key} and not {_range(now['space'].get(key))}"
        for key in sorted({*known["space"], *now["space"]})
        if known["space"].get(key) != now["space"].get(key)
    ]
    if known["photos"] != now["photos"]:
        found.append("other photos")
    before, after = known["config"], now["config"]
    found += [
        f"{key}={before.get(key)} and not {after.get(key)}"
        for key in sorted({*before, *after} - {*known["space"], *now["space"]})
        if before.get(key) != after.get(key)
    ]
    if not found:
        found.append("other scorers, scoring code or prompts, or another base model")
    return [*found[:4], *([f"{len(found) - 4} more"] if len(found) > 4 else [])]


def make_sampler(kind: str, space: Sequence[Dimension], seed: int, tried: int) -> "optuna.samplers.BaseSampler":
    """Return a new sampler by its name.

    Args:
        tried: trials that the study has already.
    """
    import optuna
    from optuna import samplers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # no sampler's state is stored: with the same seed, a search that goes on would suggest what it did before
        if kind == "tpe":
            return samplers.TPESampler(seed=seed + tried, n_startup_trials=STARTUP)
        if kind == "gp":
            return samplers.GPSampler(seed=seed + tried, n_startup_trials=STARTUP)
        if kind == "random":
            return samplers.RandomSampler(seed=seed + tried)
        if kind == "qmc":
            return samplers.QMCSampler(seed=seed, scramble=True)  # goes on by the number of the trial
        return samplers.GridSampler({each.key: each.grid() for each in space}, seed=seed)


def trials_of(study: "optuna.Study", *states: str) -> "list[FrozenTrial]":
    """Return the trials in these states (COMPLETE, PRUNED, RUNNING, WAITING, FAIL), by number; without any, all."""
    found = study.get_trials(deepcopy=False)
    return [trial for trial in found if not states or trial.state.name in states]


def curves_of(study: "optuna.Study") -> list[Curve]:
    """Return scores by step of every trial that was not pruned."""
    return [trial.intermediate_values for trial in trials_of(study, "COMPLETE")]


def mend(study: "optuna.Study", how_it_ended: Callable[[str], Ended | None]) -> list[str]:
    """Close the trials that a dead process left open; only for a process that has the study to itself.

    The study is told of runs that are over; the other trials are queued again.

    Args:
        how_it_ended: by the name of a run; None if it is not over.

    Returns:
        The names of the runs that are to be resumed.
    """
    import optuna

    resumed: list[str] = []
    for trial in trials_of(study, "RUNNING"):
        run = trial.user_attrs.get(RUN)
        ended = how_it_ended(run) if run else None
        if ended is not None:
            pruned = optuna.trial.TrialState.PRUNED if ended.score is None else None
            study.tell(trial.number, ended.score, state=pruned, skip_if_finished=True)
            continue
        if queue_again(study, trial):
            resumed.append(str(run))
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
    return resumed


def queue_again(study: "optuna.Study", trial: "FrozenTrial") -> bool:
    """Queue the parameters of a trial that is about to be failed once more, under the name of the same run.

    Must be called before the trial is failed. Return False if it never had a name or was tried too often.
    """
    run = trial.user_attrs.get(RUN)
    attempts = [each for each in trials_of(study) if run and each.user_attrs.get(RUN) == run]
    # killed between this and the failing, the next call must not queue it twice
    queued = any(each.number > trial.number for each in attempts)
    if not run or (len(attempts) > RETRIES and not queued):
        return False
    if not queued:
        # whoever refused this attempt did so for itself: the next one may find the run free
        facts = {key: value for key, value in trial.user_attrs.items() if key != REFUSED}
        study.enqueue_trial(trial.params, user_attrs={**facts, "retry_of": trial.number})
    return True


def require_queued(study: "optuna.Study", run: str) -> None:
    """Queue a run's trial once more if all attempts at it have failed."""
    last = _last_attempts(study)[run]
    if last.state.name == "FAIL":
        queue_again(study, last)


def enqueue(study: "optuna.Study", space: Sequence[Dimension], recipes: Sequence[Mapping[str, Any]]) -> None:
    """Queue the recipes that lie in the space and were not tried, to be tried first."""
    for recipe in recipes:
        known = {each.key: recipe[each.key] for each in space if each.key in recipe and each.holds(recipe[each.key])}
        if len(known) == len(space):
            study.enqueue_trial(known, skip_if_exists=True)


def let_go_of_the_dead(study: "optuna.Study") -> None:
    """Fail the trials of a shared study whose heartbeat stopped, and queue them again; for one worker at a time."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    # the worker that failed a trial may itself have died before it could queue it
    for trial in _last_attempts(study).values():
        if trial.state.name == "FAIL" and REFUSED not in trial.user_attrs:
            queue_again(study, trial)


def _last_attempts(study: "optuna.Study") -> "dict[str, FrozenTrial]":
    """Return the newest trial of every run, by the run's name."""
    return {trial.user_attrs[RUN]: trial for trial in trials_of(study) if RUN in trial.user_attrs}


def _queue_stale(study: "optuna.Study", trial: "FrozenTrial") -> None:
    queue_again(study, trial)


def _storage(url: str, heartbeat: int) -> "optuna.storages.BaseStorage":
    import optuna
    from sqlalchemy import event

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports every table that it lays out
    if is_shared(url):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True},  # servers close connections that idle while a trial trains
                heartbeat_interval=heartbeat,
                grace_period=5 * heartbeat,
                heartbeat_stale_trial_callback=_queue_stale,
            )
    Path(url.removeprefix(_FILE)).parent.mkdir(parents=True, exist_ok=True)
    # seconds to wait for another connection's write: each trial's thread has one, and so has a dashboard
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})

    # a reader, such as a dashboard, then never blocks the search
    def write_ahead(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")

    event.listen(storage.engine, "connect", write_ahead)
    return storage


def _range(dimension: JsonDict | None) -> str:
    if dimension is None:
        return "no range"
    return str(dimension["choices"]) if "choices" in dimension else f"{dimension['low']:g} to {dimension['high']:g}"


def _bare(url: str) -> str:
    """Return the URL without what may be a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
