"""Searches from configuration to a winner, on a tiny random model of the real classes with the real scorers."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from contracts.judged import JUDGED

from lorasweep import cli
from lorasweep.config.compose import load_run
from lorasweep.config.schema import RunConfig
from lorasweep.config.search import load_search
from lorasweep.errors import TryAgainError, UserError
from lorasweep.models.lora.file import weights_sha256
from lorasweep.records import RunView
from lorasweep.run.recorder import RunRecorder
from lorasweep.run.training import train_together
from lorasweep.search import searching, trials
from lorasweep.search.study import database_url, trials_of
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, running

Overrides = Callable[..., list[str]]
pytestmark = pytest.mark.slow
RATES = {"space": {"optim.lr": {"low": 1e-4, "high": 1e-2}}}
SHORT = ("optim.steps=4", "save.count=1")
"""Where what a trial comes to says nothing."""


def search(words: list[str], say: Callable[[str], None] | None = None, **changes: Any) -> Any:
    """A search of four random rates, two side by side."""
    plan = load_search(None, {**RATES, "trials": 4, "sampler": "random", "study": "s", "width": 2, **changes})

    def compose(more: Sequence[str]) -> RunConfig:
        return load_run(list(more))

    return searching.search(plan, compose, words, say=say or (lambda _: None))


def study_of(root: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=database_url(root))


def runs_of(root: Path) -> list[RunView]:
    """The trials' runs, by name."""
    return [read_run(folder) for folder in sorted((root / "runs").glob("s-*")) if (folder / "journal.jsonl").exists()]


def weights_of(view: RunView) -> list[str]:
    """Of every checkpoint's file; its header names the run."""
    return [weights_sha256(checkpoint.path) for checkpoint in view.checkpoints if checkpoint.path]


@pytest.fixture
def words(overrides: Overrides) -> list[str]:
    return overrides(*JUDGED, "pick.strengths=[]", "optim.schedule=constant", "evaluate.validation=false")


def test_a_search_ends_with_as_many_runs_as_trials_and_a_winner_seen_on_seeds_of_its_own(
    words: list[str], tmp_path: Path
) -> None:
    said: list[str] = []
    outcome = search(words, said.append)
    root = tmp_path / "mlruns"
    trials = study_of(root).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    runs = runs_of(root)
    assert [view.name for view in runs] == [f"s-{number:04d}" for number in range(4)]
    for trial, view in zip(trials, runs, strict=True):
        assert (view.status, view.parent) == ("finished", "s")
        assert view.pick is not None
        assert trial.value == view.pick.steady
        assert view.config["optim"]["lr"] == pytest.approx(trial.params["optim.lr"], rel=5e-3)
        assert trial.intermediate_values == {s.step: s.score for s in view.scores if not s.fresh}
        assert trial.user_attrs["step"] == view.pick.step
    best = max(trials, key=lambda trial: trial.value or 0)
    assert (outcome.best, outcome.trials) == (best.user_attrs["run"], 4)
    assert outcome.file is not None
    assert outcome.file.exists()
    third = runs[best.number].folder / "samples" / "third"
    assert len(list(third.rglob("*.png"))) == 2
    assert 0 <= outcome.score <= 1
    assert said[-1] == outcome.words()
    assert f"{outcome.best} (optim.lr={runs[best.number].config['optim']['lr']})" in said[-1]
    assert (root / "runs" / "s" / "comparison.html").exists()


def test_the_same_search_again_trains_nothing_and_a_larger_one_goes_on(words: list[str], tmp_path: Path) -> None:
    first = search(words, trials=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mlruns").rglob("*.safetensors")}
    assert search(words, trials=2) == first
    larger = search(words, trials=3)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "mlruns").rglob("*.safetensors")}
    assert larger.trials == 3
    assert {path: after[path] for path in before} == before
    rates = [trial.params["optim.lr"] for trial in study_of(tmp_path / "mlruns").trials]
    assert len(set(rates)) == 3


def test_a_search_with_other_photos_or_another_space_is_refused_before_it_trains(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, *SHORT]
    search(words, trials=1)
    with pytest.raises(UserError, match=r"study s was begun with 0\.0001 to 0\.01 for optim\.lr and not 0\.0001 to 0"):
        search(words, trials=2, space={"optim.lr": {"low": 1e-4, "high": 1e-3}})
    with pytest.raises(UserError, match=r"study s was begun with optim\.steps=4 and not 24"):
        search([*words, "optim.steps=24"], trials=2)
    (tmp_path / "photos" / "0.txt").write_text("a photo of s1lv10 person, in a hat", encoding="utf-8")
    with pytest.raises(UserError, match="study s was begun with other photos"):
        search(words, trials=2)
    assert len(runs_of(tmp_path / "mlruns")) == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["optim.lr=1e-3"], "the space names optim.lr, which is fixed by 'optim.lr=1e-3'"),
        (["evaluate.enabled=false"], "evaluate.enabled is false; a search needs it to be true"),
        (["data=style", "sample.prompts.p1_plain.subject=true"], "data.kind is 'style', of which no checkpoint is"),
    ],
)
def test_what_cannot_be_searched_is_told_before_a_run_is_named(
    words: list[str], tmp_path: Path, more: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says.replace(".", r"\.")):
        search([*words, *more])
    assert not (tmp_path / "mlruns" / "runs").exists()
    assert not (tmp_path / "mlruns" / "studies.db").exists()


def test_runs_that_the_study_does_not_know_are_not_mixed_with(words: list[str], tmp_path: Path) -> None:
    train_together([load_run([*words, *SHORT, "name=s", "evaluate.enabled=false"])], say=lambda _: None)
    with pytest.raises(UserError, match=r"mlruns/runs/s is there already, and study s is not; choose another study="):
        search(words)


def test_a_diverging_trial_ends_alone_and_counts_for_what_it_had(words: list[str], tmp_path: Path) -> None:
    hot = {"optim.lr": {"choices": [1e-3, 1e30]}}
    search([*words, "optim.max_grad_norm=0"], space=hot, trials=2, sampler="grid")
    trials = {trial.params["optim.lr"]: trial for trial in study_of(tmp_path / "mlruns").trials}
    assert {trial.state.name for trial in trials.values()} == {"COMPLETE"}
    assert trials[1e30].value == 0.0
    assert (trials[1e-3].value or 0) > 0
    statuses = {view.config["optim"]["lr"]: view.status for view in runs_of(tmp_path / "mlruns")}
    assert statuses == {1e-3: "finished", 1e30: "failed"}


def test_a_trial_that_has_seen_enough_leaves_early_and_is_picked_from(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "past_peak", lambda curve, delta: max(curve) >= 8)
    search(words, trials=2)
    for view in runs_of(tmp_path / "mlruns"):
        assert [checkpoint.step for checkpoint in view.checkpoints] == [4, 8]
        assert view.status == "finished"
        assert view.pick is not None
    assert [trial.state.name for trial in study_of(tmp_path / "mlruns").trials] == ["COMPLETE"] * 2


def test_a_trial_is_compared_with_the_model_it_started_from(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[int, float]] = []
    monkeypatch.setattr(trials, "past_peak", lambda curve, delta: asked.append(dict(curve)))
    search(words, trials=1)
    (view,) = runs_of(tmp_path / "mlruns")
    (base,) = [scores.score for scores in view.scores if scores.step == 0]
    assert [(list(curve), curve[0]) for curve in asked] == [([0, 4], base), ([0, 4, 8], base)]


def test_no_trial_leaves_early_while_its_rate_decays(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "past_peak", lambda curve, delta: True)
    search([*words, "optim.schedule=cosine"], trials=1)
    (view,) = runs_of(tmp_path / "mlruns")
    assert [checkpoint.step for checkpoint in view.checkpoints] == [4, 8, 12]


def test_a_hopeless_trial_is_pruned_and_its_slot_is_taken_by_the_next(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[int, float]] = []
    monkeypatch.setattr(trials, "hopeless", lambda curve, *_: asked.append(dict(curve)) or len(asked) == 1)
    outcome = search(words, trials=3)
    states = [trial.state.name for trial in study_of(tmp_path / "mlruns").trials]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "PRUNED"]
    given_up = runs_of(tmp_path / "mlruns")[states.index("PRUNED")]
    assert (given_up.status, given_up.pick) == ("finished", None)
    assert [checkpoint.step for checkpoint in given_up.checkpoints] == [4]
    assert given_up.notes[-1].startswith("Given up at step 4, behind the other trials")
    assert outcome.best != given_up.name


def test_values_that_cannot_stand_together_are_told_and_not_tried_again(words: list[str], tmp_path: Path) -> None:
    steps = {"optim.steps": {"choices": [4, 12]}}
    with pytest.raises(UserError, match=r"optim\.warmup_steps is 8; it must be between 0 and 4"):
        search([word for word in [*words, "optim.warmup_steps=8"] if word != "optim.steps=12"], space=steps, trials=8)
    trials = study_of(tmp_path / "mlruns").trials
    refused = [trial for trial in trials if trial.params.get("optim.steps") == 4]
    assert [trial.state.name for trial in refused] == ["FAIL"]


def test_trials_of_different_shapes_are_searched_one_shape_after_the_other(words: list[str], tmp_path: Path) -> None:
    shapes = {"lora.targets": {"choices": ["attention", "linear"]}, "lora.dropout": {"choices": [0.0, 0.1]}}
    outcome = search([*words, *SHORT], space=shapes, trials=4, sampler="grid", width=4)
    assert outcome.trials == 4
    found = {(view.config["lora"]["targets"], view.config["lora"]["dropout"]) for view in runs_of(tmp_path / "mlruns")}
    assert found == {(targets, share) for targets in ("attention", "linear") for share in (0.0, 0.1)}


def test_a_stopped_search_goes_on_where_it_was(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RunRecorder.step_taken

    def terminated(self: RunRecorder, step: Any, cohort: Any) -> None:
        plain(self, step, cohort)
        if step.step == 6 and self.name == "s-0001":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunRecorder, "step_taken", terminated)
    said: list[str] = []
    with pytest.raises(SystemExit):
        search(words, said.append, trials=3, stop_past_peak=False)
    assert said[-1] == "Stopped and saved; the same command goes on with study s."
    monkeypatch.setattr(RunRecorder, "step_taken", plain)
    assert search(words, trials=3, stop_past_peak=False).trials == 3
    runs = runs_of(tmp_path / "mlruns")
    assert len(runs) == 3
    for view in runs:
        assert view.status == "finished"
        assert [step.step for step in view.steps] == list(range(1, 13))
    assert len(trials_of(study_of(tmp_path / "mlruns"), "COMPLETE")) == 3


def test_a_trial_is_the_run_that_its_own_configuration_makes_alone(words: list[str], tmp_path: Path) -> None:
    search(words, trials=2, width=1, stop_past_peak=False)
    second = runs_of(tmp_path / "mlruns")[1]
    alone = load_run([*words, f"optim.lr={second.config['optim']['lr']}", "name=alone"])
    (outcome,) = train_together([alone], say=lambda _: None)
    solo = read_run(outcome.folder)
    assert [step.loss for step in solo.steps] == [step.loss for step in second.steps]
    assert len(weights_of(solo)) == 3
    assert weights_of(solo) == weights_of(second)
    assert [scores.score for scores in solo.scores] == [scores.score for scores in second.scores]
    assert {k: v for k, v in solo.config.items() if k != "name"} == {
        k: v for k, v in second.config.items() if k != "name"
    }


def elsewhere(
    words: list[str], launch: Callable[[int], Sequence[Exception]], said: list[str] | None = None, **changes: Any
) -> None:
    """A search by workers; ``said`` hears of it."""
    plan = load_search(None, {**RATES, "study": "s", "trials": 4, **changes})
    say = [] if said is None else said
    searching.search_elsewhere(plan, lambda more: load_run(list(more)), words, launch, say=say.append)


def test_several_workers_are_refused_a_database_that_is_a_file(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"a search by several workers needs a database server, as in storage=postgre"):
        elsewhere(words, lambda _: pytest.fail("a worker was started"))


def test_what_all_workers_were_refused_for_is_told_at_once(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "find_study", lambda *_: None)
    wrong = [UserError("study s was begun with other photos")] * 2
    with pytest.raises(UserError, match=r"^study s was begun with other photos$"):
        elsewhere(words, lambda _: wrong, storage="postgresql://nobody@127.0.0.1/x")


def test_a_search_whose_workers_all_died_can_be_tried_again(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "find_study", lambda *_: None)
    monkeypatch.setattr(searching.time, "sleep", lambda _: None)

    def launch(_: int) -> Sequence[Exception]:
        raise RuntimeError("Job failed during processing with trace:\n  File x\nOSError: out of paper\nSee the log")

    said: list[str] = []
    with pytest.raises(TryAgainError, match=r"study s has 0 of 4 trials and no worker; try again"):
        elsewhere(words, launch, said, storage="postgresql://nobody@127.0.0.1/x")
    assert said[1] == "A worker ended badly: out of paper"


def test_whatever_launcher_lays_them_out_the_same_trials_come_to_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    """Through the command line; what submitit's workers come to, ``test_search_cluster`` sees."""
    own = [word for word in [*words, *SHORT] if not word.startswith(("data.path=", "track.root="))]
    found = {}
    for launcher in ("cohort", "basic"):
        root = tmp_path / launcher
        more = [f"track.root={root}", f"hydra/launcher={launcher}", "trials=2", "sampler=random", "width=1"]
        assert cli.main(["sweep", "lr", str(tmp_path / "photos"), *own, *more]) == 0
        views = [read_run(root / "runs" / f"s1lv10-lr-{number:04d}") for number in range(2)]
        found[launcher] = [
            (view.config["optim"]["lr"], [each.sha256 for each in view.checkpoints], view.pick and view.pick.score)
            for view in views
        ]
    assert found["cohort"] == found["basic"]
    assert found["cohort"][0][0] == 4e-3  # the preset's own rate is tried first


def test_a_run_that_somebody_else_writes_is_left_to_them(words: list[str], tmp_path: Path) -> None:
    words = [*words, *SHORT]
    search(words, trials=1)
    root = tmp_path / "mlruns"
    study = study_of(root)
    study.enqueue_trial(study.trials[0].params, user_attrs={"run": "s-0000"})
    with running(RunFolder(root / "runs" / "s-0000")):
        search(words, trials=2, width=1)
    trials = study_of(root).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert [trial.user_attrs["run"] for trial in trials] == ["s-0000", "s-0000", "s-0002"]
