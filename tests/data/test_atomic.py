import os
import subprocess
import sys
import time

import pytest

from lorasweep.data.atomic import DAY, sweep_temporaries, write_atomically
from lorasweep.errors import UserError


def left(folder, name, age):
    """A half-written file whose last byte is ``age`` seconds old."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"half")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_a_day_ago_is_swept_and_what_is_being_written_stays(tmp_path):
    left(tmp_path, ".old.safetensors.7.tmp", DAY + 60)
    left(tmp_path, ".live.safetensors.8.tmp", 0)
    left(tmp_path, ".recent.safetensors.9.tmp", DAY - 60)
    left(tmp_path, "whole.safetensors", 9 * DAY)
    left(tmp_path, "mine.tmp", 9 * DAY)
    sweep_temporaries(tmp_path, older_than=DAY)
    assert names(tmp_path) == [
        ".live.safetensors.8.tmp",
        ".recent.safetensors.9.tmp",
        "mine.tmp",
        "whole.safetensors",
    ]


def test_where_no_other_process_can_be_writing_all_of_it_goes(tmp_path):
    left(tmp_path, ".a.1.tmp", -60)  # a clock that was set back
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path):
    sweep_temporaries(tmp_path / "nowhere", older_than=DAY)
    assert names(tmp_path) == []


def test_what_cannot_be_removed_is_left_and_the_rest_is_swept(tmp_path):
    (tmp_path / ".folder.1.tmp").mkdir()
    then = time.time() - 2 * DAY
    os.utime(tmp_path / ".folder.1.tmp", (then, then))
    left(tmp_path, ".z.1.tmp", 2 * DAY)
    sweep_temporaries(tmp_path, older_than=DAY)
    assert names(tmp_path) == [".folder.1.tmp"]


def test_what_is_swept_is_what_writing_leaves(tmp_path, monkeypatch):
    """The names that one makes and the other looks for are the same."""
    seen = []

    def killed(handle):
        (half,) = tmp_path.iterdir()
        left(tmp_path / "after", half.name, DAY + 60)
        sweep_temporaries(tmp_path / "after", older_than=DAY)
        seen.extend([half.name, names(tmp_path / "after")])
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("lorasweep.data.atomic.os.fsync", killed)
    with pytest.raises(UserError, match="could not be written"):
        write_atomically(tmp_path / "a.bin", b"x")
    assert seen[0].startswith(".a.bin")
    assert seen[1] == []


WRITE = """
import os, sys
from pathlib import Path
from lorasweep.data.atomic import write_atomically
from lorasweep.errors import UserError
os.getpid = lambda: 1  # what a program is called in its container
print("ready", flush=True)
sys.stdin.readline()
failed = 0
for _ in range(200):
    try:
        write_atomically(Path(sys.argv[1]), sys.argv[2].encode() * 100_000)
    except UserError:
        failed += 1
print(failed)
"""


def test_two_containers_that_call_their_process_alike_write_one_path_and_none_fails(tmp_path):
    path = tmp_path / "base.png"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path), letter],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "src"},
        )
        for letter in "ab"
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate()[0] for writer in writers] == ["0\n", "0\n"]
    assert names(tmp_path) == ["base.png"]
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
