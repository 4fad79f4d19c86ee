"""What every test may use: the hypothesis profiles, and the folder that holds the request logs and their oracle."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

# A shared machine may stop a test for seconds at any point, so no profile measures time.
_common = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
# The counts of long random tests of one thread are multiples of `max_examples`, too: "ci" is what their docstrings
# speak of, "brief" is for one more interpreter that runs what another has run in full. Races are in full in each.
settings.register_profile("brief", max_examples=50, stateful_step_count=50, **_common)
settings.register_profile("ci", max_examples=200, stateful_step_count=50, **_common)
settings.register_profile("thorough", max_examples=400, stateful_step_count=100, **_common)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if PROFILE == "thorough":
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="module", autouse=True)
def collections_are_quick() -> None:
    """Leave what is there before a module's tests out of the collections that they ask for, or cause.

    That is eleven thousand tests, hypothesis and all rivals: a full collection that looks through them takes a tenth of
    a second, nearly all of what the tests about garbage would take.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """Find a file of the shared folder: `$KHRONOS_SHARED`, else `../shared` beside the repository.

    The folder is not part of the repository, so a checkout without it skips. Whoever sets the variable says that it is
    there: then a file that is missing is a failure.
    """
    named = os.environ.get("KHRONOS_SHARED")
    folder = Path(named) if named else REPOSITORY.parent / "shared"

    def find(relative: str) -> Path:
        path = folder / relative
        if not path.is_file():
            if named:
                pytest.fail(f"KHRONOS_SHARED is set, but {relative} is not in it", pytrace=False)
            pytest.skip(f"{relative} is needed: set KHRONOS_SHARED to the folder that holds it")
        return path

    return find
