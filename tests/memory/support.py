"""What the tests of the memory cache share: a clock that stands still, a listener, threads that can't hang a test."""

import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import khronos_fast
from khronos_fast import CacheStats, MemoryCache

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
# Under the sanitizers, who put zones around each piece of memory and keep what is freed, there are no blocks to count.
SANITIZED = not sys.getallocatedblocks()

# Nothing here takes long: a wait that reaches this is a hang.
PATIENCE = 30.0

# Exact in binary and whole numbers of nanoseconds, so sums and differences lose nothing in any representation.
TICK = 1 / 64
# A little more than the 5 ms within which an expired entry may, but need not, outlive a live one.
WINDOW = 3 / 512

COUNTERS = (
    "hits",
    "misses",
    "inserts",
    "updates",
    "evictions",
    "expirations",
    "invalidations",
    "loads",
    "load_failures",
)

NO_COUNTS = dict.fromkeys(COUNTERS, 0)


class Clock:
    """A timer that moves when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Listener(list):
    """An `on_removal` that remembers its calls. (It asserts nothing: what a listener raises is only logged.)"""

    __hash__ = object.__hash__

    def __call__(self, key, value, cause) -> None:
        self.append((key, value, cause))

    def taken(self) -> list[tuple]:
        """The calls since the last time this was asked."""
        calls = list(self)
        self.clear()
        return calls


class Value:
    """A value that can be told from any other and weakly referenced."""

    __slots__ = ("__weakref__", "label")

    def __init__(self, label: object = None) -> None:
        self.label = label

    def __repr__(self) -> str:
        return f"Value({self.label!r})"


class SameHash:
    """Equal by content, but all in one bucket."""

    __slots__ = ("content",)

    def __init__(self, content: object) -> None:
        self.content = content

    def __hash__(self) -> int:
        return 42

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameHash) and self.content == other.content

    def __repr__(self) -> str:
        return f"SameHash({self.content!r})"


def counts(stats: CacheStats) -> dict[str, int]:
    return {name: getattr(stats, name) for name in COUNTERS}


def changed(before: CacheStats, after: CacheStats) -> dict[str, int]:
    """The counters that moved, and by how much."""
    moved = {name: getattr(after, name) - getattr(before, name) for name in COUNTERS}
    return {name: by for name, by in moved.items() if by}


def state(cache: MemoryCache) -> tuple:
    """All that a call which failed must have left alone (hits and misses are taken first: listing counts none)."""
    stats = cache.stats().as_dict()
    remaining = [(key, cache.ttl(key)) for key in cache]
    return stats, list(cache.items()), remaining


def accounted(inserted: Iterable[object], cache: MemoryCache, reported: Iterable[object]) -> None:
    """Every value that went in is there or was reported, and exactly once."""
    there = Counter(map(id, cache.values())) + Counter(map(id, reported))
    assert there == Counter(map(id, inserted))


class Task:
    """A function running in a thread of its own; `result()` waits, but not for ever."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._outcome: queue.SimpleQueue = queue.SimpleQueue()
        self._function = function
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._outcome.put((self._function(), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def outcome(self, timeout: float = PATIENCE) -> tuple[object, BaseException | None]:
        try:
            result = self._outcome.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"a thread still hangs after {timeout} s") from None
        self.thread.join(timeout)
        assert not self.thread.is_alive()
        return result

    def result(self, timeout: float = PATIENCE) -> object:
        value, error = self.outcome(timeout)
        if error is not None:
            raise error
        return value


def together(*functions: Callable[[], object], timeout: float = PATIENCE) -> list[object]:
    """Run the functions in threads that start at the same moment; their results, in order."""
    barrier = threading.Barrier(len(functions))

    def starting(function: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            barrier.wait(timeout)
            return function()

        return run

    tasks = [Task(starting(function)) for function in functions]
    outcomes = [task.outcome(timeout) for task in tasks]
    for _, error in outcomes:
        if error is not None:
            raise error
    return [value for value, _ in outcomes]


def wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE), "an event that had to come did not"


def run_script(source: str, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess:
    """Run a program in an interpreter of its own, which may crash or hang without taking the tests along."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(khronos_fast.__file__).resolve().parents[1]), *sys.path]),
        "PYTHONFAULTHANDLER": "1",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", source, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done


def attempts(check: Callable[[], bool], count: int = 20) -> None:
    """A thread may come too late for a flight: then there is another one."""
    assert any(check() for _ in range(count)), f"in {count} flights nobody waited for the load that was under way"
