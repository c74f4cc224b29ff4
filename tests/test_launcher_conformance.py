"""What Hydra asks of every launcher, by the suite that it ships for those who write one."""

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("launcher_name", "overrides"), [("cohort", [])])
class TestCohortLauncher(LauncherTestSuite): ...


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("cohort", ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])]
)
class TestCohortLauncherInBatches(BatchedSweeperTestSuite): ...


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=cohort"])])
class TestCohortLauncherIntegration(IntegrationTestSuite): ...
