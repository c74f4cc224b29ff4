"""``lorasweep doctor``: say whether this machine is fit for training."""

import importlib.metadata
import platform
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_root
from lorasweep.errors import ExitCode

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


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``--root``."""
    add_root(parser)


def main(options: Namespace) -> Answer:
    """Print a line a check; one bad finding fails."""
    findings = doctor(options.root)
    for finding in findings:
        print(f"{'fine' if finding.fine else 'NOT FINE':<9} {finding.what:<10} {finding.says}")
    return findings, ExitCode.FINE if all(finding.fine for finding in findings) else ExitCode.FAILED


def doctor(root: str | Path = "mlruns") -> tuple[Finding, ...]:
    """Return what each check of this machine found; no check changes anything or raises."""
    checks: tuple[tuple[str, Callable[[], tuple[bool, str]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("device", _device),
        ("disk", lambda: _disk(Path(root))),
        ("store", lambda: _store(Path(root))),
        ("portraits", _portraits),
    )
    return tuple(_examine(what, check) for what, check in checks)


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
