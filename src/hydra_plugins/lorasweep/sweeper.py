"""``hydra/sweeper=lorasweep``: a search in place of a grid.

``hydra.sweeper.search`` names a file of ``sweeps/``, or a key with several values spans the space, such as
``optim.lr=tag(log,interval(1e-5,1e-3))``, or both. The launcher decides where trials run: ``cohort`` and ``basic``
train them in this process, any other launcher starts jobs, each of which is a worker.
"""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, setup_globals
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

HERE = ("cohort", "basic")
"""Launchers that start no process."""


@dataclass
class LorasweepSweeperConf:
    """Which search, and what differs from its file; None keeps what the file says."""

    _target_: str = "hydra_plugins.lorasweep.sweeper.LorasweepSweeper"
    search: Any = None
    study: Any = None
    """Its name; None takes TRIGGER-SEARCH."""
    storage: Any = None
    """URL of Optuna's database; None takes studies.db under the track root."""
    trials: Any = None
    sampler: Any = None
    prune: Any = None
    stop_past_peak: Any = None
    seed: Any = None
    width: Any = None
    workers: Any = None
    heartbeat: Any = None
    worker: bool = False
    """Whether this process is one of several workers. Set by the sweeper itself."""
    worker_words: Any = None
    """The command line of the worker that a job becomes. Set by the sweeper itself."""


ConfigStore.instance().store(group="hydra/sweeper", name="lorasweep", node=LorasweepSweeperConf, provider="lorasweep")


class LorasweepSweeper(Sweeper):
    """Hydra's interface of ``lorasweep.search``."""

    def __init__(self, search: Any, worker: bool, worker_words: Any, **changes: Any) -> None:
        self.search = search
        self.worker = worker
        self.changes = {key: value for key, value in changes.items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what runs are composed with; called once by Hydra."""
        self.task_function = task_function
        self.loader = hydra_context.config_loader
        self.master = config
        self.launching = self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search and return a ``SearchOutcome``."""
        from lorasweep.config.compose import report, run_from_hydra
        from lorasweep.config.search import load_search, told_apart, worker_override
        from lorasweep.search.searching import search, search_elsewhere

        fixed, space = told_apart(arguments)
        plan = load_search(self.search, self.changes)
        plan.space.update(space)
        if plan.width == "auto":
            plan.width = getattr(self.launching, "width", "auto")

        def compose(words: Any) -> Any:
            return run_from_hydra(self.loader.load_sweep_config(self.master, list(words)))

        def launch(workers: int) -> list[Exception]:
            job = [*fixed, worker_override(arguments, self.master.hydra.overrides.hydra)]
            returned = self.launching.launch([job] * workers, 0)
            return [each._return_value for each in returned if each.status is JobStatus.FAILED]

        setup_globals()
        if self.master.hydra.runtime.choices["hydra/launcher"] in HERE:
            found = search(plan, compose, fixed, worker=self.worker)
        else:
            found = search_elsewhere(plan, compose, fixed, launch)
        report(self.task_function, [found])
        return found
