"""``lorasweep sweep``: trials that a sampler suggests, trained side by side, each worth what its picked checkpoint is.

A trial's value is the score of the checkpoint that the pick rule chose, on fresh seeds that are the same for all
trials; never a maximum over checkpoints or seeds. The winner is drawn once more, on a third set of seeds, since it was
chosen for its score on the second.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasweep.app.entries import Entry, entry_of
from lorasweep.app.judge import Judge
from lorasweep.app.live import LiveRun, Say, picked_file
from lorasweep.app.multirun import Multirun
from lorasweep.app.running import say_beforehand
from lorasweep.app.side_by_side import ENOUGH, GO_ON, HOPELESS, slots, train_side_by_side
from lorasweep.app.stopping import graceful_stop
from lorasweep.app.workshop import Workshop
from lorasweep.config.schema import RunConfig
from lorasweep.config.search import SearchConfig, key_of
from lorasweep.config.signature import leaves, telling_leaves
from lorasweep.config.subject import told_by
from lorasweep.data.errors import UserError
from lorasweep.data.records import Checkpoint, RunView
from lorasweep.sweep.asking import Asker
from lorasweep.sweep.rules import Curve, hopeless, past_peak
from lorasweep.sweep.space import Dimension, as_words, resolve
from lorasweep.sweep.study import (
    Ended,
    Signature,
    database_url,
    enqueue,
    make_sampler,
    mend,
    open_study,
    trials_of,
)
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, slug

if TYPE_CHECKING:
    import optuna

Compose = Callable[[Sequence[str]], RunConfig]
"""Overrides in, the run that a person would get who typed them."""


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """What a search has found."""

    study: str
    trials: int
    """Finished ones, those that were given up among them."""
    best: str
    """The name of the winning run; '' where no trial has anything to use."""
    params: dict[str, Any]
    step: int | None
    strength: float
    score: float
    """Of the winner on seeds that neither its checkpoint nor itself was chosen on."""
    file: Path | None


def search(
    plan: SearchConfig,
    compose: Compose,
    words: Sequence[str],
    *,
    width: int | str = "auto",
    say: Say = print,
) -> SearchOutcome:
    """Search until ``plan.trials`` are finished; the same call goes on with what is there.

    Args:
        compose: makes a run of overrides; called on this thread only.
        words: overrides of every trial, which stand above the plan's own.
    Raises:
        UserError: before anything is trained, where the space, the photos, the model or an earlier search forbid it.
    """
    fixed = [*plan.base, *words]
    base = entry_of(compose(fixed))
    _require_scores(base.run)
    space = resolve(plan.space, leaves(base.run), {key_of(word): word for word in fixed})
    root = Path(base.run.track.root)
    url, name = plan.storage or database_url(root), plan.study or f"{base.run.data.trigger}-{slug(plan.name)}"
    with Workshop(base) as shop:
        judge = shop.require(base)
        assert judge is not None
        signature = Signature.of(space, base.dataset.fingerprint, judge.signature, telling_leaves(base.run))
        found = open_study(url, name, signature)
        _require_parent(root, name, found)
        with Multirun(base.run, name) as parent, graceful_stop() as stop:
            _take_up(found, parent, plan, space, base.run)
            say(_beginning(found, plan, space))
            say_beforehand([base], say)
            trials = min(plan.trials, _cells(space)) if plan.sampler == "grid" else plan.trials
            with Asker(found, url, space, trials, lambda number: f"{name}-{number:04d}") as asker:
                source = _Searched(shop, base, asker, lambda more: compose([*fixed, *more]), parent, plan)
                train_side_by_side(source, shop.family, slots(width, trials), stop, say)
                source.stop()
            if stop:
                say(f"Stopped and saved; the same command goes on with study {name}.")
                stop.leave()
            outcome = _winner(found, name, root, shop, base)
            _remember(outcome, parent, say)
            return outcome


class _Searched:
    """Runs that a sampler asks for, while so many are wanted."""

    def __init__(
        self, shop: Workshop, base: Entry, asker: Asker, compose: Compose, parent: Multirun, plan: SearchConfig
    ) -> None:
        self._shop = shop
        self._base = base
        self._asker = asker
        self._compose = compose
        self._parent = parent
        self._plan = plan
        self._numbers: dict[str, int] = {}
        self._lives: dict[str, LiveRun] = {}

    def next(self) -> LiveRun | None:
        suggestion = self._asker.ask()
        if suggestion is None:
            return None
        run = self._compose([*as_words(suggestion.params), f"name={suggestion.run}"])
        entry = dataclasses.replace(self._base, run=run) if run.data == self._base.run.data else entry_of(run)
        folder = RunFolder(self._parent.run.path.parent / suggestion.run)
        entry = dataclasses.replace(entry, folder=folder if folder.journal.exists() else None)
        self._shop.require(entry)
        live = self._shop.open(entry, self._parent.name)
        self._numbers[live.name], self._lives[live.name] = suggestion.number, live
        return live

    def looked(self, live: LiveRun) -> str:
        curve, config = _curve(live), live.trial.config
        self._asker.report(self._numbers[live.name], curve)
        if len(curve) >= len(live.drawn):
            return GO_ON
        delta = config.pick.delta
        if self._plan.stop_past_peak and config.optim.schedule == "constant" and past_peak(curve, delta):
            return ENOUGH
        if self._plan.prune and hopeless(curve, self._asker.others(), config.optim.steps, delta):
            return HOPELESS
        return GO_ON

    def ended(self, live: LiveRun) -> None:
        number = self._numbers[live.name]
        self._asker.report(number, _curve(live))
        view = read_run(live.folder)
        pick = view.pick
        more = {"peak": _peak(view), "step": pick.step if pick else None, "strength": pick.strength if pick else None}
        self._asker.tell(number, ended_of(view), **more)
        del self._lives[live.name]
        self._parent.compare()

    def stop(self) -> None:
        """What is still being trained is saved and can be gone on with."""
        for live in self._lives.values():
            live.stop()


def ended_of(view: RunView) -> Ended:
    """What a run that is over is worth to a search: the score of its pick on fresh seeds.

    A run without anything to use is worth what its best checkpoint seemed to be, below the floor; one whose loss
    became NaN before anything could be used is worth 0.
    """
    if view.pick is not None and view.pick.step is not None:
        return Ended(score=view.pick.score)
    if view.pick is None and view.status == "finished":
        return Ended(score=None)
    floor = float(view.config.get("pick", {}).get("floor", 1.0))
    return Ended(score=min(_peak(view), floor))


def _require_scores(run: RunConfig) -> None:
    if not run.evaluate.enabled:
        raise UserError("evaluate.enabled is false; a search needs it to be true, since trials are compared by score")
    if told_by(run) == "none":
        raise UserError(f"data.kind is {run.data.kind!r}, of which no checkpoint is picked; a search needs a pick")


def _require_parent(root: Path, name: str, study: "optuna.Study") -> None:
    """Runs of that name that this study knows nothing of are not to be mixed with."""
    if RunFolder(root / "runs" / name).journal.exists() and not trials_of(study):
        raise UserError(f"{root / 'runs' / name} is there already, and study {name} is not; choose another study=NAME")


def _take_up(
    study: "optuna.Study", parent: Multirun, plan: SearchConfig, space: Sequence[Dimension], base: RunConfig
) -> None:
    """Hold the study, mend what a crash left, and have what is known to be good tried first."""
    runs = parent.run.path.parent  # asking for it takes the parent's lock: one process a study

    def how_it_ended(run: str) -> Ended | None:
        if not RunFolder(runs / run).journal.exists():
            return None
        view = read_run(runs / run)
        return ended_of(view) if view.status in ("finished", "failed") else None

    mend(study, how_it_ended)
    study.sampler = make_sampler(plan.sampler, space, plan.seed, len(study.get_trials(deepcopy=False)))
    if plan.sampler != "grid":
        own = leaves(base)
        enqueue(study, space, [{each.key: own[each.key] for each in space}, *plan.recipes])


def _cells(space: Sequence[Dimension]) -> int:
    return math.prod(len(dimension.grid()) for dimension in space)


def _beginning(study: "optuna.Study", plan: SearchConfig, space: Sequence[Dimension]) -> str:
    done = len(trials_of(study, "COMPLETE", "PRUNED"))
    there = f", of which {done} are finished" if done else ""
    ranges = "; ".join(f"{dimension.key} from {dimension.words()}" for dimension in space)
    return f"Study {study.study_name}: {plan.trials} trials{there}, sampler {plan.sampler}. {ranges}."


def _curve(live: LiveRun) -> Curve:
    return {step: scores.score for step, scores in live.scores.items() if step > 0}


def _peak(view: RunView) -> float:
    scores = [part.score for part in view.scores if part.step > 0 and not part.fresh and not math.isnan(part.score)]
    return max(scores, default=0.0)


def _winner(study: "optuna.Study", name: str, root: Path, shop: Workshop, base: Entry) -> SearchOutcome:
    finished = trials_of(study, "COMPLETE", "PRUNED")
    usable = [trial for trial in finished if trial.user_attrs.get("step") or _has_pick(root, trial)]
    best = max(usable, key=lambda trial: trial.value or 0.0, default=None)
    if best is None:
        return SearchOutcome(
            study=name, trials=len(finished), best="", params={}, step=None, strength=1.0, score=math.nan, file=None
        )
    view = read_run(root / "runs" / best.user_attrs["run"])
    assert view.pick is not None
    return SearchOutcome(
        study=name,
        trials=len(finished),
        best=view.name,
        params=dict(best.params),
        step=view.pick.step,
        strength=view.pick.strength,
        score=_third_score(view, shop, base),
        file=picked_file(view.folder, view.pick),
    )


def _has_pick(root: Path, trial: Any) -> bool:
    """A trial that was told to the study after a crash has no attributes but its run's name."""
    if trial.state.name != "COMPLETE":
        return False
    pick = read_run(root / "runs" / trial.user_attrs["run"]).pick
    return pick is not None and pick.step is not None


def _third_score(view: RunView, shop: Workshop, base: Entry) -> float:
    """The winner's score on seeds that nothing was chosen on, at the advised strength."""
    run = dataclasses.replace(base.run, sample=dataclasses.replace(base.run.sample, fresh_seeds=third_seeds(base.run)))
    judge = shop.judge_of(dataclasses.replace(base, run=run))
    assert isinstance(judge, Judge)
    assert view.pick is not None
    picked: Checkpoint = next(each for each in view.checkpoints if each.step == view.pick.step)
    folder = view.folder / "samples" / "third"
    (sheet,) = judge.draw([picked], [folder], fresh=True, strength=view.pick.strength)
    return judge.judge(sheet, view.folder / "features").score


def third_seeds(run: RunConfig) -> list[int]:
    """As many seeds as the fresh ones are, and none of those that a run draws with."""
    first = max(*run.sample.seeds, *run.sample.fresh_seeds) + 1
    return list(range(first, first + len(run.sample.fresh_seeds)))


def _remember(outcome: SearchOutcome, parent: Multirun, say: Say) -> None:
    if not outcome.best:
        say(f"Study {outcome.study}: none of {outcome.trials} trials has a checkpoint to use; widen the space.")
        return
    parent.tag("winner", outcome.best)
    parent.tag("winner_score", f"{outcome.score:.4f}")
    values = ", ".join(as_words(outcome.params))
    say(
        f"Study {outcome.study}: {outcome.best} ({values}), step {outcome.step} at strength {outcome.strength:g}; "
        f"on seeds that nothing was chosen on it scores {outcome.score:.2f}. The file is {outcome.file}"
    )
