"""A track root in a temporary folder, with a store that takes no time to open."""

import shutil
from pathlib import Path

import pytest
from track.story import Story, story_in

from lorasweep.track.store import CALM, Store, open_store


@pytest.fixture(autouse=True)
def no_outer_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in CALM.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mlruns"


@pytest.fixture
def story(root: Path) -> Story:
    return story_in(root)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to lay out a database: once is enough."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(root: Path, empty_database: Path) -> Store:
    root.mkdir(exist_ok=True)
    shutil.copy(empty_database, root / "mlflow.db")
    return open_store(root)
