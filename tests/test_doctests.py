"""Every example in a docstring, and in the README, runs as it stands."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Where public names live, and how many of them show an example at the least.
MODULES = {
    "khronos_fast._core.async_pool": 1,
    "khronos_fast._core.audit": 1,
    "khronos_fast._core.cached": 1,
    "khronos_fast._core.errors": 1,
    "khronos_fast._core.glob": 4,
    "khronos_fast._core.histogram": 1,
    "khronos_fast._core.lru_cache": 2,
    "khronos_fast._core.memory": 16,
    "khronos_fast._core.pool": 2,
    "khronos_fast._core.pool_events": 1,
    "khronos_fast._core.pool_stats": 1,
    "khronos_fast._core.records": 1,
    "khronos_fast._core.removal": 1,
    "khronos_fast._core.row": 2,
    "khronos_fast._core.stats": 1,
    "khronos_fast.databases.async_database": 1,
    "khronos_fast.databases.async_transaction": 1,
    "khronos_fast.databases.database": 1,
    "khronos_fast.databases.errors": 1,
    "khronos_fast.databases.result": 1,
    "khronos_fast.databases.statement": 1,
    "khronos_fast.databases.stats": 1,
    "khronos_fast.databases.transaction": 1,
    "khronos_fast.databases.url": 1,
    "khronos_fast.health.authorization": 3,
    "khronos_fast.health.collector": 1,
    "khronos_fast.health.prefixes": 1,
    "khronos_fast.health.probe": 1,
    "khronos_fast.health.process": 1,
    "khronos_fast.health.sanitize": 1,
    "khronos_fast.health.sidecar": 1,
    "khronos_fast.health.status": 1,
    "khronos_fast.health.totals": 1,
    "khronos_fast.tiers.address": 1,
    "khronos_fast.tiers.announcements": 2,
    "khronos_fast.tiers.async_tiered": 1,
    "khronos_fast.tiers.breaker": 1,
    "khronos_fast.tiers.codec": 2,
    "khronos_fast.tiers.coherence": 1,
    "khronos_fast.tiers.command": 1,
    "khronos_fast.tiers.errors": 1,
    "khronos_fast.tiers.front": 3,
    "khronos_fast.tiers.json_codec": 1,
    "khronos_fast.tiers.pending": 1,
    "khronos_fast.tiers.pickle_codec": 1,
    "khronos_fast.tiers.plain": 2,
    "khronos_fast.tiers.stats": 1,
    "khronos_fast.tiers.template": 2,
    "khronos_fast.tiers.tiered": 1,
    "khronos_fast.tiers.wire": 1,
}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    package = importlib.import_module("khronos_fast")
    names = {name: getattr(package, name) for name in ("Glob", "MemoryCache", "Pool", "AsyncPool")}
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for test in finder.find(module, extraglobs=names) if test.examples]
    assert len(tests) >= MODULES[name]
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_readme_examples_run():
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=OPTIONS)
    assert results.attempted > 0
    assert results.failed == 0
