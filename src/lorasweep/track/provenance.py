"""What a result hangs on: hashes of everything read, versions of everything that computed, and the code itself."""

import functools
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lorasweep.data.folders import kohya_name
from lorasweep.records import Dataset, JsonDict, Photo
from lorasweep.track.run_folder import write_json
from lorasweep.track.secrets import redact

PACKAGES = (
    "lorasweep", "torch", "torchvision", "numpy", "pillow", "safetensors", "diffusers", "transformers", "peft",
    "accelerate", "hydra-core", "omegaconf", "optuna", "mlflow", "facenet-pytorch", "open_clip_torch",
)  # fmt: skip
MODEL_FILES = frozenset({".safetensors", ".json", ".txt", ".model", ".pt", ".bin"})
LONGEST_DIFF = 1_000_000
CODE = ("src", "conf", "sweeps")
"""What of a checkout computes: the rest of it, such as tests and notes, changes no result."""
_BLOCK = 1 << 20


def provenance(
    *,
    weights: Mapping[str, Path],
    dataset: Dataset | None,
    config_sha256: str,
    signatures: Mapping[str, str],
    machine: Mapping[str, str | int],
    hash_cache: Path | None = None,
) -> JsonDict:
    """Everything that another person needs to tell whether they compute the same thing.

    ``weights`` are model files or folders by role (base, vae, face, clip); ``signatures`` are run and evaluation;
    ``machine`` is device, precision and threads. No environment variable, user name or absolute path is written.
    """
    cache = _read_cache(hash_cache)
    hashes = {role: hash_tree(path, cache) for role, path in weights.items()}
    if hash_cache is not None:
        write_json(hash_cache, cache)
    return {
        "weights": {role: {"name": weights[role].name, "files": files} for role, files in hashes.items()},
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


def hash_tree(path: Path, cache: dict[str, str] | None = None) -> dict[str, str]:
    """sha256 by relative name of a file, or of every model file below a folder; {} where nothing is there."""
    if path.is_file():
        return {path.name: _cached_hash(path, cache)}
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in MODEL_FILES)
    return {file.relative_to(path).as_posix(): _cached_hash(file, cache) for file in files}


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@functools.cache
def _own_code() -> JsonDict:
    """Asked for once: what runs is what was imported, whatever becomes of the checkout in a long search."""
    return code_state(Path(__file__).parents[1])


def code_state(package: Path) -> JsonDict:
    """Commit and uncommitted changes of the checkout whose code ``package`` is; nulls where it is installed.

    An environment that merely lies inside somebody's checkout is not its code.
    """
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
    """Hashes by name; by place and name in Kohya's folders, where two pictures may be called alike."""
    roles = {"train": dataset.train, "held_out": dataset.held_out, "regularisation": dataset.regularisation}
    return {
        "fingerprint": dataset.fingerprint,
        **{role: {_name(photo, dataset.path): photo.sha256 for photo in photos} for role, photos in roles.items()},
        "masks": {_name(photo, dataset.path): photo.mask_sha256 for photo in dataset.train if photo.mask},
    }


def _name(photo: Photo, folder: Path) -> str:
    """Never an absolute path."""
    if photo.path.is_relative_to(folder):
        return photo.path.relative_to(folder).as_posix()
    return f"{photo.path.parent.name}/{photo.path.name}" if kohya_name(photo.path.parent.name) else photo.path.name


def _cached_hash(path: Path, cache: dict[str, str] | None) -> str:
    """Gigabytes take seconds, and a sweep would pay for each trial: remembered by path, size and time of change."""
    if cache is None:
        return hash_file(path)
    stat = path.stat()
    key = f"{path.absolute()}|{stat.st_size}|{stat.st_mtime_ns}"
    if key not in cache:
        cache[key] = hash_file(path)
    return cache[key]


def _read_cache(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return {}


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
