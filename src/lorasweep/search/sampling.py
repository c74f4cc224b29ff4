"""What is tried next, and what came of it.

Each trial has a thread of its own, in which Optuna suggests and then waits for the answer, so that all that hangs on
its ``optimize`` (heartbeats, the state of a trial whose process ends well or badly) is there. Only the main thread
trains: Hydra is a process-wide singleton, and so is a card.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lorasweep.search.pruning import Curve
from lorasweep.search.space import Dimension
from lorasweep.search.study import (
    REFUSED,
    RUN,
    Ended,
    answering,
    curves_of,
    is_shared,
    let_go_of_the_dead,
    queue_again,
    require_queued,
    trials_of,
)

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What is to be trained."""

    number: int
    """Of the trial."""
    run: str
    """The name of its run, which is there already where an earlier attempt was killed."""
    params: dict[str, Any]


class _AbandonedError(Exception):
    """The trial is not answered."""


@dataclass
class _Asked:
    """One trial on its way, between its thread and the main one."""

    suggested: "Future[Suggestion]" = field(default_factory=Future)
    answer: "Future[Ended]" = field(default_factory=Future)
    over: "Future[None]" = field(default_factory=Future)
    """Done when the database has the answer."""
    trial: "optuna.Trial | None" = None


class Asker:
    """Suggests trials until so many are finished; what is not answered when it closes is put back."""

    def __init__(
        self,
        study: "optuna.Study",
        url: str,
        space: Sequence[Dimension],
        trials: int,
        quota: AbstractContextManager[Any],
    ) -> None:
        """``quota`` is held while trials are counted and one is begun, by one worker at a time."""
        self.study = study
        self._url = url
        self._space = space
        self._trials = trials
        self._quota = quota
        self._open: dict[int, _Asked] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._open):
            with answering(self._url):
                queue_again(self.study, self.study.get_trials(deepcopy=False)[number])
                self._answer(number, _AbandonedError())

    def ask(self) -> Suggestion | None:
        """The next trial; None where so many are finished or on their way."""
        with answering(self._url), self._quota:
            if is_shared(self._url):
                let_go_of_the_dead(self.study)
            if len(trials_of(self.study, "COMPLETE", "PRUNED", "RUNNING")) >= self._trials:
                return None
            asked = _Asked()
            Thread(target=self._suggest_and_wait, args=(asked,), daemon=True).start()
            suggestion = asked.suggested.result()
            self._open[suggestion.number] = asked
            return suggestion

    @property
    def finished(self) -> bool:
        """Whether as many trials as are wanted are over."""
        with answering(self._url):
            return len(trials_of(self.study, "COMPLETE", "PRUNED")) >= self._trials

    def report(self, number: int, curve: Curve) -> None:
        """Remember the scores by step of a trial that is being trained."""
        trial = self._open[number].trial
        assert trial is not None
        with answering(self._url):
            known = self.study.get_trials(deepcopy=False)[number]
            if known.state.is_finished():
                return
            for step in sorted(curve.keys() - known.intermediate_values.keys()):
                trial.report(curve[step], step)

    def others(self) -> list[Curve]:
        """Scores by step of the trials that ran whole."""
        with answering(self._url):
            return curves_of(self.study)

    def tell(self, number: int, ended: Ended, **more: Any) -> None:
        """Answer a trial, and note ``more`` of it; all is in the database when this returns.

        A worker that was held up may find its trial failed by another one, which took it for dead: then the trial
        stands in the queue again, and whoever takes it up finds its run at an end.
        """
        trial = self._open[number].trial
        assert trial is not None
        with answering(self._url):
            known = self.study.get_trials(deepcopy=False)[number]
            if known.state.is_finished():
                self._answer(number, _AbandonedError())
                with self._quota:
                    require_queued(self.study, known.user_attrs[RUN])
                return
            for key, value in more.items():
                trial.set_user_attr(key, value)
            self._answer(number, ended)

    def refuse(self, number: int) -> None:
        """Fail a trial that cannot be trained; it is not tried again."""
        trial = self._open[number].trial
        assert trial is not None
        with answering(self._url):
            if not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                trial.set_user_attr(REFUSED, True)
            self._answer(number, _AbandonedError())

    def _answer(self, number: int, answer: "Ended | _AbandonedError") -> None:
        asked = self._open.pop(number)
        if isinstance(answer, Ended):
            asked.answer.set_result(answer)
            asked.over.result()
        else:
            asked.answer.set_exception(answer)
            error = asked.over.exception()
            # Optuna's word for a trial that others have failed: it cannot be failed again, and need not be
            if error is not None and not isinstance(error, ValueError):
                raise error

    def _suggest_and_wait(self, asked: _Asked) -> None:
        import optuna

        def objective(trial: "optuna.Trial") -> float:
            run = trial.user_attrs.get(RUN) or f"{self.study.study_name}-{trial.number:04d}"
            trial.set_user_attr(RUN, run)
            params = {dimension.key: dimension.suggest(trial) for dimension in self._space}
            asked.trial = trial
            asked.suggested.set_result(Suggestion(number=trial.number, run=run, params=params))
            ended = asked.answer.result()
            if ended.score is None:
                raise optuna.TrialPruned
            return ended.score

        try:
            self.study.optimize(objective, n_trials=1, catch=(_AbandonedError,))
            asked.over.set_result(None)
        except Exception as error:
            (asked.over if asked.suggested.done() else asked.suggested).set_exception(error)
