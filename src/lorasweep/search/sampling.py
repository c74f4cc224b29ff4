"""Asking a study for trials and telling it what came of them.

Each trial waits in a thread of its own inside Optuna's ``optimize``, for its heartbeats and for what it does when a
trial's process ends well or badly. Only the main thread trains and composes: Hydra is a process-wide singleton.
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
    """The name of its run, which exists if an earlier attempt was killed."""
    params: dict[str, Any]


class _AbandonedError(Exception):
    """The trial gets no answer."""


@dataclass
class _OpenTrial:
    """A trial that is being trained, between its thread and the main one."""

    suggested: "Future[Suggestion]" = field(default_factory=Future)
    answer: "Future[Ended]" = field(default_factory=Future)
    over: "Future[None]" = field(default_factory=Future)
    """Done when the database has the answer."""
    trial: "optuna.Trial | None" = None


class Asker:
    """Suggests trials until enough are finished; those without an answer when it closes are queued again."""

    def __init__(
        self,
        study: "optuna.Study",
        url: str,
        space: Sequence[Dimension],
        trials: int,
        quota: AbstractContextManager[Any],
    ) -> None:
        """``quota`` is held by one worker at a time, while it counts the trials and begins one."""
        self.study = study
        self._url = url
        self._space = space
        self._trials = trials
        self._quota = quota
        self._open: dict[int, _OpenTrial] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._open):
            with answering(self._url):
                # queued before it is failed: killed in between, the next start finds it queued and not lost
                queue_again(self.study, self.study.get_trials(deepcopy=False)[number])
                self._answer(number, _AbandonedError())

    def ask(self) -> Suggestion | None:
        """Return the next trial; None if enough are finished or being trained."""
        with answering(self._url), self._quota:
            if is_shared(self._url):
                let_go_of_the_dead(self.study)
            if len(trials_of(self.study, "COMPLETE", "PRUNED", "RUNNING")) >= self._trials:
                return None
            opened = _OpenTrial()
            Thread(target=self._suggest_and_wait, args=(opened,), daemon=True).start()
            suggestion = opened.suggested.result()
            self._open[suggestion.number] = opened
            return suggestion

    @property
    def finished(self) -> bool:
        """Whether as many trials as are wanted are over."""
        with answering(self._url):
            return len(trials_of(self.study, "COMPLETE", "PRUNED")) >= self._trials

    def report(self, number: int, curve: Curve) -> None:
        """Store the scores by step of a trial that is being trained."""
        trial = self._open[number].trial
        assert trial is not None
        with answering(self._url):
            known = self.study.get_trials(deepcopy=False)[number]
            if known.state.is_finished():  # another worker took this one for dead and failed its trial
                return
            for step in sorted(curve.keys() - known.intermediate_values.keys()):
                trial.report(curve[step], step)

    def others(self) -> list[Curve]:
        """Return scores by step of the trials that were not pruned."""
        with answering(self._url):
            return curves_of(self.study)

    def tell(self, number: int, ended: Ended, **more: Any) -> None:
        """Answer a trial and store ``more`` as its attributes; all is in the database on return."""
        trial = self._open[number].trial
        assert trial is not None
        with answering(self._url):
            known = self.study.get_trials(deepcopy=False)[number]
            if known.state.is_finished():
                # another worker took this one for dead: whoever takes the queued trial up finds its run at the end
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
        opened = self._open.pop(number)
        if isinstance(answer, Ended):
            opened.answer.set_result(answer)
            opened.over.result()  # re-raises what the database had against it
        else:
            opened.answer.set_exception(answer)
            error = opened.over.exception()
            # Optuna raises ValueError for a trial that others have failed: it cannot be failed again, and need not be
            if error is not None and not isinstance(error, ValueError):
                raise error

    def _suggest_and_wait(self, opened: _OpenTrial) -> None:
        import optuna

        def objective(trial: "optuna.Trial") -> float:
            run = trial.user_attrs.get(RUN) or f"{self.study.study_name}-{trial.number:04d}"
            trial.set_user_attr(RUN, run)  # before anything is trained, so that a kill leaves a way back to the run
            params = {dimension.key: dimension.suggest(trial) for dimension in self._space}
            opened.trial = trial
            opened.suggested.set_result(Suggestion(number=trial.number, run=run, params=params))
            ended = opened.answer.result()
            if ended.score is None:
                raise optuna.TrialPruned
            return ended.score

        try:
            self.study.optimize(objective, n_trials=1, catch=(_AbandonedError,))
            opened.over.set_result(None)
        except Exception as error:  # in a thread nobody would hear of it: it goes to whoever waits on the main one
            (opened.over if opened.suggested.done() else opened.suggested).set_exception(error)
