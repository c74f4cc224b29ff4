"""One thread, no network and none of the developer's own settings, before anything is imported; for every conftest."""

import gc
import os

import pytest

# Read by torch and its libraries when they are first imported, so that tests that need no torch never pay for it.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true")
# The collector looks through all that is being imported again and again: more than a second of a process.
gc.set_threshold(50_000, 20, 20)

FOREIGN = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "LORASWEEP_CONF", "LORASWEEP_TRACEBACK", "HYDRA_FULL_ERROR")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
