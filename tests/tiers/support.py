"""What the tests of the tiers share: one face for the plain and the asynchronous cache, loaders that end when the test
says so, and the places where values may lie.

A test is written in plain code, and once: `AsyncTieredCache` runs in a loop of its own in another thread, and each of
its methods is called from there and waited for. What may wait itself is begun with `cache.begin(name, …)`.
"""

import asyncio
import concurrent.futures
import functools
import importlib.util
import inspect
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from .servers import NEEDED, PATIENCE, redis, when

if redis is None:
    pytest.skip(NEEDED, allow_module_level=True)

import khronos_fast
from khronos_fast import AsyncTieredCache, TieredCache

_path = Path(__file__).resolve().parents[1] / "memory" / "support.py"
_spec = importlib.util.spec_from_file_location(f"{__package__}._memory_support", _path)
_memory = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _memory
_spec.loader.exec_module(_memory)

FREE_THREADED = _memory.FREE_THREADED
# Without the GIL, 3.13 no longer takes apart in order what redis-py's connections for asyncio refer to, once there has
# been a second thread, whosever; and these, and asyncio's streams in them, complain when the interpreter ends.
_COMPLAINS_AT_THE_END = FREE_THREADED and sys.version_info[:2] == (3, 13)
_COMPLAINT = re.compile(
    r"Exception ignored in: <function (?:AbstractConnection|StreamWriter)\.__del__ at 0x[0-9A-Fa-f]+>\n"
    r"Traceback \(most recent call last\):\n"
    r'  File ".*asyncio.(?:connection|streams)\.py", line \d+, in __del__\n(?:    .*\n)*'
    r"TypeError: 'NoneType' object is not callable\n"
)
run_script = _memory.run_script
together = _memory.together
attempts = _memory.attempts

FALSY = [None, 0, "", False, [], {}, 0.0]
# What Redis is given to answer in; and what the issue promises after that.
BUDGET = 0.25
RECOVERY = 2.0

PROJECT = str(Path(khronos_fast.__file__).resolve().parents[1])
REPOSITORY = str(Path(__file__).resolve().parents[2])

__all__ = ["PATIENCE", "when"]


def complaints(done):
    """What a script has left on stderr, but for what others are known to say there at the end."""
    return _COMPLAINT.sub("", done.stderr) if _COMPLAINS_AT_THE_END else done.stderr


class Refused(Exception):
    """What a loader of the tests raises."""


class Loop:
    """An event loop in a thread of its own, at whose end nothing may be left in it."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.complaints = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop of a test", daemon=True)
        self.thread.start()

    def begin(self, function, *args, **options):
        async def run():
            result = function(*args, **options)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop)

    def run(self, function, *args, **options):
        return outcome(self.begin(function, *args, **options))

    def close(self):
        async def left():
            for _ in range(50):
                await asyncio.sleep(0)
            return asyncio.all_tasks() - {asyncio.current_task()}

        end = time.monotonic() + PATIENCE
        while (tasks := self.run(left)) and time.monotonic() < end:
            time.sleep(0.01)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the loop hangs"
        self.loop.close()
        assert not tasks, f"tasks that were left behind: {tasks}"
        assert self.complaints == []


def outcome(future, timeout=PATIENCE):
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError:
        if future.done():
            raise  # that is what the function raised
        raise AssertionError(f"still not done after {timeout} s") from None


def error_of(future, timeout=PATIENCE):
    """The exception that something begun ended with."""
    try:
        value = outcome(future, timeout)
    except BaseException as error:
        return error
    raise AssertionError(f"{value!r} instead of an error")


def begin_in_thread(function, *args, **options):
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(function(*args, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Loader:
    """A loader that counts its runs. `gated`: each ends when `go` is set. A result that is an exception is raised."""

    def __init__(self, *results, gated=False):
        self.results = list(results) or ["loaded"]
        self.gated = gated
        self.begun, self.go = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.calls = 0
        self.ended = 0
        self.cancelled = 0

    def _begin(self):
        with self.lock:
            result = self.results[min(self.calls, len(self.results) - 1)]
            self.calls += 1
        self.begun.set()
        return result

    def _end(self, result):
        with self.lock:
            self.ended += 1
        if isinstance(result, BaseException):
            raise result
        return result() if callable(result) else result

    def plain(self):
        result = self._begin()
        if self.gated:
            assert self.go.wait(PATIENCE), "nobody ended the load"
        return self._end(result)

    async def coroutine(self):
        result = self._begin()
        try:
            end = time.monotonic() + PATIENCE
            while self.gated and not self.go.is_set():
                assert time.monotonic() < end, "nobody ended the load"
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._end(result)

    def wait(self, calls=1):
        """Until it is under way."""
        when(lambda: self.calls >= calls, f"the loader was called {self.calls} times, not {calls}")

    def let_go(self):
        self.go.set()


class Driven:
    """A cache of either kind, called from plain code."""

    def __init__(self, face, cache):
        self._face, self._cache = face, cache

    @property
    def real(self):
        return self._cache

    def begin(self, name, *args, **options):
        """Begin a call that may have to wait: a future, which can be cancelled where the cache is asynchronous."""
        return self._face.begin(getattr(self._cache, name), *self._face.arguments(args), **options)

    def __getattr__(self, name):
        attribute = getattr(self._cache, name)
        if not inspect.ismethod(attribute) and not inspect.isbuiltin(attribute):
            return attribute

        @functools.wraps(attribute)
        def call(*args, **options):
            return self._face.call(attribute, *self._face.arguments(args), **options)

        return call

    def decorated(self, *args, **options):
        """`cached(…)` for a plain function of the test: what comes out is a plain function again."""

        def decorate(function):
            return self._face.decorated(self._cache.cached(*args, **options), function)

        return decorate

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        return repr(self._cache)


class Face:
    """`TieredCache`, or `AsyncTieredCache` in its loop."""

    def __init__(self, name):
        self.name = name
        self.asynchronous = name == "async"
        self.kind = AsyncTieredCache if self.asynchronous else TieredCache
        self.loop = Loop() if self.asynchronous else None
        self.made = []

    def make(self, memory=1000, redis=None, **options):
        """A cache, which is closed when the test ends."""
        if self.asynchronous:
            cache = self.loop.run(self.kind, memory, redis, **options)
        else:
            cache = self.kind(memory, redis, **options)
        driven = Driven(self, cache)
        self.made.append(driven)
        return driven

    def call(self, function, *args, **options):
        if self.asynchronous:
            return self.loop.run(function, *args, **options)
        return function(*args, **options)

    def begin(self, function, *args, **options):
        if self.asynchronous:
            return self.loop.begin(function, *args, **options)
        return begin_in_thread(function, *args, **options)

    def arguments(self, args):
        return tuple(self.loader(arg) if isinstance(arg, Loader) or inspect.isfunction(arg) else arg for arg in args)

    def loader(self, given):
        """A loader for this kind of cache."""
        if isinstance(given, Loader):
            return given.coroutine if self.asynchronous else given.plain
        if not self.asynchronous or inspect.iscoroutinefunction(given):
            return given

        async def load():
            return given()

        return load

    def decorated(self, decorator, function):
        if not self.asynchronous:
            return decorator(function)

        @functools.wraps(function)
        async def coroutine(*args, **options):
            return function(*args, **options)

        made = decorator(coroutine)

        @functools.wraps(made)
        def call(*args, **options):
            return self.loop.run(made, *args, **options)

        call.real = made
        return call

    def close(self):
        try:
            for cache in self.made:
                cache.close()
        finally:
            if self.loop is not None:
                self.loop.close()


class Place:
    """A Redis of some kind: `redis` is what a cache is given, `raw` a plain client that sees what lies there."""

    def __init__(self, kind, deployment, redis, raw):
        self.kind, self.deployment, self.redis, self.raw = kind, deployment, redis, raw

    def __repr__(self):
        return self.kind

    def keys(self, pattern="*"):
        return self.deployment.keys(pattern)

    def calls(self):
        return self.deployment.calls()


NOWHERE = Place("nowhere", None, None, None)


def seconds_left(raw, key):
    """What Redis says of a key's time to live; None: for ever."""
    left = raw.pttl(key)
    assert left != -2, f"{key} is not there"
    return None if left == -1 else left / 1000


def breaker(cache):
    return cache.stats().redis.breaker


def until_open(cache, key="somebody's key"):
    """Ask until the breaker is open."""
    when(lambda: cache.get(key) is None and breaker(cache) != "closed", "the breaker does not open")


def until_closed(cache, seconds=PATIENCE):
    when(lambda: breaker(cache) == "closed", "the breaker does not close", seconds=seconds)
