"""What lies on disk after a training, a full disk and a killed process."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from contracts.tiny import tiny_run
from safetensors import safe_open

from lorasweep.data.hashes import HASHES
from lorasweep.errors import UserError
from lorasweep.records import Dataset
from lorasweep.train.checkpoint import list_checkpoints
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial


@pytest.fixture
def run(model_folder: Path, dataset: Dataset, tmp_path: Path) -> Any:
    """Makes trials of four steps with two checkpoints."""

    def make(place: str = "anna", **changes: Any) -> Trial:
        return Trial("anna", tiny_run(model_folder, **{"steps": 4, **changes}), dataset, tmp_path / place)

    return make


def train(family: Any, trial: Trial) -> None:
    cohort = Cohort(family, 1)
    cohort.admit(trial)
    while cohort.busy:
        cohort.run_interval(lambda step: None)


def test_checkpoints_are_listed_with_their_hash_and_lost_ones_left_out(
    family: Any, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trial = run()
    train(family, trial)
    found = list_checkpoints(trial.folder, "anna")
    assert [(c.step, c.epoch, c.path.name) for c in found if c.path] == [
        (2, 0.4, "anna-000002.safetensors"),
        (4, 0.8, "anna-000004.safetensors"),
    ]
    for checkpoint in found:
        assert checkpoint.path is not None
        assert hashlib.sha256(checkpoint.path.read_bytes()).hexdigest() == checkpoint.sha256
    assert found[0].path is not None
    found[0].path.write_bytes(b"")
    assert [c.step for c in list_checkpoints(trial.folder, "anna")] == [4]
    assert "anna-000002.safetensors is missing or not what was written" in caplog.text


def test_the_file_tells_run_step_and_rates_but_no_path_and_no_caption(family: Any, run: Any) -> None:
    trial = run()
    train(family, trial)
    with safe_open(trial.folder / "checkpoints" / "anna-000004.safetensors", framework="pt") as file:
        header = file.metadata()
    expected = {"lorasweep.run": "anna", "ss_steps": "4", "ss_seed": "0", "ss_unet_lr": "0.001"}
    assert expected.items() <= header.items()
    assert header["lorasweep.effective_lr"] == "0.0005"
    everything = json.dumps(header)
    assert "scene" not in everything
    assert str(trial.folder.parent) not in everything
    assert str(trial.dataset.path) not in everything


def test_only_the_newest_states_are_kept(family: Any, run: Any) -> None:
    trial = run(steps=6, count=6)
    train(family, trial)
    assert sorted(path.name for path in (trial.folder / "state").iterdir()) == ["step-000005", "step-000006"]


def test_the_same_training_makes_the_same_bytes(family: Any, run: Any) -> None:
    files = []
    for place in ("one", "two"):
        train(family, run(place))
        made = [p for p in run(place).folder.rglob("*.*") if p.name != HASHES]  # which holds the time of day
        files.append({p.relative_to(run(place).folder): p.read_bytes() for p in made})
    assert files[0].keys() == files[1].keys()
    assert files[0] == files[1]


@pytest.mark.parametrize("full_from", range(1, 9))
def test_a_full_disk_leaves_whole_files_only_and_the_run_can_go_on(
    family: Any, run: Any, monkeypatch: pytest.MonkeyPatch, full_from: int
) -> None:
    expected = run("whole")
    train(family, expected)
    trial = run("full")
    calls = 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= full_from:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(UserError, match="The disk is full"):
            train(family, trial)
    assert not list(trial.folder.rglob("*.tmp"))
    listed = list_checkpoints(trial.folder, "anna")
    train(family, trial)
    after = list_checkpoints(trial.folder, "anna")
    assert after[: len(listed)] == listed
    assert [c.sha256 for c in after] == [c.sha256 for c in list_checkpoints(expected.folder, "anna")]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that begin where this one is")
def test_killed_ten_times_at_random_moments_it_ends_bit_equal(family: Any, run: Any, tmp_path: Path) -> None:
    """Children are forked, so that each begins at once; a real process is killed all the same."""

    def start(place: str) -> Any:
        child = multiprocessing.get_context("fork").Process(target=train, args=(family, run(place, steps=60, count=30)))
        child.start()
        return child

    began = time.monotonic()
    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    seconds = time.monotonic() - began
    generator, kills = random.Random(0), 0
    while kills < 10:
        child = start("killed")
        time.sleep(generator.uniform(0, 0.25) * seconds)
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it was done: begin again, so that every kill meets a training at work
            (tmp_path / "killed").rename(tmp_path / f"done-{kills}")
    last = start("killed")
    last.join()
    assert last.exitcode == 0
    expected = {c.step: c.sha256 for c in list_checkpoints(tmp_path / "whole", "anna")}
    assert len(expected) == 30
    for folder in [tmp_path / "killed", *tmp_path.glob("done-*")]:
        assert {c.step: c.sha256 for c in list_checkpoints(folder, "anna")} == expected
        assert not list(folder.rglob("*.tmp"))
