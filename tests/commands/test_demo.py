"""The demo in small, and what MLflow holds of it, read through MLflow's own API."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lorasweep.commands.demo import RATES, SHORT, demo
from lorasweep.run.recorder import Outcome
from lorasweep.train.checkpoint import list_checkpoints

pytestmark = pytest.mark.slow

# What MLflow is sent depends neither on how long a run trains nor on how well it draws.
STEPS = (0, 3, 6)
SMALL = (*SHORT, "optim.steps=6", "sample.steps=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    root = tmp_path_factory.mktemp("demo") / "mlruns"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lorasweep.commands.demo.SHORT", SMALL)
        return root, demo(root, fast=True, say=lambda _: None)


@pytest.fixture(scope="module")
def client(made: tuple[Path, list[Outcome]]) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{made[0] / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: Any) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("lorasweep")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_mlflow_holds_one_run_and_a_parent_of_three(made: tuple[Path, list[Outcome]], runs: dict[str, Any]) -> None:
    _, (alone, *three) = made
    assert len(three) == len(RATES) == 3
    (parent,) = [run for run in runs.values() if run.data.tags["lorasweep.kind"] == "multirun"]
    assert len(runs) == 5
    assert "mlflow.parentRunId" not in runs[alone.name].data.tags
    assert {runs[each.name].data.tags["mlflow.parentRunId"] for each in three} == {parent.info.run_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_every_run_holds_its_configuration_as_a_file_with_its_hash(
    made: tuple[Path, list[Outcome]], runs: dict[str, Any], client: Any, tmp_path: Path
) -> None:
    for outcome, rate in zip(made[1], [RATES[1], *RATES], strict=True):
        run = runs[outcome.name]
        data = Path(client.download_artifacts(run.info.run_id, "config.json", str(tmp_path))).read_bytes()
        assert hashlib.sha256(data).hexdigest() == run.data.tags["lorasweep.sha256.config.json"]
        assert json.loads(data)["optim"]["lr"] == float(run.data.params["optim.lr"])
        if outcome is not made[1][0]:
            assert json.loads(data)["optim"]["lr"] == rate


def test_every_run_holds_where_it_came_from(
    made: tuple[Path, list[Outcome]], runs: dict[str, Any], client: Any, tmp_path: Path
) -> None:
    for outcome in made[1]:
        run = runs[outcome.name]
        path = Path(client.download_artifacts(run.info.run_id, "provenance.json", str(tmp_path)))
        facts = json.loads(path.read_text(encoding="utf-8"))
        assert facts["signatures"]["run"] == run.data.tags["lorasweep.run_signature"]
        assert facts["signatures"]["evaluation"] == run.data.tags["lorasweep.evaluation_signature"] != ""
        assert len(facts["weights"]["model"]["sha256"]) == 64
        assert facts["machine"]["threads"] >= 1
        assert facts["packages"]["torch"]


def test_every_step_has_its_loss_rates_and_gradient_norm_once(
    made: tuple[Path, list[Outcome]], runs: dict[str, Any], client: Any
) -> None:
    for outcome in made[1]:
        for key in ("loss", "lr", "effective_lr", "grad_norm"):
            points = client.get_metric_history(runs[outcome.name].info.run_id, f"train/{key}")
            assert sorted(point.step for point in points) == list(range(1, STEPS[-1] + 1)), key


def test_every_checkpoint_is_a_model_with_the_file_that_was_trained_and_its_scores(
    made: tuple[Path, list[Outcome]], runs: dict[str, Any], client: Any
) -> None:
    for outcome in made[1]:
        run = runs[outcome.name]
        models = client.search_logged_models(
            [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        by_step = {int(model.params["step"]): model for model in models}
        for checkpoint in list_checkpoints(outcome.folder, outcome.name):
            model = by_step.pop(checkpoint.step)
            assert checkpoint.path is not None
            stored = Path(model.artifact_location.removeprefix("file://")) / checkpoint.path.name
            assert hashlib.sha256(stored.read_bytes()).hexdigest() == checkpoint.sha256 == model.params["sha256"]
            names = {metric.key for metric in model.metrics}
            assert {"eval/score", "eval/low", "eval/high", "eval/identity", "eval/prompt", "eval/artifact"} <= names
        assert not by_step


def test_every_sheet_is_there_as_images_by_prompt_and_step(
    made: tuple[Path, list[Outcome]], runs: dict[str, Any], client: Any
) -> None:
    for outcome in made[1]:
        names = [file.path for file in client.list_artifacts(runs[outcome.name].info.run_id, "images")]
        found = {
            tuple(Path(name).name.split("+")[:3]) for name in names if name.endswith(".png") and "fresh" not in name
        }
        assert {step for _, _, step in found} == set(map(str, STEPS))
        assert len(found) == 8 * len(STEPS)


def test_the_pick_and_the_verdict_are_tags(made: tuple[Path, list[Outcome]], runs: dict[str, Any]) -> None:
    for outcome in made[1]:
        tags = runs[outcome.name].data.tags
        assert outcome.pick is not None
        assert tags["lorasweep.verdict"] == outcome.pick.run_verdict
        assert tags["lorasweep.picked"] == ("none" if outcome.pick.step is None else str(outcome.pick.step))
