"""``hydra/launcher=cohort``: a multirun's jobs trained side by side on one frozen base.

Hydra's basic sweeper hands over all jobs at once. They are composed here, on the main thread, since Hydra is a
process-wide singleton, and trained together by ``lorasweep.run``. A job returns the score of its pick. Jobs of another
program run one after the other, as under Hydra's own launcher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


@dataclass
class CohortLauncherConf:
    """How many adapters may train side by side, or ``auto``."""

    _target_: str = "hydra_plugins.lorasweep.cohort_launcher.CohortLauncher"
    width: Any = "auto"


ConfigStore.instance().store(group="hydra/launcher", name="cohort", node=CohortLauncherConf, provider="lorasweep")


class CohortLauncher(Launcher):
    """Hydra's interface of ``lorasweep.run.training.train_together``."""

    def __init__(self, width: int | str) -> None:
        self.width = width

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what ``launch`` composes with; called once by Hydra."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all jobs and return one JobReturn each, in order; a failed trial is a failed job."""
        from lorasweep.config.compose import is_run, report, run_from_hydra
        from lorasweep.run.training import train_together

        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        composed = [self._compose(overrides, initial_job_idx + i) for i, overrides in enumerate(job_overrides)]
        if not all(is_run(config) for config in composed):
            return self._one_by_one(job_overrides, initial_job_idx)
        outcomes = train_together([run_from_hydra(config) for config in composed], width=self.width)
        report(self.task_function, outcomes)
        return [
            _job_return(overrides, config, outcome)
            for overrides, config, outcome in zip(job_overrides, composed, outcomes, strict=True)
        ]

    def _one_by_one(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        basic = BasicLauncher()
        basic.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return basic.launch(job_overrides, initial_job_idx)

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
        return config


def _job_return(overrides: Sequence[str], config: DictConfig, outcome: Any) -> JobReturn:
    failed = outcome.error is not None
    returned = JobReturn(
        overrides=list(overrides),
        cfg=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
        hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
        working_dir=str(outcome.folder),
        task_name="train",
        status=JobStatus.FAILED if failed else JobStatus.COMPLETED,
    )
    returned.return_value = outcome.error if failed else outcome.score
    return returned
