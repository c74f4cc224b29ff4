"""The winner of a search: its best trial, drawn once more on seeds that nothing was chosen by."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasweep.config.compose import from_plain
from lorasweep.config.schema import RunConfig
from lorasweep.config.signature import leaves
from lorasweep.records import RunView
from lorasweep.run.entries import Entry
from lorasweep.run.recorder import picked_file
from lorasweep.run.session import Session
from lorasweep.search.space import as_words
from lorasweep.search.study import RUN, trials_of
from lorasweep.track.recall import read_run

if TYPE_CHECKING:
    import optuna

WINNER = "winner"
"""Attribute of a study: how many trials were finished, who won them, and the score on the third seeds."""


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """What a search has found."""

    study: str
    trials: int
    """Finished ones, pruned ones included."""
    best: str
    """The name of the winning run; '' if no trial has a usable checkpoint."""
    params: dict[str, Any]
    """The searched keys with its run's values, in as many digits as a person would type."""
    step: int | None
    strength: float
    score: float
    """Of the winner on seeds that neither its checkpoint nor itself was chosen by; NaN if it was not drawn."""
    file: Path | None

    def words(self) -> str:
        """Return the outcome in a sentence or two."""
        if not self.best:
            return f"Study {self.study}: none of {self.trials} trials has a checkpoint to use; widen the space."
        values = ", ".join(as_words(self.params))
        scores = "" if math.isnan(self.score) else f" On seeds that nothing was chosen on it scores {self.score:.2f}."
        return (
            f"Study {self.study}: {self.best} ({values}), step {self.step} at strength {self.strength:g}.{scores} "
            f"The file is {self.file}"
        )


def draw_winner(study: "optuna.Study", root: Path, session: Session, base: Entry) -> None:
    """Draw and score the best trial on a third set of seeds, unless it was drawn there before."""
    found = find_winner(study, root)
    if found.best and math.isnan(found.score):
        score = _third_score(read_run(root / "runs" / found.best), session, base)
        study.set_user_attr(WINNER, {"trials": found.trials, "run": found.best, "score": score})


def find_winner(study: "optuna.Study", root: Path) -> SearchOutcome:
    """Return the best of the finished trials."""
    finished = trials_of(study, "COMPLETE", "PRUNED")
    ranked = sorted(trials_of(study, "COMPLETE"), key=lambda trial: -(trial.value or 0.0))
    none = SearchOutcome(
        study=study.study_name,
        trials=len(finished),
        best="",
        params={},
        step=None,
        strength=1.0,
        score=math.nan,
        file=None,
    )
    for trial in ranked:  # journals are read down to the first trial with a pick, as a rule the first
        view = read_run(root / "runs" / trial.user_attrs[RUN])
        if view.pick is not None and view.pick.step is not None:
            known, own = study.user_attrs.get(WINNER, {}), leaves(from_plain(view.config))
            fits = known.get("run") == view.name  # a larger search may have another winner by now
            return dataclasses.replace(
                none,
                best=view.name,
                params={key: own[key] for key in trial.params},
                step=view.pick.step,
                strength=view.pick.strength,
                score=known["score"] if fits else math.nan,
                file=picked_file(view.folder, view.pick),
            )
    return none


def third_seeds(run: RunConfig) -> list[int]:
    """Return as many seeds as there are fresh ones, none of which a run draws with."""
    first = max(*run.sample.seeds, *run.sample.fresh_seeds) + 1
    return list(range(first, first + len(run.sample.fresh_seeds)))


def _third_score(view: RunView, session: Session, base: Entry) -> float:
    # the winner won by its score on the fresh seeds, which therefore flatters it
    sample = dataclasses.replace(base.run.sample, fresh_seeds=third_seeds(base.run))
    evaluator = session.evaluator_of(dataclasses.replace(base, run=dataclasses.replace(base.run, sample=sample)))
    assert evaluator is not None
    assert view.pick is not None
    picked = next(each for each in view.checkpoints if each.step == view.pick.step)
    folder = view.folder / "samples" / "third"
    (sheet,) = evaluator.draw([picked], [folder], fresh=True, strength=view.pick.strength)
    return evaluator.score(sheet, view.folder / "features").score
