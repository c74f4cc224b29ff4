"""Commands about this machine and its store rather than about a run: doctor, ui, sync."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorasweep.track.sync import Synced


PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "peft",
    "transformers",
    "safetensors",
    "mlflow",
    "hydra-core",
    "optuna",
)
DISK_WANTED_GB = 5.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    fine: bool
    says: str


def doctor(root: str | Path = "mlruns") -> tuple[Finding, ...]:
    """Whether this machine is fit for training; every check says what it found and none of them changes anything."""
    checks: tuple[tuple[str, Callable[[], tuple[bool, str]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("device", _device),
        ("disk", lambda: _disk(Path(root))),
        ("store", lambda: _store(Path(root))),
        ("portraits", _portraits),
    )
    return tuple(_examine(what, check) for what, check in checks)


def ui(root: str | Path = "mlruns", port: int = 5000) -> int:
    """Open MLflow's own pages on this store, on loopback only, until Ctrl-C; returns its exit code."""
    from lorasweep.track.store import CALM, open_store, tracking_uri
    from lorasweep.track.view import pictures_page, save_view, table_page

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


def sync(root: str | Path = "mlruns") -> tuple["Synced", ...]:
    """Deliver to MLflow what it missed, and say of runs whose process died that they are dead."""
    from lorasweep.track.store import open_store
    from lorasweep.track.sync import sync as deliver

    done = tuple(deliver(Path(root), open_store(Path(root))))
    for run in done:
        print(f"{run.name}: {run.sent} entries delivered, {run.status}")
    return done


def _examine(what: str, check: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        fine, says = check()
    except Exception as error:  # a check that cannot be made is itself the finding
        fine, says = False, f"{type(error).__name__}: {error}"
    return Finding(what=what, fine=fine, says=says)


def _python() -> tuple[bool, str]:
    fine = (3, 11) <= sys.version_info[:2] < (3, 13)
    return fine, f"{platform.python_version()} on {platform.system()}" + ("" if fine else "; 3.11 or 3.12 is needed")


def _packages() -> tuple[bool, str]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return True, ", ".join(f"{name} {version}" for name, version in versions.items())


def _device() -> tuple[bool, str]:
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        return True, f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    return True, f"no CUDA device: training runs on {torch.get_num_threads()} CPU threads, fit for portraits only"


def _disk(root: Path) -> tuple[bool, str]:
    folder = next(parent for parent in (root.resolve(), *root.resolve().parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return free >= DISK_WANTED_GB, f"{free:.0f} GiB free where runs are kept"


def _store(root: Path) -> tuple[bool, str]:
    from lorasweep.track.store import is_local, open_store, tracking_uri

    uri = tracking_uri(root)
    if is_local(uri) and not root.exists():
        return True, f"{uri} will be made by the first run"
    store = open_store(root)
    return True, f"MLflow answers, experiment {store.experiment_id}"


def _portraits() -> tuple[bool, str]:
    from lorasweep.portraits.manifest import verify

    verify()
    return True, "the shipped models are whole"
