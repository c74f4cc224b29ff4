"""A saved view of MLflow's runs page: the columns that matter, and the samples of all runs side by side.

MLflow's own view shows neither the pick nor the learning rate. A view that is saved as a tag of the experiment is
listed in the page's *Views* menu and can be linked to; other views and the viewer's own settings stay as they are.
"""

import json
import time
from collections.abc import Iterable
from typing import Any

from lorasweep.records import JsonDict
from lorasweep.track.images import logged
from lorasweep.track.mlflow_terms import FRESH
from lorasweep.track.store import Store

NAME = "lorasweep"
_TAG = f"mlflow.sharedViewState.{NAME}"
_COLUMNS = {
    "params.`optim.lr`": 100,
    "params.`lora.rank`": 100,
    "metrics.`picked/step`": 110,
    "metrics.`picked/score`": 110,
    "tags.`lorasweep.verdict`": 170,
}
"""In this order, so many pixels wide."""
_NAME_COLUMN = {"attributes.`Run Name`": 300}
_SECTION = f"{NAME}-pictures"


def save_view(store: Store) -> None:
    """Write the view anew, so that its grid holds the prompts of the newest run that has images."""
    tags = store.client.get_experiment(store.experiment_id).tags
    runs = list(store.client.search_runs([store.experiment_id], order_by=["attributes.start_time DESC"]))
    now = int(time.time() * 1000)
    made = json.loads(tags[_TAG])["createdAt"] if _TAG in tags else now
    # the page wants the state as text inside the text
    view = {"name": NAME, "createdAt": made, "updatedAt": now, "state": json.dumps(_state(store, runs))}
    store.client.set_experiment_tag(store.experiment_id, _TAG, json.dumps(view))


def table_page(experiment_id: str) -> str:
    """Return where the view's table of runs is, below the address of the server."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={NAME}&workflowType=machine_learning"


def pictures_page(experiment_id: str) -> str:
    """Return where the view's images are, a column for each run and one step slider for all."""
    return f"{table_page(experiment_id)}&compareRunsMode=CHART"


def _state(store: Store, runs: Iterable[Any]) -> JsonDict:
    section = {"uuid": _SECTION, "name": "Pictures", "display": True, "isReordered": True}
    return {
        "selectedColumns": list(_COLUMNS),
        "columnOrder": [*_NAME_COLUMN, *_COLUMNS],
        "columnWidths": {**_NAME_COLUMN, **_COLUMNS},
        "isAccordionReordered": True,  # else MLflow sorts the sections by name
        "compareRunSections": [{**section, "columns": 1, "cardHeight": 560}],
        "compareRunCharts": _grid(store, runs),
    }


def _grid(store: Store, runs: Iterable[Any]) -> list[JsonDict]:
    """Return one chart, at the pick of the newest run that has images; [] if no run has any yet."""
    for run in runs:
        steps: dict[str, int] = {}
        for key, step in logged(store.client, run.info.run_id):
            if not key.endswith(FRESH):
                steps[key] = max(step, steps.get(key, 0))
        if steps:
            picked = run.data.tags.get("lorasweep.picked", "none")
            step = int(picked) if picked.isdecimal() else max(steps.values())
            chart = {"type": "IMAGE", "uuid": f"{NAME}-grid", "metricSectionId": _SECTION, "runsCountToCompare": 10}
            # else MLflow writes every parameter of a run above its image, which pushes the image out of sight
            return [{**chart, "imageKeys": sorted(steps), "step": step, "showRunParams": False}]
    return []
