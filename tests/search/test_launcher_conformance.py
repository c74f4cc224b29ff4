"""What Hydra asks of every launcher, by the suite that it ships for those who write one."""

from collections.abc import Iterator

import pytest
from hydra.core.singleton import Singleton
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    """The suite counts on a Hydra that was told no version yet; our own command tells it one for the whole process."""
    state = Singleton.get_state()
    Singleton._instances.pop(VersionBase, None)
    yield
    Singleton.set_state(state)


@pytest.mark.parametrize(("launcher_name", "overrides"), [("cohort", [])])
class TestCohortLauncher(LauncherTestSuite): ...


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("cohort", ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])]
)
class TestCohortLauncherInBatches(BatchedSweeperTestSuite): ...


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=cohort"])])
class TestCohortLauncherIntegration(IntegrationTestSuite): ...
