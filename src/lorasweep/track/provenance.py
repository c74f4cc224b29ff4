"""What a result depends on: hashes of the photos, versions of everything that computes, and the code itself."""

import functools
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lorasweep.data.folders import kohya_name
from lorasweep.records import Dataset, JsonDict, Photo
from lorasweep.track.secrets import redact

PACKAGES = (
    "lorasweep", "torch", "torchvision", "numpy", "pillow", "safetensors", "diffusers", "transformers", "peft",
    "accelerate", "hydra-core", "omegaconf", "optuna", "mlflow", "facenet-pytorch", "open_clip_torch",
    "dlib", "dlib-bin", "face_recognition_models",
)  # fmt: skip
LONGEST_DIFF = 1_000_000
"""Characters of uncommitted changes that are kept."""
CODE = ("src", "conf", "sweeps")
"""What of a checkout computes: the rest of it, such as tests and notes, changes no result."""


def provenance(
    *,
    dataset: Dataset | None,
    config_sha256: str,
    signatures: Mapping[str, str],
    machine: Mapping[str, str | int],
) -> JsonDict:
    """Return what tells another person whether they compute the same thing: all but the weights.

    No environment variable, user name or absolute path is among it: provenance is what people publish.

    Args:
        signatures: run and evaluation.
        machine: device, precision and threads.
    """
    return {
        "data": None if dataset is None else _photos(dataset),
        "config_sha256": config_sha256,
        "signatures": dict(signatures),
        "code": _own_code(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "executable": Path(sys.executable).name,
        "machine": dict(machine),
    }


@functools.cache
def _own_code() -> JsonDict:
    # cached: what runs is what was imported, whatever becomes of the checkout during a long search
    return code_state(Path(__file__).parents[1])


def code_state(package: Path) -> JsonDict:
    """Return commit and uncommitted changes of the checkout that ``package`` belongs to; nulls if it is installed."""
    # asks for tracked files: an environment that merely lies inside somebody's checkout is not its code
    if not _git(package, "ls-files", "--", "."):
        return {"commit": None, "dirty": None, "diff": None, "untracked": None}
    top = Path((_git(package, "rev-parse", "--show-toplevel") or str(package)).strip())
    commit = (_git(package, "rev-parse", "HEAD") or "").strip() or None
    diff = _git(top, "diff", "HEAD", "--", *CODE) or ""
    untracked = (_git(top, "ls-files", "--others", "--exclude-standard", "--", *CODE) or "").splitlines()
    return {
        "commit": commit,
        "dirty": bool(diff or untracked),
        "diff": redact(diff[:LONGEST_DIFF]),
        "untracked": untracked,
    }


def _photos(dataset: Dataset) -> JsonDict:
    """Return hashes by name, or by folder and name in Kohya's folders, where two photos may be called alike."""
    roles = {"train": dataset.train, "held_out": dataset.held_out, "regularisation": dataset.regularisation}
    return {
        "fingerprint": dataset.fingerprint,
        **{role: {_name(photo, dataset.path): photo.sha256 for photo in photos} for role, photos in roles.items()},
        "masks": {_name(photo, dataset.path): photo.mask_sha256 for photo in dataset.train if photo.mask},
    }


def _name(photo: Photo, folder: Path) -> str:
    if photo.path.is_relative_to(folder):
        return photo.path.relative_to(folder).as_posix()
    return f"{photo.path.parent.name}/{photo.path.name}" if kohya_name(photo.path.parent.name) else photo.path.name


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
