"""A checkpoint's sha256 is taken when it is written, and again only when the file is another or `--verify` asks."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from lorasweep.cli import main
from lorasweep.commands import reproduce as command
from lorasweep.data import hashes
from lorasweep.data.hashes import HASHES, file_sha256
from lorasweep.errors import UserError
from lorasweep.train.checkpoint import list_checkpoints

STORED = Path(__file__).parents[1] / "fixtures" / "lorasweep-0.1" / "mlruns"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run of an older version, which has taken no note of sizes and times."""
    return Path(shutil.copytree(STORED, tmp_path / "mlruns"))


@pytest.fixture
def run(root: Path) -> Path:
    return root / "runs" / "anna"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read for their hash from now on."""
    names: list[str] = []

    def counting(path: Path) -> str:
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(hashes, "file_sha256", counting)
    return names


def test_picking_from_a_finished_run_reads_no_checkpoint_once_its_hashes_are_known(
    root: Path, hashed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pick", "anna", "--root", str(root)]
    main(words)
    first = capsys.readouterr().out
    assert len(hashed) == len(set(hashed)) == 3  # an older run: each file once, whatever asks for it
    hashed.clear()
    main(words)
    assert capsys.readouterr().out == first
    assert hashed == []


def test_a_file_with_another_time_or_size_is_read_again(run: Path, hashed: list[str]) -> None:
    known = list_checkpoints(run, "anna")
    hashed.clear()
    touched, cut, same = (each.path for each in known if each.path)
    os.utime(touched)
    cut.write_bytes(cut.read_bytes()[:-1])
    assert list_checkpoints(run, "anna") == [known[0], known[2]]
    assert hashed == [touched.name, cut.name]
    hashed.clear()
    assert list_checkpoints(run, "anna") == [known[0], known[2]]
    assert hashed == []  # both are known again: the one as what was written, the other as something else
    list_checkpoints(run, "anna", verify=True)
    assert hashed == [touched.name, cut.name, same.name]


def test_bytes_changed_under_an_old_time_are_found_by_verifying(run: Path) -> None:
    path = list_checkpoints(run, "anna")[0].path
    assert path is not None
    then = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(then, then))
    assert len(list_checkpoints(run, "anna")) == 3
    assert len(list_checkpoints(run, "anna", verify=True)) == 2


def test_reproducing_verifies_that_the_originals_files_are_what_was_written(
    root: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Path(shutil.copytree(run, run.with_name("again")))
    monkeypatch.setattr(command, "train_together", lambda runs, say: [SimpleNamespace(folder=again)])
    path = list_checkpoints(run, "anna")[0].path
    assert path is not None
    then = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(then, then))
    trusting, verified = (command.reproduce(root, "anna", verify, say=print) for verify in (False, True))
    assert (trusting.verdict, trusting.fine) == ("identical", True)  # headers name the hash of the weights
    assert (verified.verdict, verified.fine) == ("identical", False)
    assert f"{path.name} is no longer what was written" in verified.changed


def test_a_run_that_cannot_be_written_to_is_read_all_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, data: bytes) -> None:
        raise UserError(f"{path} could not be written (Permission denied).")

    monkeypatch.setattr(hashes, "write_atomically", refused)
    assert len(list_checkpoints(run, "anna")) == 3


def test_a_memory_that_was_cut_short_is_begun_anew(run: Path) -> None:
    (run / HASHES).write_text('{"checkpoints/anna-')
    assert len(list_checkpoints(run, "anna")) == 3
    assert len(json.loads((run / HASHES).read_text())) == 3
