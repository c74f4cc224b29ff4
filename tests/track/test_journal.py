import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasweep.errors import TryAgainError, UserError
from lorasweep.track.journal import Journal, cut_torn_tail, encode, read, read_from


def test_what_was_written_is_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("step", {"loss": 0.1 + 0.2}, key="1")
    journal.write("note", {"text": "größer"})
    assert [(e.seq, e.kind, e.key, e.payload) for e in read(tmp_path)] == [
        (1, "step", "1", {"loss": 0.30000000000000004}),
        (2, "note", "", {"text": "größer"}),
    ]


def test_the_same_step_after_a_resume_is_recognised(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    assert first.write("step", {"loss": 1.0}, key="1")
    first.close()
    again = Journal(tmp_path)
    assert not again.write("step", {"loss": 1.0}, key="1")
    assert again.write("checkpoint", {"step": 1}, key="1")
    assert [e.kind for e in read(tmp_path)] == ["step", "checkpoint"]


@pytest.mark.parametrize("tail", [b'{"seq":3,"ki', b"\0\0\0\0", b"\0\0\n\0\0\n", b'{"seq":3}\n', b"half\n"])
def test_a_torn_last_line_is_cut(tmp_path: Path, tail: bytes) -> None:
    journal = Journal(tmp_path)
    journal.write("note", {"text": "one"})
    journal.write("note", {"text": "two"})
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + tail)
    again = Journal(tmp_path)
    assert journal.path.read_bytes() == whole
    again.write("note", {"text": "three"})
    assert [(e.seq, e.payload["text"]) for e in read(tmp_path)] == [(1, "one"), (2, "two"), (3, "three")]


def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for n in range(4):
        journal.write("step", {"step": n}, key=str(n))
    journal.close()
    whole = journal.path.read_bytes()
    for length in range(len(whole)):
        journal.path.write_bytes(whole[:length])
        cut_torn_tail(journal.path)
        assert journal.path.read_bytes() == whole[: whole.rfind(b"\n", 0, length) + 1]


def test_a_torn_last_line_is_not_read_while_its_writer_is_still_at_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("note", {"text": "one"})
    with journal.path.open("ab") as file:
        file.write(b'{"seq":2')
    entries, offset = read_from(tmp_path, 0)
    assert [e.seq for e in entries] == [1]
    assert read_from(tmp_path, offset) == ([], offset)


def test_a_broken_line_in_the_middle_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("note", {"text": "one"})
    good = journal.path.read_bytes()
    journal.path.write_bytes(b"garbage\n" + good)
    with pytest.raises(UserError, match=r"journal\.jsonl has a line"):
        Journal(tmp_path)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.write("note", {"text": "one"})
    whole, write = journal.path.read_bytes(), os.write
    left = [5]

    def full(fd: int, data: bytes) -> int:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: left.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(TryAgainError, match=r"^The disk is full: .*journal\.jsonl could not be written"):
        journal.write("note", {"text": "two"})
    monkeypatch.undo()
    assert journal.path.read_bytes() == whole
    journal.write("note", {"text": "three"})
    assert [e.seq for e in read(tmp_path)] == [1, 2]


def test_a_number_that_json_lacks_is_a_word_and_the_line_stays_strict_json(tmp_path: Path) -> None:
    Journal(tmp_path).write("step", {"loss": math.inf, "deep": [{"x": math.nan}, -math.inf]})
    line = (tmp_path / "journal.jsonl").read_text()
    payload = json.loads(line, parse_constant=pytest.fail)["payload"]
    assert payload == {"loss": "Infinity", "deep": [{"x": "NaN"}, "-Infinity"]}


@given(st.floats())
def test_every_float_survives_bit_for_bit(value: float) -> None:
    back = float(json.loads(json.dumps(encode(value))))
    assert back.hex() == value.hex()


def test_a_secret_never_reaches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-of-the-coal-mine")
    journal = Journal(tmp_path)
    journal.write(
        "params", {"a": "x canary-of-the-coal-mine", "b": ["hf_abcdefghijklmnopqrst", "https://me:pw@host/x"]}
    )
    text = journal.path.read_text()
    assert "canary" not in text
    assert "hf_" not in text
    assert "me:pw" not in text
    assert next(read(tmp_path)).payload["b"][1] == "https://[hidden]@host/x"


def test_a_killed_writer_leaves_every_line_that_it_wrote(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from lorasweep.track.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for n in range(1, 200): j.write('step', {'step': n}, key=str(n))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": "src"}, check=False)
    assert [e.payload["step"] for e in read(tmp_path)] == list(range(1, 200))


def test_a_line_costs_less_than_a_hundredth_of_a_fast_step(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    payload = {
        "trial": "t",
        "step": 1,
        "epoch": 0,
        "loss": 0.123456789,
        "lr": 1e-4,
        "effective_lr": 1e-4,
        "grad_norm": 0.5,
    }
    began = time.process_time()
    for n in range(2000):
        journal.write("step", payload, key=str(n))
    assert (time.process_time() - began) / 2000 < 0.1 * 0.01
