"""What the tests of the example need: all that it runs with, or a reason."""

import os

import pytest

from .support import missing


@pytest.fixture(scope="session", autouse=True)
def _everything_is_there():
    if reason := missing():
        # Where the example has to be tested, what is missing is a failure.
        (pytest.fail if os.environ.get("KHRONOS_CI") == "1" else pytest.skip)(reason)
