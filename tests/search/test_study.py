"""Studies in a real SQLite file."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from lorasweep.errors import TryAgainError, UserError
from lorasweep.search.sampling import Asker
from lorasweep.search.space import Dimension
from lorasweep.search.study import (
    RETRIES,
    Ended,
    Signature,
    database_url,
    enqueue,
    let_go_of_the_dead,
    make_sampler,
    mend,
    open_study,
    queue_again,
    trials_of,
)

LR = Dimension(key="optim.lr", kind="float", low=1e-5, high=1e-3, log=True)
RANK = Dimension(key="lora.rank", kind="choice", choices=(4, 8))
SIGNED = Signature.of([LR], "photos", "judged", {"optim.lr": 1e-4, "optim.steps": 500, "seed": 0})
NOBODY: Callable[[str], Ended | None] = lambda _: None  # noqa: E731


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database_url(tmp_path / "mlruns")


def study_at(url: str, sampler: str = "random", space=(LR,), seed: int = 0) -> optuna.Study:
    study = open_study(url, "anna-lr", SIGNED)
    study.sampler = make_sampler(sampler, space, seed, len(study.trials))
    return study


def asker(study: optuna.Study, url: str, trials: int = 4, space=(LR,)) -> Asker:
    return Asker(study, url, space, trials, nullcontext())


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in trials_of(study)]


def abandon(url: str) -> str:
    """Ask for a trial and die; returns the name of its run."""
    study = study_at(url)
    trial = study.ask()
    trial.set_user_attr("run", f"anna-lr-{trial.number:04d}")
    LR.suggest(trial)
    return trial.user_attrs["run"]


def test_exactly_as_many_trials_are_asked_for_as_are_wanted(url):
    study = study_at(url)
    with asker(study, url, trials=3) as ask:
        first, second, third = (ask.ask() for _ in range(3))
        assert first and second and third
        assert ask.ask() is None
        ask.tell(second.number, Ended(score=0.5))
        assert ask.ask() is None
        ask.tell(first.number, Ended(score=None))
        ask.tell(third.number, Ended(score=0.7))
    assert states(study) == ["PRUNED", "COMPLETE", "COMPLETE"]
    assert study.best_trial.user_attrs["run"] == "anna-lr-0002"


def test_an_answer_is_in_the_database_when_tell_returns(url):
    study = study_at(url)
    with asker(study, url) as ask:
        suggestion = ask.ask()
        assert suggestion
        ask.report(suggestion.number, {10: 0.4, 20: 0.6})
        ask.report(suggestion.number, {10: 0.4, 20: 0.6, 30: 0.5})
        ask.tell(suggestion.number, Ended(score=0.55), peak=0.6)
        (other,) = open_study(url, "anna-lr", SIGNED).trials
        assert (other.value, other.intermediate_values) == (0.55, {10: 0.4, 20: 0.6, 30: 0.5})
        assert other.user_attrs["peak"] == 0.6
        assert ask.others() == [{10: 0.4, 20: 0.6, 30: 0.5}]


def test_what_is_not_answered_is_put_back_under_the_name_of_its_run(url):
    study = study_at(url)
    with asker(study, url, trials=2) as ask:
        one = ask.ask()
    with asker(study, url, trials=2) as ask:
        again = ask.ask()
        assert one and again
        assert (again.run, again.params) == (one.run, one.params)
        assert again.number != one.number
        ask.tell(again.number, Ended(score=0.5))
    assert states(study)[:2] == ["FAIL", "COMPLETE"]


def test_a_trial_whose_process_was_killed_is_tried_again(url):
    run = abandon(url)
    study = study_at(url)
    assert mend(study, NOBODY) == [run]
    assert states(study) == ["FAIL", "WAITING"]
    assert mend(study, NOBODY) == []
    with asker(study, url) as ask:
        suggestion = ask.ask()
        assert suggestion and suggestion.run == run


def test_a_run_that_was_over_before_its_trial_was_told_is_not_trained_again(url):
    one, other = abandon(url), abandon(url)
    study = study_at(url)
    assert mend(study, {one: Ended(score=0.8), other: Ended(score=None)}.get) == []
    assert states(study) == ["COMPLETE", "PRUNED"]
    assert study.best_value == 0.8


def test_killed_between_queueing_and_failing_nothing_is_queued_twice(url):
    run = abandon(url)
    study = study_at(url)
    study.enqueue_trial(study.trials[0].params, user_attrs={"run": run})  # died here
    assert mend(study, NOBODY) == [run]
    assert states(study) == ["FAIL", "WAITING"]


def test_a_trial_that_never_got_a_name_is_not_tried_again(url):
    study_at(url).ask()
    study = study_at(url)
    assert mend(study, NOBODY) == []
    assert states(study) == ["FAIL"]


def test_a_trial_that_dies_every_time_is_let_go(url):
    abandon(url)
    for _ in range(RETRIES):
        study = study_at(url)
        assert mend(study, NOBODY)
        study.ask()
    assert mend(study_at(url), NOBODY) == []
    assert states(study_at(url)) == ["FAIL"] * (RETRIES + 1)


def test_a_worker_that_was_taken_for_dead_leaves_its_trial_to_the_queue(url):
    study = study_at(url)
    with asker(study, url) as ask:
        slow = ask.ask()
        assert slow is not None
        trial = trials_of(study)[slow.number]
        queue_again(study, trial)
        study.tell(slow.number, state=optuna.trial.TrialState.FAIL)
        ask.report(slow.number, {10: 0.5})
        ask.tell(slow.number, Ended(score=0.6))
        assert states(study) == ["FAIL", "WAITING"]
        again = ask.ask()
        assert again is not None
        assert (again.run, again.params) == (slow.run, slow.params)
        ask.tell(again.number, Ended(score=0.6))
    assert states(study) == ["FAIL", "COMPLETE"]


def test_a_trial_that_others_failed_and_could_not_take_up_is_queued_by_its_own_worker(url):
    study = study_at(url)
    with asker(study, url) as ask:
        slow = ask.ask()
        assert slow is not None
        study.tell(slow.number, state=optuna.trial.TrialState.FAIL)
        ask.tell(slow.number, Ended(score=0.6))
    assert states(study) == ["FAIL", "WAITING"]
    assert trials_of(study)[1].user_attrs["run"] == slow.run


def test_a_trial_whose_next_attempt_found_it_held_is_queued_by_its_own_worker(url):
    study = study_at(url)
    with asker(study, url) as ask:
        slow = ask.ask()
        assert slow is not None
        queue_again(study, trials_of(study)[slow.number])
        study.tell(slow.number, state=optuna.trial.TrialState.FAIL)
        again = ask.ask()
        assert again is not None
        assert again.run == slow.run
        ask.refuse(again.number)
        let_go_of_the_dead(study)
        assert states(study) == ["FAIL", "FAIL"]
        ask.tell(slow.number, Ended(score=0.6))
        assert states(study) == ["FAIL", "FAIL", "WAITING"]
        last = ask.ask()
        assert last is not None
        assert (last.run, last.params) == (slow.run, slow.params)
        ask.tell(last.number, Ended(score=0.6))
    assert states(study) == ["FAIL", "FAIL", "COMPLETE"]


def test_a_trial_whose_undertaker_died_before_it_could_queue_it_is_tried_again(url):
    run = abandon(url)
    study = study_at(url)
    study.tell(0, state=optuna.trial.TrialState.FAIL)
    let_go_of_the_dead(study)
    let_go_of_the_dead(study)
    assert states(study) == ["FAIL", "WAITING"]
    assert trials_of(study)[1].user_attrs["run"] == run


def test_a_trial_that_cannot_be_trained_is_not_tried_again(url):
    study = study_at(url)
    with asker(study, url) as ask:
        one = ask.ask()
        assert one is not None
        ask.refuse(one.number)
    let_go_of_the_dead(study)
    assert states(study) == ["FAIL"]


def test_a_search_that_goes_on_does_not_suggest_what_it_did_before(url):
    def suggested(trials: int) -> list[float]:
        study = study_at(url, seed=7)
        with asker(study, url, trials=trials) as ask:
            found = []
            while suggestion := ask.ask():
                found.append(suggestion.params["optim.lr"])
                ask.tell(suggestion.number, Ended(score=0.5))
            return found

    first, second = suggested(4), suggested(8)
    assert len(first) == len(second) == 4
    assert not set(first) & set(second)


def test_recipes_are_tried_first_and_once(url):
    for _ in range(2):
        study = study_at(url)
        enqueue(study, [LR], [{"optim.lr": 1e-4}, {"optim.lr": 3e-4}, {"optim.lr": 1.0}, {"lora.rank": 4}])
    with asker(study, url) as ask:
        assert [suggestion.params for suggestion in (ask.ask(), ask.ask()) if suggestion] == [
            {"optim.lr": 1e-4},
            {"optim.lr": 3e-4},
        ]


def test_a_grid_visits_every_cell_once(url):
    space = (Dimension(key="optim.lr", kind="float", low=1e-5, high=1e-3, log=True, points=3), RANK)
    study = study_at(url, "grid", space)
    with asker(study, url, trials=6, space=space) as ask:
        cells = []
        while suggestion := ask.ask():
            cells.append(tuple(suggestion.params.values()))
            ask.tell(suggestion.number, Ended(score=0.5))
    assert sorted(cells) == [(rate, rank) for rate in (1e-5, 1e-4, 1e-3) for rank in (4, 8)]


@pytest.mark.parametrize("kind", ["tpe", "gp", "random", "qmc"])
def test_every_sampler_learns_from_what_is_finished_and_stays_inside(url, kind):
    study = study_at(url, kind, (LR, RANK))
    with asker(study, url, trials=7, space=(LR, RANK)) as ask:
        while suggestion := ask.ask():
            assert LR.low * 0.99 <= suggestion.params["optim.lr"] <= LR.high * 1.01
            assert suggestion.params["lora.rank"] in RANK.choices
            ask.tell(suggestion.number, Ended(score=suggestion.params["optim.lr"] * 1000))
    assert states(study) == ["COMPLETE"] * 7


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"photos": "others"}, "was begun with other photos; go on with what it was begun with, or begin another one"),
        ({"judged": "otherwise"}, "was begun with other scorers, scoring code or prompts, or another base model"),
        ({"config": {"optim.steps": 600, "seed": 0}}, "was begun with optim.steps=500 and not 600"),
        ({"space": {"optim.lr": {**LR.to_json(), "high": 0.01}}}, r"was begun with 1e-05 to 0\.001 for optim\.lr and"),
        ({"space": {**SIGNED.space, "lora.rank": RANK.to_json()}}, r"with no range for lora\.rank and not \[4, 8\]"),
    ],
)
def test_another_search_under_the_same_name_is_refused_by_what_differs(url, changed, says):
    open_study(url, "anna-lr", SIGNED)
    with pytest.raises(UserError, match=says):
        open_study(url, "anna-lr", replace(SIGNED, **changed))
    assert open_study(url, "anna-lr", SIGNED).trials == []


def test_a_database_that_does_not_answer_is_told_without_its_password():
    with pytest.raises(
        TryAgainError, match=r"the database of studies, sqlite\+pysqlite:///nowhere/x\.db, does not answer"
    ):
        open_study("sqlite+pysqlite://me:secret@/nowhere/x.db", "anna-lr", SIGNED)
