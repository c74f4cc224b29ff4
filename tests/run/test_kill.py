"""kill -9, through the command line: the benchmark's experiment in small."""

import os
import sys
from pathlib import Path

import pytest
from contracts.killing import warm_process

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.recovery import kill

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")]


def test_a_run_killed_again_and_again_ends_with_the_files_of_an_undisturbed_one(tmp_path: Path) -> None:
    with warm_process() as warm:  # the undisturbed run starts cold
        found = kill.experiment(tmp_path, kills=3, steps=24, seed=1, changes=["save.count=3"], start=warm.start)
    assert [row["command"] for row in found["kills"]] == ["train", "train", "resume", "resume"]
    assert [row["kill"] for row in found["kills"]] == [0, 1, 2, 3]
    assert [line["step"] for line in found["checkpoints"]] == [8, 16, 24]
    assert all(line["equal"] for line in found["checkpoints"]), found["checkpoints"]
    assert (found["lost"], found["doubled"], found["different"]) == ([], [], [])
    assert found["mlflow"]["status"] == "FINISHED"
    assert found["mlflow"]["losses"] == 24
    assert kill.fine(found, kills=3), found
