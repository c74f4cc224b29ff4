"""A run's folder, ``<root>/runs/<name>/``: its files, its name, its lock, and how it is found."""

import hashlib
import json
import os
import re
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lorasweep.data.atomic import DAY, sweep_temporaries, write_atomically
from lorasweep.data.lora_folder import is_lora_folder
from lorasweep.errors import UserError
from lorasweep.records import JsonDict
from lorasweep.track.journal import FILE as JOURNAL
from lorasweep.track.journal import encode
from lorasweep.track.secrets import redact_all

_NUMBER = re.compile(r"-(\d{4,})$")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def root(self) -> Path:
        """The folder that holds ``runs/``, the MLflow store and the studies."""
        return self.path.parent.parent

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def provenance(self) -> Path:
        """What the run was trained with."""
        return self.path / "provenance.json"

    @property
    def provenances(self) -> list[Path]:
        """``provenance`` if it is there, then ``provenance-2.json`` and so on, of later sessions that differ."""
        later = {int(path.stem.rpartition("-")[2]): path for path in self.path.glob("provenance-[0-9]*.json")}
        return [path for path in (self.provenance, *(later[number] for number in sorted(later))) if path.exists()]

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def features(self) -> Path:
        return self.path / "features"

    def prepare(self) -> "RunFolder":
        """Make the folder and its sub-folders if they are missing."""
        for folder in (self.path, self.checkpoints, self.state, self.samples, self.features):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def save_config(self, config: JsonDict) -> str:
        """Write the resolved configuration; return the sha256 of the file's bytes, in hex."""
        return write_json(self.config, config)

    def read_config(self) -> JsonDict:
        """Return the stored configuration; raise UserError if the run has none."""
        if not self.config.exists():
            raise UserError(f"{self.config} is missing; {self.path} must be a folder that lorasweep made")
        return json.loads(self.config.read_text(encoding="utf-8"))


def new_run_name(trigger: str, base: str, lr: float, root: Path) -> str:
    """Return a name like ``s1lv10-sdxl-lr1e-4-0007``; its folder is made at once, so that no other process gets it.

    The number is one above the highest in use whatever the rest of the name is: ``0007`` alone then finds the run.
    """
    return numbered_name((trigger, base, f"lr{short_number(lr)}"), root)


def numbered_name(words: Sequence[str], root: Path) -> str:
    """Return the words and a new number, joined by dashes; the folder is made at once, as in ``new_run_name``."""
    runs = root / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    stem = "-".join(part for part in map(slug, words) if part)
    with FileLock(str(runs / ".naming.lock"), thread_local=False):
        taken = [int(found.group(1)) for path in runs.iterdir() if (found := _NUMBER.search(path.name))]
        name = f"{stem}-{max(taken, default=0) + 1:04d}"
        RunFolder(runs / name).prepare()
    return name


def claim_name(name: str, root: Path) -> str:
    """Take a name that the user chose, and make its folder.

    Raises:
        UserError: it is not one plain word, or a run has it already.
    """
    if not name or name != slug(name):
        raise UserError(f"name is {name!r}; it must be made of letters, digits, dots, dashes and underscores")
    folder = RunFolder(root / "runs" / name)
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.path.mkdir()
    except FileExistsError:
        if not _never_begun(folder):  # else its process died before the first line: the same command must work again
            raise UserError(f"name is {name!r}, which {folder.path} has already; choose another") from None
    folder.prepare()
    return name


def all_runs(root: Path) -> list[RunFolder]:
    """Return every run under the root that has begun its journal, oldest first."""
    return sorted(_begun(root), key=_age)


def find_run(root: Path, what: str | Path) -> RunFolder:
    """Return the run that ``last``, a name, the end of one (``0007``) or a folder stands for.

    A folder of another trainer's LoRA files stands for the newest run that evaluated it.

    Raises:
        UserError: it is none or several; the sentence names the newest runs.
    """
    folder = Path(what)
    if (folder / JOURNAL).exists():
        return RunFolder(folder.resolve())
    if is_lora_folder(folder):
        return _evaluated(root, folder)
    runs = _begun(root)  # a name needs no journal opened, and `last` only the first line of each
    if what == "last" and runs:
        return max(runs, key=_age)
    exact = [run for run in runs if run.name == str(what)]
    found = exact or [run for run in runs if run.name.endswith(f"-{what}")]
    if len(found) == 1:
        return found[0]
    known = ", ".join(run.name for run in sorted(runs, key=_age)[-5:]) or "none yet"
    raise UserError(f"There is no single run {str(what)!r} under {root / 'runs'}; the newest are: {known}")


def parent_of(run: RunFolder) -> str:
    """Return the name of the multirun that a run belongs to, '' if none; reads only the journal's first line."""
    return str(_first_line(run).get("payload", {}).get("parent", ""))


def _evaluated(root: Path, folder: Path) -> RunFolder:
    source = str(folder.resolve())
    found = [run for run in all_runs(root) if _first_line(run).get("payload", {}).get("source") == source]
    if not found:
        raise UserError(
            f"{folder} is a folder of LoRA files that was not evaluated yet; "
            f"'lorasweep evaluate {folder} preset=NAME model.path=FILE references=DIR' does it"
        )
    return found[-1]


class HeldError(UserError):
    """Another living process writes the run."""


@contextmanager
def running(run: RunFolder) -> Generator[None]:
    """Hold the run's lock for this process; raise HeldError if another one does."""
    lock = _lock(run)  # the operating system gives it back however a process dies, so that it is never stale
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise HeldError(f"{run.name} is being written by {_owner(run)}; wait for it or stop it first") from None
    try:
        sweep_temporaries(run.path, older_than=DAY)  # `report` and deliveries write here without this lock
        # only for the sentence that refuses another process: the lock decides
        write_json(run.path / "owner.json", {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        lock.release()


def study_lock(root: Path, name: str) -> FileLock:
    """Return the lock that one worker of a search holds at a time, on a file system that all of them share."""
    (root / "runs").mkdir(parents=True, exist_ok=True)
    return FileLock(str(root / "runs" / f".{name}.lock"), thread_local=False)


def is_alive(run: RunFolder) -> bool:
    """Return whether some process holds the run now."""
    if not (run.path / "lock").exists():
        return False
    lock = _lock(run)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def _never_begun(run: RunFolder) -> bool:
    return (run.path / "lock").exists() and not is_alive(run) and not _first_line(run)


def write_json(path: Path, value: JsonDict) -> str:
    """Write whole or not at all, with secrets taken out; return the sha256 of the bytes, in hex."""
    data = json_bytes(value)
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def json_bytes(value: JsonDict) -> bytes:
    """Return what ``write_json`` writes: keys sorted, secrets taken out."""
    return (json.dumps(encode(redact_all(value)), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def slug(text: str) -> str:
    """Return ``text`` as a part of a file name: letters, digits, ``.``, ``_`` and single dashes."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:60]


def short_number(value: float) -> str:
    """Return a number as people write a learning rate: 0.0001 is 1e-4, 0.00025 is 2.5e-4, 1.0 is 1."""
    if 0.01 <= value < 1000:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _lock(run: RunFolder) -> FileLock:
    return FileLock(str(run.path / "lock"), thread_local=False)


def _owner(run: RunFolder) -> str:
    path = run.path / "owner.json"
    owner: JsonDict = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return f"process {owner.get('pid', '?')} on {owner.get('host', 'this machine')}"


def _begun(root: Path) -> list[RunFolder]:
    runs = root / "runs"
    return [RunFolder(path) for path in runs.iterdir() if (path / JOURNAL).exists()] if runs.is_dir() else []


def _age(run: RunFolder) -> tuple[int, int, str]:
    # not the folder's own time: a report that is written again would make an old run the last one
    number = run.name.rpartition("-")[2]
    # of two that began in one millisecond the later one has the higher number
    return int(_first_line(run).get("time", 0)), int(number) if number.isdecimal() else 0, run.name


def _first_line(run: RunFolder) -> JsonDict:
    """Return the journal's first entry; {} if there is none, or it was not written whole."""
    try:
        with run.journal.open("rb") as file:
            return json.loads(file.readline())
    except (FileNotFoundError, ValueError):
        return {}
