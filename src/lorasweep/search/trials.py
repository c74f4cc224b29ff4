"""Where a search's runs come from: a sampler suggests them, and hears what each is worth."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from lorasweep.config.schema import RunConfig
from lorasweep.config.search import SearchConfig
from lorasweep.errors import TryAgainError
from lorasweep.records import RunView
from lorasweep.run.entries import Entry, entry_of
from lorasweep.run.loop import ENOUGH, GO_ON, HOPELESS
from lorasweep.run.recorder import LiveRun
from lorasweep.run.session import Workshop
from lorasweep.search.pruning import Curve, hopeless, past_peak
from lorasweep.search.sampling import Asker, Suggestion
from lorasweep.search.space import as_words
from lorasweep.search.study import Ended
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import HeldError, RunFolder

Compose = Callable[[Sequence[str]], RunConfig]
"""Overrides in, the run that a person would get who typed them."""


class Suggested:
    """A ``side_by_side.Source``: runs that are asked for while so many are wanted."""

    def __init__(
        self,
        shop: Workshop,
        base: Entry,
        asker: Asker,
        compose: Compose,
        plan: SearchConfig,
        after: Callable[[], None],
    ) -> None:
        """``after`` is called when a trial is over and told."""
        self._shop = shop
        self._base = base
        self._asker = asker
        self._compose = compose
        self._plan = plan
        self._after = after
        self._numbers: dict[str, int] = {}
        self._lives: dict[str, LiveRun] = {}

    def next(self) -> LiveRun | None:
        """What the sampler wants to see, gone on with where an earlier attempt was killed."""
        while (suggestion := self._asker.ask()) is not None:
            entry = self._entry(suggestion)
            try:
                live = self._shop.open(entry, self._asker.study.study_name)
            except HeldError:  # its worker was taken for dead and is not: it will say itself what became of it
                self._asker.refuse(suggestion.number)
                continue
            self._numbers[live.name], self._lives[live.name] = suggestion.number, live
            return live
        return None

    def _entry(self, suggestion: Suggestion) -> Entry:
        """The run of a suggestion; values that cannot stand together are not tried again."""
        try:
            run = self._compose([*as_words(suggestion.params), f"name={suggestion.run}"])
            entry = dataclasses.replace(self._base, run=run) if run.data == self._base.run.data else entry_of(run)
            self._shop.require(entry)
        except ValueError as error:
            if not isinstance(error, TryAgainError):
                self._asker.refuse(suggestion.number)
            raise
        folder = RunFolder(Path(run.track.root) / "runs" / suggestion.run)
        return dataclasses.replace(entry, folder=folder if folder.journal.exists() else None)

    def looked(self, live: LiveRun) -> str:
        """Report the scores so far; a trial with its last checkpoint before it is let come to its end."""
        curve, config = _curve(live), live.trial.config
        self._asker.report(self._numbers[live.name], curve)
        if len(live.scores) >= len(live.drawn):
            return GO_ON
        delta = config.pick.delta
        if self._plan.stop_past_peak and config.optim.schedule == "constant" and past_peak(curve, delta):
            return ENOUGH
        if self._plan.prune and hopeless(curve, self._asker.others(), config.optim.steps, delta):
            return HOPELESS
        return GO_ON

    def ended(self, live: LiveRun) -> None:
        """Tell what it is worth."""
        number, view = self._numbers[live.name], read_run(live.folder)
        self._asker.report(number, _curve(live))
        picked = {"step": view.pick.step, "strength": view.pick.strength} if view.pick else {}
        self._asker.tell(number, ended_of(view), peak=_peak(view), **picked)
        del self._lives[live.name]
        self._after()

    def stop(self) -> None:
        """What is still being trained is saved and can be gone on with."""
        for live in self._lives.values():
            live.stop()


def ended_of(view: RunView) -> Ended:
    """What a run that is over is worth to a search: the steady score of its pick, on fresh seeds.

    A run without anything to use is worth what its best checkpoint seemed to be, below the floor; one whose loss
    became NaN before anything could be used is worth 0.
    """
    if view.pick is not None and view.pick.step is not None:
        return Ended(score=view.pick.worth)
    if view.pick is None and view.status == "finished":
        return Ended(score=None)
    floor = float(view.config.get("pick", {}).get("floor", 1.0))
    return Ended(score=min(_peak(view), floor))


def _curve(live: LiveRun) -> Curve:
    scores = {step: scores.score for step, scores in live.scores.items()}
    return {0: live.base_score, **scores} if scores else {}


def _peak(view: RunView) -> float:
    scores = [part.score for part in view.scores if part.step > 0 and not part.fresh and not math.isnan(part.score)]
    return max(scores, default=0.0)
