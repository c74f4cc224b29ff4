"""Each checkpoint as a LoggedModel of MLflow, with its file and its own metrics."""

import os
from pathlib import Path
from typing import Any

from lorasweep.records import JsonDict
from lorasweep.track.mlflow_terms import Point, model_name
from lorasweep.track.store import local_path


class LoggedModels:
    """The LoggedModels of one run, looked up before one is made, so that delivering again makes no second one."""

    def __init__(self, client: Any, experiment_id: str, run_id: str, run: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._run_id = run_id
        self._run = run
        self._by_name: dict[str, Any] | None = None

    def add(self, checkpoint: JsonDict, path: Path) -> None:
        """Create, fill and finalise the model of a checkpoint; each of the three is skipped if it is done."""
        name = model_name(self._run, checkpoint["step"])
        model = self._known().get(name)
        if model is None:
            model = self._known()[name] = self._create(name, checkpoint)
        if str(model.status) == "READY":  # finalising is the last of the three
            return
        if path.exists():
            self._hand_over(model, path)
        self._list_once(model, checkpoint["step"])
        status = "READY" if path.exists() else "FAILED"
        self._known()[name] = self._client.finalize_logged_model(model.model_id, status)

    def judge(self, step: int, points: list[Point]) -> bool:
        """Log a checkpoint's scores to its model and its run together; return False if the step has no model."""
        from mlflow.entities import Metric

        model = self._known().get(model_name(self._run, step))
        if model is None:
            return False
        metrics = [Metric(p.key, p.value, p.time, p.step, model_id=model.model_id, run_id=self._run_id) for p in points]
        self._client.log_batch(self._run_id, metrics=metrics)
        return True

    def _known(self) -> dict[str, Any]:
        if self._by_name is None:
            found = self._client.search_logged_models(
                [self._experiment_id], filter_string=f"source_run_id = '{self._run_id}'", max_results=1000
            )
            self._by_name = {model.name: model for model in found}
        return self._by_name

    def _create(self, name: str, checkpoint: JsonDict) -> Any:
        facts = {
            "step": str(checkpoint["step"]),
            "epoch": str(checkpoint["epoch"]),
            "sha256": str(checkpoint["sha256"]),
        }
        return self._client.create_logged_model(
            self._experiment_id, name=name, source_run_id=self._run_id, params=facts, model_type="lora"
        )

    def _hand_over(self, model: Any, path: Path) -> None:
        # a hard link costs no space, and is safe: a checkpoint is never changed in place
        folder = local_path(model.artifact_location)
        if folder is None or not _link(path, folder / path.name):
            self._client.log_model_artifact(model.model_id, str(path))

    def _list_once(self, model: Any, step: int) -> None:
        from mlflow.entities import LoggedModelOutput

        outputs = self._client.get_run(self._run_id).outputs
        listed: set[str] = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if model.model_id not in listed:
            self._client.log_outputs(self._run_id, [LoggedModelOutput(model.model_id, step=step)])


def _link(source: Path, target: Path) -> bool:
    if target.exists() and target.samefile(source):
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        return False
    return True
