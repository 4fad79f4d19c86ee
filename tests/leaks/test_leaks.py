"""Every public call, well and badly ended, over and over: what the process holds does not grow by it.

The tests of the parts count the references of single objects besides. Here all is counted that a process has: blocks
of the interpreter's allocator, objects of the collector, bytes of the C heap, threads, files.
"""

import logging
import os
import sys

import pytest
from tiers.servers import BINARIES, NEEDED, Server, stop_all

from . import of_codecs, of_databases, of_health, of_memo, of_memory, of_patterns, of_pools, of_records, of_tiers
from .exercises import EXERCISES
from .measure import leaks

AREAS = (of_codecs, of_databases, of_health, of_memo, of_memory, of_patterns, of_pools, of_records, of_tiers)
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
# Without the GIL CPython 3.13 keeps code objects for ever, once there has been a thread; a template is made into some.
MAKES_CODE = "of_tiers: decorating"
CASES = [(label, kind) for label, exercise in EXERCISES.items() for kind in exercise.world.kinds]


@pytest.fixture(autouse=True)
def silent():
    """What is made to fail is logged, and whoever collects the records keeps what they refer to."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def redis_url():
    if not BINARIES:
        if os.environ.get("KHRONOS_CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)
    with Server() as server:
        yield server.url
    stop_all()


@pytest.fixture
def url(kind, request, tmp_path):
    """Where that is which the world needs."""
    match kind:
        case "redis":
            yield request.getfixturevalue("redis_url")
        case "file":
            yield f"sqlite:///{(tmp_path / 'leaks.db').as_posix()}"
        case "postgres":
            server = request.getfixturevalue("server")
            with server.database() as name:
                yield server.url_of(name)
        case _:
            yield None


@pytest.mark.parametrize(("label", "kind"), CASES)
def test_leaves_nothing_behind(label, url):
    if label == MAKES_CODE and FREE_THREADED and sys.version_info < (3, 14):
        pytest.skip("CPython 3.13 without the GIL keeps code for ever")
    exercise = EXERCISES[label]
    world = exercise.world()
    world.url = url
    with world:
        assert leaks(exercise.call(world), world.settle, world.fewest) == {}
