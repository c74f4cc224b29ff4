"""The measure of full-size models in small cards runs anywhere, and needs only what a card's machine has."""

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lorasweep.models
import lorasweep.train
from benchmarks.speed import cards, cohort_card


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_it_trains_and_draws_with_tiny_models_on_a_cpu(kind, tmp_path, capsys):
    cards.main(["--tiny", "--kind", kind, "--steps", "1", "--json", str(tmp_path / "cards.json")])
    printed = capsys.readouterr().out
    (case,) = json.loads((tmp_path / "cards.json").read_text())["cases"]
    assert list(case["phases"]) == ["loading", "encoding", "training", "drawing"]
    assert 0 < case["loss"] < 100
    assert case["seconds_a_step"] > 0
    assert case["planned"]["training"] > 0
    assert all(phase in printed for phase in case["phases"])


def test_without_a_card_it_says_what_it_would_measure(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cards.main(["--kind", "flux"])
    lines = capsys.readouterr().out.splitlines()
    assert "No CUDA device is here" in lines[0]
    assert [line.split()[:4] for line in lines[-3:] if line] == [
        ["flux", "512", "16gb", "nf4"],
        ["flux", "1024", "16gb", "nf4"],
    ]


@pytest.mark.slow
def test_width_is_measured_against_peft_with_tiny_models_on_a_cpu(tmp_path, capsys):
    cohort_card.main(["--tiny", "--kind", "sd15", "--steps", "1", "--json", str(tmp_path / "found.json")])
    (case,) = json.loads((tmp_path / "found.json").read_text())["cases"]
    assert [each["width"] for each in case["found"]] == [1, 4, 8, 16]
    for each in case["found"]:
        assert each["speed_up"] == pytest.approx(each["width"] * case["peft_seconds"] / each["seconds"])
    assert case["operations"] > 1e6
    assert "cohort of 16" in capsys.readouterr().out


def test_what_a_card_printed_can_be_printed_again(capsys):
    cohort_card.main(["--replay"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if "PEFT " in line and "model" not in line] == [
        ["sdxl", "1024"],
        ["sd15", "512"],
        ["flux", "512"],
        ["flux", "1024"],
    ]
    cards.main(["--replay"])
    lines = capsys.readouterr().out.splitlines()
    trained = [line.split() for line in lines if " training " in line]
    assert [[*line[:4], float(line[5]) < 9] for line in trained] == [
        ["sd15", "512", "8gb", "full", True],
        ["sdxl", "1024", "10gb", "fp8", True],
    ]


def test_models_training_and_the_measure_import_without_hydra_mlflow_and_optuna():
    """A machine with a card may have none of them."""
    names = [
        module.name
        for room in (lorasweep.models, lorasweep.train)
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ]
    code = f"""
import importlib, sys
for name in ("hydra", "mlflow", "optuna"):
    sys.modules[name] = None  # importing it raises
for name in {[*names, "benchmarks.speed.cards", "benchmarks.speed.cohort_card"]!r}:
    importlib.import_module(name)
"""
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=env,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert len(names) > 30
