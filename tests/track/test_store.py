import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lorasweep.errors import TryAgainError
from lorasweep.track import store as store_module
from lorasweep.track.store import Store, is_local, local_path, open_store, tracking_uri

OPEN_EIGHT_TIMES = """
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import mlflow  # once for all eight: importing it takes longer than what is tested

from lorasweep.track.store import open_store

def experiment(root, start, _):
    start.wait()
    return open_store(root).experiment_id

context = multiprocessing.get_context("fork")
with context.Manager() as manager, context.Pool(8) as pool:
    start = manager.Barrier(8)
    print(pool.map(partial(experiment, Path(sys.argv[1]), start), range(8), chunksize=1))
"""


def test_the_store_lies_under_the_root_unless_someone_says_otherwise(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(root) == f"sqlite:///{root.absolute()}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(root) == "http://127.0.0.1:5000"
    assert tracking_uri(root, "sqlite:////x.db") == "sqlite:////x.db"


def test_artifacts_lie_beside_the_database_which_writes_ahead(root: Path, store: Store) -> None:
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "lorasweep"
    assert local_path(experiment.artifact_location) == root.absolute() / "artifacts"
    with sqlite3.connect(root / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_opening_again_finds_the_same_experiment(root: Path, store: Store) -> None:
    assert open_store(root).experiment_id == store.experiment_id
    assert open_store(root).key == store.key


def test_mlflow_is_told_to_be_calm_and_quiet_but_the_user_has_the_last_word(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "33")
    open_store(root)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "33"


@pytest.mark.parametrize(
    ("uri", "path"),
    [("file:///a/b%20c", Path("/a/b c")), ("/a/b", Path("/a/b")), ("mlflow-artifacts:/x", None), ("s3://b/x", None)],
)
def test_only_a_folder_of_this_machine_is_a_local_path(uri: str, path: Path | None) -> None:
    assert local_path(uri) == path


def test_a_server_is_not_local() -> None:
    assert is_local("sqlite:////a/b.db")
    assert not is_local("http://127.0.0.1:5000")


@pytest.mark.slow
def test_eight_processes_may_open_a_store_that_does_not_exist_yet(root: Path) -> None:
    """Without the lock MLflow's migrations race and leave a broken database."""
    command = [sys.executable, "-c", OPEN_EIGHT_TIMES, str(root)]
    env = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == str(["1"] * 8)


def test_a_database_whose_making_is_cut_short_is_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = store_module._migrate

    def cut_short(database: Path) -> None:
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE _alembic_tmp_params (a)")  # what a migration leaves on a full disk
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "_migrate", cut_short)
    with pytest.raises(OSError, match="No space"):
        open_store(root)
    assert not (root / "mlflow.db").exists()
    monkeypatch.setattr(store_module, "_migrate", real)
    assert open_store(root).experiment_id
    assert not list(root.glob("*.new*"))


def test_a_server_that_does_not_answer_is_one_sentence_without_its_password(root: Path) -> None:
    with pytest.raises(
        TryAgainError, match=r"^MLflow does not answer \(.*127\.0\.0\.1.*'lorasweep sync' delivers"
    ) as told:
        open_store(root, "http://me:hushhushhush@127.0.0.1:9")
    assert "hushhushhush" not in str(told.value)
    assert "\n" not in str(told.value)
