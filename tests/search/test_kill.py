"""``kill -9`` at every turn of a search, by the command line, with real stores: nothing lost, nothing done twice."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from contracts.judged import JUDGED
from contracts.killing import NOWHERE, Warm, warm_process

from lorasweep.search.study import database_url
from lorasweep.track.recall import read_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")]
PLACES = (
    ("lorasweep.search.sampling:Asker.ask", 2, "before the second trial is asked for"),
    ("lorasweep.run.recorder:RunRecorder.step_taken", 13, "in training"),
    ("lorasweep.search.trials:Suggested.decide", 2, "between a checkpoint and its report"),
    ("lorasweep.search.sampling:Asker.tell", 1, "before a trial is told, its run finished"),
    ("lorasweep.run.multirun:Multirun._end", 1, "while the parent ends"),
)
TRIALS = 4


def run(warm: Warm, place: str, count: int, words: list[str], folder: Path) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "log.txt").open("w") as log:
        code = warm.start(words, cwd=folder, env=environment, stdout=log, place=place, count=count).wait()
    assert code in (0, -signal.SIGKILL), (folder / "log.txt").read_text()[-3000:]
    return code


def test_a_search_killed_at_every_turn_ends_with_as_many_finished_trials_as_were_asked_for(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    judged = overrides(*JUDGED, "pick.strengths=[]", "evaluate.validation=false", "track.mlflow=true")
    words = [word for word in judged if not word.startswith("data.path=")]
    command = [
        "sweep",
        "lr",
        str(tmp_path / "photos"),
        *words,
        f"trials={TRIALS}",
        "width=2",
        "sampler=random",
        "stop_past_peak=false",
    ]
    with warm_process() as warm:
        for place, count, when in PLACES:
            assert run(warm, place, count, command, tmp_path) == -signal.SIGKILL, when
        assert run(warm, NOWHERE, 0, command, tmp_path) == 0

    root = tmp_path / "mlruns"
    study = optuna.load_study(study_name="s1lv10-lr", storage=database_url(root))
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    runs = [trial.user_attrs["run"] for trial in complete]
    assert len(complete) == len(set(runs)) == TRIALS
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "FAIL"}
    assert len({trial.params["optim.lr"] for trial in complete}) == TRIALS
    assert {folder.name for folder in (root / "runs").iterdir() if folder.is_dir()} == {*runs, "s1lv10-lr"}
    for trial, name in zip(complete, runs, strict=True):
        view = read_run(root / "runs" / name)
        assert view.status == "finished"
        assert [step.step for step in view.steps] == list(range(1, 13))
        assert view.pick is not None
        assert trial.value == view.pick.steady
    _require_one_finished_run_each_in_mlflow(root, runs)


def _require_one_finished_run_each_in_mlflow(root: Path, runs: list[str]) -> None:
    from lorasweep.track.store import open_store

    store = open_store(root)
    found = store.client.search_runs([store.experiment_id])
    assert Counter(each.info.run_name for each in found) == Counter([*runs, "s1lv10-lr"])
    assert {each.info.status for each in found} == {"FINISHED"}
    parent = next(each for each in found if each.info.run_name == "s1lv10-lr")
    children = [each for each in found if each is not parent]
    assert {each.data.tags["mlflow.parentRunId"] for each in children} == {parent.info.run_id}
    for child in children:
        losses = store.client.get_metric_history(child.info.run_id, "train/loss")
        assert sorted(loss.step for loss in losses) == list(range(1, 13))
    assert parent.data.tags["lorasweep.winner"] in runs
