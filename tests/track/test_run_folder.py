import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lorasweep.data.atomic import DAY
from lorasweep.errors import UserError
from lorasweep.track.journal import Journal
from lorasweep.track.run_folder import (
    RunFolder,
    all_runs,
    claim_name,
    find_run,
    is_alive,
    new_run_name,
    running,
    short_number,
    slug,
    write_json,
)

HOLD = (
    "import sys, time; from pathlib import Path; from lorasweep.track.run_folder import RunFolder, running\n"
    "with running(RunFolder(Path(sys.argv[1]))):\n    print('held', flush=True); time.sleep(60)"
)


def started(root: Path, name: str, source: Path | None = None) -> RunFolder:
    run = RunFolder(root / "runs" / name).prepare()
    Journal(run.path).write("start", {} if source is None else {"source": str(source)})
    return run


def test_a_name_says_who_on_what_how_fast_and_which(root: Path) -> None:
    assert new_run_name("s1lv10", "portraits", 1e-3, root) == "s1lv10-portraits-lr1e-3-0001"
    assert new_run_name("s1lv10", "SD XL/base", 2.5e-4, root) == "s1lv10-SD-XL-base-lr2.5e-4-0002"


def test_sixteen_at_once_get_sixteen_names_and_numbers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = RunFolder.prepare

    def slowly(run: RunFolder) -> RunFolder:
        time.sleep(0.01)
        return prepare(run)

    monkeypatch.setattr(RunFolder, "prepare", slowly)
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(lambda i: new_run_name("t", "b", 1e-3 * (i + 1), root), range(16)))
    assert sorted(int(name[-4:]) for name in names) == list(range(1, 17))


@pytest.mark.parametrize(
    ("value", "text"), [(1e-4, "1e-4"), (2.5e-4, "2.5e-4"), (0.001, "1e-3"), (1.0, "1"), (0.05, "0.05"), (3e3, "3e3")]
)
def test_a_rate_is_written_as_people_say_it(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(("text", "name"), [("Zoë / ünï", "Zo-n"), ("../../etc", "etc"), ("a  b", "a-b"), ("", "")])
def test_a_name_is_never_a_path(text: str, name: str) -> None:
    assert slug(text) == name


def test_a_name_that_is_taken_is_refused(root: Path) -> None:
    assert claim_name("mine", root) == "mine"
    with pytest.raises(UserError, match=r"name is 'mine', which .* has already"):
        claim_name("mine", root)


def test_what_a_killed_holder_left_half_written_is_swept_and_not_what_another_process_is_writing_now(
    root: Path,
) -> None:
    run = RunFolder(root / "runs" / "mine").prepare()
    for name in (".owner.json.1.tmp", ".report.html.2.tmp", ".shipped.json.3.tmp"):
        (run.path / name).write_text("half")
    long_ago = time.time() - DAY - 60
    os.utime(run.path / ".owner.json.1.tmp", (long_ago, long_ago))
    with running(run):
        assert sorted(path.name for path in run.path.glob(".*.tmp")) == [".report.html.2.tmp", ".shipped.json.3.tmp"]


def test_a_name_whose_process_died_before_it_wrote_a_line_may_be_taken_again(root: Path) -> None:
    run = RunFolder(root / "runs" / claim_name("mine", root))
    with running(run), pytest.raises(UserError, match="has already"):
        claim_name("mine", root)
    assert claim_name("mine", root) == "mine"
    Journal(run.path).write("start", {})
    with pytest.raises(UserError, match="has already"):
        claim_name("mine", root)


@pytest.mark.parametrize("name", ["a/b", "../up", "with space", ""])
def test_a_name_that_is_no_plain_word_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="name is "):
        claim_name(name, root)


def test_last_is_the_run_that_began_last_whatever_was_touched_since(root: Path) -> None:
    for name in ("b-0001", "a-0002"):
        started(root, name)
    (root / "runs" / "b-0001" / "report.html").write_text("x")
    assert find_run(root, "last").name == "a-0002"
    assert [run.name for run in all_runs(root)] == ["b-0001", "a-0002"]


def test_of_runs_that_began_in_one_millisecond_the_last_has_the_highest_number(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorasweep.track.journal.time.time_ns", lambda: 1_796_000_000_000_000_000)
    for name in ("b-0001", "a-0002"):
        started(root, name)
    assert find_run(root, "last").name == "a-0002"


def test_a_run_is_found_by_name_by_number_and_by_folder(root: Path) -> None:
    run = started(root, "me-sdxl-lr1e-4-0007")
    for what in ("me-sdxl-lr1e-4-0007", "0007", run.path):
        assert find_run(root, what).path.resolve() == run.path.resolve()


@pytest.mark.parametrize("what", ["last", "me-sdxl-lr1e-4-0002", "0002"])
def test_finding_a_run_reads_no_journal_beyond_its_first_line(root: Path, what: str) -> None:
    for name in ("me-sdxl-lr1e-4-0001", "me-sdxl-lr1e-4-0002"):
        with started(root, name).journal.open("ab") as file:
            file.write(b"no entry\n" * 3)
    assert find_run(root, what).name == "me-sdxl-lr1e-4-0002"


def test_a_folder_of_another_trainers_files_stands_for_the_newest_run_that_evaluated_it(
    root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kohya"
    folder.mkdir()
    (folder / "me-000002.safetensors").write_bytes(b"")
    started(root, "trained-0001")
    with pytest.raises(UserError, match="kohya is a folder of LoRA files that was not evaluated yet"):
        find_run(root, folder)
    for name in ("files-0002", "files-0003"):
        started(root, name, source=folder.resolve())
    assert find_run(root, folder).name == "files-0003"


def test_an_unknown_run_is_one_sentence_that_names_the_newest(root: Path) -> None:
    started(root, "me-0001")
    with pytest.raises(UserError, match=r"no single run 'you'.*the newest are: me-0001"):
        find_run(root, "you")
    with pytest.raises(UserError, match="none yet"):
        find_run(root / "empty", "last")


def test_a_run_held_by_a_living_process_is_refused_and_taken_over_once_it_was_killed(root: Path) -> None:
    run = started(root, "me-0001")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_alive(run)
        with pytest.raises(UserError, match=f"me-0001 is being written by process {holder.pid}"), running(run):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert not is_alive(run)
    with running(run):
        assert is_alive(run)
    assert not is_alive(run)


def test_the_hash_of_the_configuration_is_that_of_its_file(root: Path) -> None:
    run = started(root, "me-0001")
    digest = run.save_config({"b": 1, "a": {"lr": 1e-4}})
    assert digest == hashlib.sha256(run.config.read_bytes()).hexdigest()
    assert run.save_config({"a": {"lr": 1e-4}, "b": 1}) == digest
    assert run.read_config() == {"a": {"lr": 1e-4}, "b": 1}


def test_a_folder_without_a_configuration_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        RunFolder(tmp_path).read_config()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
