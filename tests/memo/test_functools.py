"""CPython's own tests of `lru_cache` and `cache`, with ours in their place; all of them, on every interpreter."""

import functools
import importlib
import sys
import types
import unittest
import unittest.mock
import warnings

import pytest

from khronos_fast import cache, lru_cache

from .support import FREE_THREADED

# How many there are, where that was looked up. Elsewhere as many must run as the interpreter's own have.
KNOWN = {(3, 11): (27, 1), (3, 12): (28, 1), (3, 13): (29, 1)}


def imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and name.startswith(error.name):
                return None
            raise


theirs = imported("test.test_functools")
shipped = pytest.mark.skipif(theirs is None, reason="this interpreter came without its test package")

# What the tests take from the module that they are about: the standard one, but for two names.
ours = types.SimpleNamespace(**{name: getattr(functools, name) for name in dir(functools)})
ours.lru_cache = lru_cache
ours.cache = cache


@lru_cache()
def cached_function(x, y):
    return 3 * x + y


class Mixin:
    module = ours
    # A tuple, so that it is no method.
    cached_func = (cached_function,)

    @lru_cache()
    def cached_meth(self, x, y):
        return 3 * x + y

    @staticmethod
    @lru_cache()
    def cached_staticmeth(x, y):
        return 3 * x + y

    def setUp(self):
        super().setUp()
        # Some tests ask more of the module written in C than of the one written in Python. Ours is held to that.
        patch = unittest.mock.patch.object(theirs, "c_functools", ours)
        patch.start()
        self.addCleanup(patch.stop)


if theirs is not None:

    class OursLRU(Mixin, theirs.TestLRU, unittest.TestCase):
        __test__ = False  # they are run and counted below

    class OursCache(Mixin, theirs.TestCache, unittest.TestCase):
        __test__ = False


def names(mixin):
    return sorted(name for name in dir(mixin) if name.startswith("test"))


def run(case, mixin):
    """Run the tests of the mixin: the outcome, when all of them ran and none failed."""
    result = unittest.TestResult()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    assert sorted(test.id().rpartition(".")[2] for test in suite) == names(mixin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite.run(result)
    report = "\n\n".join(f"{test}\n{trace}" for test, trace in result.failures + result.errors)
    assert not report, report
    assert result.unexpectedSuccesses == []
    return result


@shipped
@pytest.mark.parametrize("which", [0, 1], ids=["TestLRU", "TestCache"])
def test_all_of_them(which):
    case, mixin = ((OursLRU, theirs.TestLRU), (OursCache, theirs.TestCache))[which]
    result = run(case, mixin)
    # Those that do not apply on this platform don't apply to the standard one either.
    for test, reason in result.skipped:
        reference = unittest.TestResult()
        theirs.TestLRUC(test.id().rpartition(".")[2]).run(reference)
        assert reference.skipped, f"{test} was skipped: {reason}"
    assert result.testsRun == len(names(mixin)) > 0
    if sys.version_info[:2] in KNOWN:
        assert result.testsRun == KNOWN[sys.version_info[:2]][which]


@shipped
def test_it_is_ours_that_they_test():
    """The same run with a cache that remembers nothing must fail."""
    forgetful = functools.lru_cache(maxsize=0)
    result = unittest.TestResult()
    with unittest.mock.patch.object(ours, "lru_cache", return_value=forgetful):
        OursLRU("test_lru").run(result)
    assert not result.wasSuccessful()
    assert Mixin.module.lru_cache is lru_cache


@pytest.mark.skipif(not FREE_THREADED, reason="they are about threads without the interpreter lock")
def test_those_for_free_threading(monkeypatch):
    module = imported("test.test_free_threading.test_functools")
    if module is None:
        pytest.skip("this interpreter came without them")
    monkeypatch.setattr(module, "lru_cache", lru_cache)
    result = unittest.TestResult()
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    count = suite.countTestCases()
    assert count >= 4
    suite.run(result)
    report = "\n\n".join(f"{test}\n{trace}" for test, trace in result.failures + result.errors)
    assert not report, report
    assert result.testsRun == count
    assert result.skipped == []
