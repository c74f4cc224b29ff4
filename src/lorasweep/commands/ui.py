"""``lorasweep ui``: open MLflow's pages on this store, on this machine only."""

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_root
from lorasweep.errors import ExitCode
from lorasweep.track.store import CALM, open_store, tracking_uri
from lorasweep.track.view import pictures_page, save_view, table_page


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``--root`` and ``--port``."""
    add_root(parser)
    parser.add_argument("--port", type=int, default=5000, metavar="N", help="port on this machine (default: 5000)")


def main(options: Namespace) -> Answer:
    """Serve until Ctrl-C."""
    code = ui(options.root, options.port)
    return code, ExitCode.FAILED if code else ExitCode.FINE


def ui(root: str | Path = "mlruns", port: int = 5000) -> int:
    """Serve MLflow's pages on loopback until Ctrl-C, and return the server's exit code."""
    store = open_store(Path(root))  # creates what is missing, so that an empty store shows an empty page
    save_view(store)
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", tracking_uri(Path(root)), "--serve-artifacts"),
        *("--artifacts-destination", (Path(root).absolute() / "artifacts").as_uri()),
        *("--workers", "1", "--uvicorn-opts", "--log-level warning"),  # one reader; its four would cost 1 GB
    ]
    print(f"MLflow:    {address}   (Ctrl-C ends it)")
    print(f"Runs:      {address}/{table_page(store.experiment_id)}")
    print(f"Pictures:  {address}/{pictures_page(store.experiment_id)}", flush=True)
    return subprocess.call(command, env={**CALM, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ})
