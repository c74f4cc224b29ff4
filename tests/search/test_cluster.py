"""A search by two workers against a real PostgreSQL and a real MLflow server, one worker killed on the way.

``LORASWEEP_CLUSTER_TRIALS`` says how many trials; ``make cluster-test`` asks for twelve.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from contracts.judged import JUDGED
from contracts.servers import mlflow_server, postgres, postgres_programs

from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder

TRIALS = int(os.environ.get("LORASWEEP_CLUSTER_TRIALS", "3"))
HEARTBEAT = 2
PATIENCE = 600.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="lorasweep[cluster] is not installed"),
]


def test_two_workers_of_whom_one_is_killed_end_with_as_many_trials_as_were_asked_for(
    overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    root = tmp_path / "mlruns"
    judged = overrides(*JUDGED, "pick.strengths=[]", "evaluate.validation=false", "track.mlflow=true")
    words = [word for word in judged if not word.startswith("data.path=")]
    with postgres(tmp_path / "pg") as database, mlflow_server(tmp_path / "server") as uri:
        search = [
            f"trials={TRIALS}",
            "sampler=random",
            "width=1",
            "workers=2",
            f"heartbeat={HEARTBEAT}",
            "stop_past_peak=false",
        ]
        command = [
            *(sys.executable, "-m", "lorasweep", "sweep", "lr", str(tmp_path / "photos"), *words, *search),
            *(f"storage={database}", f"track.uri={uri}", "hydra/launcher=submitit_local"),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        log = (tmp_path / "log.txt").open("w")
        sweep = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        try:
            killed = _kill_one_in_training(root, sweep, tmp_path / "log.txt")
            assert sweep.wait(PATIENCE) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        finally:
            if sweep.poll() is None:
                os.killpg(sweep.pid, signal.SIGKILL)
        study = optuna.load_study(study_name="s1lv10-lr", storage=database)
        _require_all_trials_once(study, root, killed)
        _require_one_finished_run_each(uri, root, study)
    assert "A worker ended badly" in (tmp_path / "log.txt").read_text()


def _kill_one_in_training(root: Path, sweep: "subprocess.Popen[bytes]", log: Path) -> str:
    """Kill the process that holds a run which has a checkpoint and is not over; the name of the run."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert sweep.poll() is None, log.read_text()[-3000:]
        for folder in sorted((root / "runs").glob("s1lv10-lr-*")):
            run = RunFolder(folder)
            if not run.journal.exists() or not any(run.checkpoints.iterdir()):
                continue
            view = read_run(folder)
            if view.status == "running":
                owner = (folder / "owner.json").read_text()
                os.kill(int(owner.partition('"pid":')[2].partition("\n")[0].strip(" ,}")), signal.SIGKILL)
                return view.name
        time.sleep(0.1)
    raise AssertionError("no worker trained anything")


def _require_all_trials_once(study: optuna.Study, root: Path, killed: str) -> None:
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    runs = [trial.user_attrs["run"] for trial in complete]
    assert len(complete) == len(set(runs)) == TRIALS
    assert len({trial.params["optim.lr"] for trial in complete}) == TRIALS
    attempts = [trial for trial in study.trials if trial.user_attrs.get("run") == killed]
    assert [trial.state.name for trial in attempts] == ["FAIL", "COMPLETE"]
    for trial in complete:
        view = read_run(root / "runs" / trial.user_attrs["run"])
        assert view.status == "finished"
        assert [step.step for step in view.steps] == list(range(1, 13))
        assert view.pick is not None
        assert trial.value == view.pick.steady


def _require_one_finished_run_each(uri: str, root: Path, study: optuna.Study) -> None:
    from lorasweep.track.store import open_store

    store = open_store(root, uri)
    found = store.client.search_runs([store.experiment_id])
    runs = [trial.user_attrs["run"] for trial in study.trials if trial.state.name == "COMPLETE"]
    assert Counter(each.info.run_name for each in found) == Counter([*runs, "s1lv10-lr"])
    assert {each.info.status for each in found} == {"FINISHED"}
    for each in found:
        if each.info.run_name in runs:
            losses = store.client.get_metric_history(each.info.run_id, "train/loss")
            assert sorted(loss.step for loss in losses) == list(range(1, 13))
