"""MLflow's store: one SQLite file and one folder under the track root, unless a URI says otherwise."""

import hashlib
import logging
import os
import sqlite3
import uuid
import zlib
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from filelock import FileLock

from lorasweep.errors import TryAgainError
from lorasweep.track.secrets import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

CALM = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment variables, unless the user has set them: MLflow's own defaults phone home, and retry a dead server for
four minutes a call."""

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Store:
    """An open tracking store."""

    client: "MlflowClient"
    experiment_id: str
    key: str
    """Names the store in files on disk: its URI may hold a password."""


def tracking_uri(root: Path, uri: str | None = None) -> str:
    """Return the URI in force: the argument, else MLFLOW_TRACKING_URI, else the SQLite file under the root."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{(root.absolute() / 'mlflow.db').as_posix()}"


def is_local(uri: str) -> bool:
    """Return whether the store is a file on this machine, which may be slow to open but does not go away."""
    return uri.startswith(_SQLITE)


def open_store(root: Path, uri: str | None = None, experiment: str = "lorasweep") -> Store:
    """Open the store and make database and experiment if they are missing; safe in many processes at once.

    Raises:
        TryAgainError: it does not answer.
    """
    for name, value in CALM.items():
        os.environ.setdefault(name, value)
    where = tracking_uri(root, uri)
    from mlflow import MlflowClient  # takes two seconds: only those who ship pay for it

    _quieten()
    if is_local(where):
        _lay_out(where)
    client = MlflowClient(tracking_uri=where)
    artifacts = (root.absolute() / "artifacts").as_uri() if is_local(where) else None
    with answering():
        experiment_id = _experiment(client, experiment, artifacts)
    return Store(client, experiment_id, hashlib.sha256(where.encode()).hexdigest()[:16])


@contextmanager
def answering() -> Generator[None]:
    """Turn what MLflow raises if its store cannot be reached into one sentence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        why = redact(str(error).strip().split("\n")[0][:200])
        raise TryAgainError(
            f"MLflow does not answer ({why}); nothing is lost, 'lorasweep sync' delivers when it is back."
        ) from error


def local_path(uri: str) -> Path | None:
    """Return the folder behind a ``file:`` URI or plain path; None for any other place."""
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    return Path(unquote(uri)) if not parsed.scheme else None


def _lay_out(uri: str) -> None:
    """Create or upgrade the database, in one process at a time."""
    from mlflow.version import VERSION

    database = Path(uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    # the file itself says for which MLflow it was laid out: asking its migrations takes seconds
    mark = zlib.crc32(VERSION.encode()) & 0x7FFFFFFF
    # MLflow's migrations race: eight first starts at once leave a broken database
    with FileLock(f"{database}.lock", timeout=600, thread_local=False):
        if not database.exists():
            _create(database)
        if _pragma(database, "user_version") != mark:
            _migrate(database)
            _pragma(database, "journal_mode=WAL")  # lets the UI read while a run writes; stays in the file
            _pragma(database, f"user_version={mark}")


def _create(database: Path) -> None:
    """Make the tables in another file first: a migration that a full disk cuts short can never be taken up again."""
    for leftover in database.parent.glob(f"{database.name}.*.new*"):
        with suppress(OSError):  # Windows removes no file that is open
            leftover.unlink()
    # a new name each time: MLflow keeps a connection to every file that it has opened
    draft = database.with_name(f"{database.name}.{uuid.uuid4().hex[:8]}.new")
    _migrate(draft)
    whole = draft.with_suffix(".new-whole")
    with closing(sqlite3.connect(draft, timeout=30)) as connection:
        connection.execute("VACUUM INTO ?", (str(whole),))
    whole.replace(database)
    with suppress(OSError):
        draft.unlink()


def _migrate(database: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=f"{_SQLITE}{database.as_posix()}").get_experiment_by_name("Default")


def _pragma(database: Path, pragma: str) -> object:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        row = connection.execute(f"PRAGMA {pragma}").fetchone()
        return row[0] if row else None


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return client.create_experiment(name, artifact_location=artifacts)
    except MlflowException:  # a neighbour was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def _quieten() -> None:
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
