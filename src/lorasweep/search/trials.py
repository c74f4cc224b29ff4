"""A source of runs that a sampler suggests and that tells it what each of them is worth."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from lorasweep.config.schema import RunConfig
from lorasweep.config.search import SearchConfig
from lorasweep.errors import TryAgainError, UserError
from lorasweep.outcomes import RunStatus
from lorasweep.records import RunView
from lorasweep.run.entries import Entry, entry_of
from lorasweep.run.loop import Decision
from lorasweep.run.recorder import RunRecorder
from lorasweep.run.session import Session
from lorasweep.search.pruning import Curve, hopeless, past_peak
from lorasweep.search.sampling import Asker, Suggestion
from lorasweep.search.space import as_words
from lorasweep.search.study import Ended
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import HeldError, RunFolder

Compose = Callable[[Sequence[str]], RunConfig]
"""Overrides in, the run out that a person would get who typed them."""


class Suggested:
    """A ``run.loop.Source``: asks for runs until enough trials are finished."""

    def __init__(
        self,
        session: Session,
        base: Entry,
        asker: Asker,
        compose: Compose,
        plan: SearchConfig,
        after: Callable[[], None],
    ) -> None:
        """``after`` is called when a trial is over and told."""
        self._session = session
        self._base = base
        self._asker = asker
        self._compose = compose
        self._plan = plan
        self._after = after
        self._numbers: dict[str, int] = {}
        """Of the trials, by the names of their runs."""
        self._running: dict[str, RunRecorder] = {}

    def next(self) -> RunRecorder | None:
        """Open the run of the next suggestion, from where an earlier attempt was killed; None if there is none."""
        while (suggestion := self._asker.ask()) is not None:
            entry = self._entry(suggestion)
            try:
                run = self._session.open(entry, self._asker.study.study_name)
            except HeldError:  # its worker was taken for dead and is not: it will tell what became of the trial itself
                self._asker.refuse(suggestion.number)
                continue
            self._numbers[run.name], self._running[run.name] = suggestion.number, run
            return run
        return None

    def decide(self, run: RunRecorder) -> Decision:
        """Report the scores so far, and decide whether the run goes on."""
        curve, config = _curve(run), run.trial.config
        self._asker.report(self._numbers[run.name], curve)
        if len(run.scores) >= len(run.drawn):  # its last checkpoint is scored: it ends by itself
            return Decision.GO_ON
        delta = config.pick.delta
        # while the rate decays, a fallen score may rise again
        if self._plan.stop_past_peak and config.optim.schedule == "constant" and past_peak(curve, delta):
            return Decision.FINISH
        if self._plan.prune and hopeless(curve, self._asker.others(), config.optim.steps, delta):
            return Decision.GIVE_UP
        return Decision.GO_ON

    def ended(self, run: RunRecorder) -> None:
        """Tell the study what a run is worth."""
        number, view = self._numbers[run.name], read_run(run.folder)
        self._asker.report(number, _curve(run))
        picked = {"step": view.pick.step, "strength": view.pick.strength} if view.pick else {}
        self._asker.tell(number, ended_of(view), peak=_peak(view), **picked)
        del self._running[run.name]
        self._after()

    def stop(self) -> None:
        """Stop the runs that are still being trained; they can be resumed."""
        for run in self._running.values():
            run.stop()

    def _entry(self, suggestion: Suggestion) -> Entry:
        try:
            run = self._compose([*as_words(suggestion.params), f"name={suggestion.run}"])
            entry = dataclasses.replace(self._base, run=run) if run.data == self._base.run.data else entry_of(run)
            self._session.require(entry)
        except UserError as error:
            if not isinstance(error, TryAgainError):  # these values cannot stand together, today or tomorrow
                self._asker.refuse(suggestion.number)
            raise
        folder = RunFolder(Path(run.track.root) / "runs" / suggestion.run)
        return dataclasses.replace(entry, folder=folder if folder.journal.exists() else None)


def ended_of(view: RunView) -> Ended:
    """Return what a run that is over is worth to a search: the steady score of its pick, on fresh seeds."""
    if view.pick is not None and view.pick.step is not None:
        return Ended(score=view.pick.worth)
    if view.pick is None and view.status is RunStatus.FINISHED:
        return Ended(score=None)
    # a run without a usable checkpoint still tells the sampler how near it came, but never beats one that has one; a
    # loss that became NaN before the first checkpoint is worth 0
    floor = float(view.config.get("pick", {}).get("floor", 1.0))
    return Ended(score=min(_peak(view), floor))


def _curve(run: RunRecorder) -> Curve:
    scores = {step: scores.score for step, scores in run.scores.items()}
    return {0: run.base_score, **scores} if scores else {}


def _peak(view: RunView) -> float:
    scores = [part.score for part in view.scores if part.step > 0 and not part.fresh and not math.isnan(part.score)]
    return max(scores, default=0.0)
