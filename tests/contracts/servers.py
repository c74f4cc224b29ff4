"""Real servers on loopback, for as long as a ``with`` lasts."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("initdb", "postgres", "pg_isready")


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them out of the path."""
    found = shutil.which("initdb")
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *([Path(found).parent] if found else [])]
    whole = [folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)]
    return whole[-1] if whole else None


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A database server of its own; gives the URL of an empty database."""
    programs = postgres_programs()
    assert programs is not None
    port, data = free_port(), folder / "postgres"
    data.mkdir(parents=True)
    user = {}
    if os.name == "posix" and os.geteuid() == 0:  # it refuses to run as root
        user = {"user": "postgres"}
        shutil.chown(data, "postgres")
        for parent in data.parents:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": data}
    subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "studies"], check=True, **quiet, **user)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(data), "-c", "fsync=off"]
    server = subprocess.Popen([programs / "postgres", "-D", data, *options], **quiet, **user)
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "studies"]
        _wait_for("PostgreSQL", server, lambda: subprocess.run(ready, **quiet).returncode == 0)
        yield f"postgresql://studies@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown, which waits for no client
        server.wait(30)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """An MLflow tracking server with its artifacts behind it; gives its URL."""
    port = free_port()
    folder.mkdir(parents=True)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    where = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "a")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *where]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*command, "--workers", "1"], stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        _wait_for("MLflow", server, lambda: _answers(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def _wait_for(what: str, server: "subprocess.Popen[bytes]", ready: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert server.poll() is None, f"{what} ended before it was ready"
        assert time.monotonic() < until, f"{what} was not ready after {seconds:g} s"
        time.sleep(0.2)
