"""Many threads at once: every call is answered with its own value, bounds hold at every moment, counters are exact.

With the interpreter lock threads take turns between bytecodes, so the switch interval is made small here; without it
they run at the same time. The same must hold.
"""

import asyncio
import gc
import itertools
import sys
import threading
import weakref

import pytest

from khronos_fast import MemoryCache, cache, cached, lru_cache

from .support import Task, Value, drive, together

THREADS = 4


@pytest.fixture(autouse=True)
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class PythonKey:
    """An argument whose hash and equality are Python code: threads switch in the middle of a look-up."""

    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return hash(self.number % 5)

    def __eq__(self, other):
        return isinstance(other, PythonKey) and self.number == other.number


DECORATORS = {
    "lru_cache": lru_cache(20),
    "lru_cache(1)": lru_cache(1),
    "lru_cache(0)": lru_cache(0),
    "lru_cache(None)": lru_cache(None),
    "lru_cache(typed)": lru_cache(20, True),
    "lru_cache(ttl)": lru_cache(20, ttl=0.001),
    "cache": cache,
    "cached": cached(maxsize=20),
    "cached(1)": cached(maxsize=1),
    "cached(ttl)": cached(maxsize=20, ttl=0.001),
    "cached(typed)": cached(maxsize=20, typed=True),
    "cached(shared)": lambda f: cached(MemoryCache(20))(f),
    "cached(key)": cached(maxsize=20, key=lambda *args, **kwargs: (args, tuple(kwargs.items()))),
    "cached(each)": cached(maxsize=20, single_flight=False),
}

kinds = pytest.mark.parametrize("kind", [int, str, PythonKey])
decorators = pytest.mark.parametrize("name", DECORATORS)


def crowd(work, count=THREADS):
    return together(*[lambda number=number: work(number) for number in range(count)], timeout=60)


@decorators
@kinds
def test_values_are_always_those_of_the_call(name, kind):
    """Under look-ups, misses and evictions in any order; and never are there more than maxsize."""
    f = DECORATORS[name](lambda x, y=0, **names: (x, y, names))
    maxsize = f.cache_info().maxsize

    def work(number):
        calls = 0
        for turn in range(400):
            x = kind((turn * (number + 1)) % 40)
            result = f(x)
            assert result[0] == x
            assert result[1] == 0
            result = f(x, turn % 3)
            assert result[0] == x
            assert result[1] == turn % 3
            assert f(x, name=turn % 2)[2] == {"name": turn % 2}
            calls += 3
            if turn % 20 == 0:
                assert maxsize is None or f.cache_info().currsize <= maxsize
        return calls

    calls = sum(crowd(work))
    info = f.cache_info()
    assert info.hits + info.misses == calls
    assert info.maxsize == maxsize
    if maxsize is not None and "ttl" not in name:
        assert info.currsize == maxsize


@pytest.mark.parametrize("name", [name for name in DECORATORS if name not in ("lru_cache(None)", "cache")])
def test_the_bound_holds_at_every_moment(name):
    f = DECORATORS[name](lambda x: [x])
    maxsize = f.cache_info().maxsize
    done = threading.Event()

    def work(number):
        if number == 0:
            looks = 0
            while looks == 0 or not done.is_set():
                looks += 1
                info = f.cache_info()
                assert 0 <= info.currsize <= maxsize
                if hasattr(f, "cache"):
                    assert len(f.cache) <= maxsize
                    assert len(list(f.cache.items())) <= maxsize
            return looks
        try:
            for turn in range(2500):
                assert f((turn * number) % 70) == [(turn * number) % 70]
        finally:
            if number == 1:
                done.set()
        return 1

    assert all(crowd(work))
    assert f.cache_info().currsize <= maxsize


@pytest.mark.parametrize("name", ["lru_cache(None)", "cache", "cached(big)", "lru_cache(big)"])
@kinds
def test_without_pressure_nothing_is_lost(name, kind):
    runs = []
    decorate = {"cached(big)": cached(maxsize=10**6), "lru_cache(big)": lru_cache(10**6)} | DECORATORS
    f = decorate[name](lambda x: runs.append(x) or [x])

    def work(number):
        mine = [f(kind(number * 1000 + turn)) for turn in range(500)]
        # What this thread was answered, it is answered again.
        return all(f(kind(number * 1000 + turn)) is mine[turn] for turn in range(500))

    assert crowd(work) == [True] * THREADS
    assert len(runs) == THREADS * 500
    assert f.cache_info()[:2] == (THREADS * 500, THREADS * 500)
    assert f.cache_info().currsize == THREADS * 500


@decorators
def test_counters_are_exact(name):
    f = DECORATORS[name](lambda x: x)
    f.cache_clear()

    def work(number):
        for turn in range(3000):
            f(turn % 15)

    crowd(work)
    info = f.cache_info()
    assert info.hits + info.misses == THREADS * 3000
    if name not in ("lru_cache(0)", "lru_cache(1)", "cached(1)") and "ttl" not in name:
        # Threads that met at a first call may each have missed.
        assert 15 <= info.misses <= 15 * THREADS
        assert info.currsize == 15


@decorators
def test_clearing_all_the_time(name):
    f = DECORATORS[name](lambda x: Value(x))
    done = threading.Event()

    def work(number):
        if number == 0:
            while not done.is_set():
                f.cache_clear()
            return True
        try:
            return all(f((turn * number) % 30).label == (turn * number) % 30 for turn in range(2500))
        finally:
            if number == 1:
                done.set()

    assert crowd(work) == [True] * THREADS
    f.cache_clear()
    assert f.cache_info()[:2] == (0, 0)
    assert f.cache_info().currsize == 0


@decorators
def test_clearing_from_within(name):
    """The function itself clears what others are filling."""
    maxsize = DECORATORS[name](abs).cache_info().maxsize
    turns = itertools.count()

    def function(x):
        if next(turns) % 3 == 0:
            f.cache_clear()
        return [x]

    f = DECORATORS[name](function)

    def work(number):
        for turn in range(1000):
            assert f((turn * (number + 3)) % 50) == [(turn * (number + 3)) % 50]
            assert maxsize is None or f.cache_info().currsize <= maxsize

    crowd(work)


@decorators
def test_values_are_dropped_when_the_last_thread_lets_go(name):
    alive = weakref.WeakSet()
    lock = threading.Lock()

    def function(x):
        value = Value(x)
        with lock:
            alive.add(value)
        return value

    f = DECORATORS[name](function)

    def work(number):
        for turn in range(1000):
            f((turn * (number + 1)) % 60)

    crowd(work)
    f.cache_clear()
    gc.collect()
    assert len(alive) == 0


def test_a_storm_of_everything_that_cached_can():
    """What a call returns is what the function makes of its arguments, whatever others do to the same keys."""
    shared = MemoryCache(15)
    functions = [
        cached(shared)(lambda x: ("one", x)),
        cached(shared, single_flight=False)(lambda x: ("two", x)),
        cached(shared, ttl=0.001, key=lambda x: x)(lambda x: ("three", x)),
    ]

    def work(number):
        for turn in range(2500):
            name, f = list(zip(("one", "two", "three"), functions, strict=True))[turn % 3]
            x = (turn * (number + 1)) % 12
            match (turn // 3) % 11:
                case 0:
                    f.cache_delete(x)
                case 1:
                    assert f.refresh(x) == (name, x)
                case 2:
                    f.cache.pop(f.cache_key(x), None)
                case 3 if turn % 9 == 0:
                    f.cache_clear()
                case 4 if turn % 7 == 0:
                    shared.resize(5 + turn % 20)
                case 5:
                    assert shared.get(f.cache_key(x), (name, x)) == (name, x)
                case 6 if turn % 50 == 0:
                    shared.clear()
                case _:
                    assert f(x) == (name, x)
            assert len(shared) <= 24

    crowd(work)
    assert len(shared) <= shared.maxsize
    assert all(value[0] in ("one", "two", "three") for value in shared.values())


@pytest.mark.parametrize("name", ["lru_cache", "cached", "cached(each)"])
def test_methods_of_many_instances(name):
    class Thing:
        @DECORATORS[name]
        def f(self, x):
            return self, x

    things = [Thing() for _ in range(8)]

    def work(number):
        for turn in range(2000):
            thing = things[(turn + number) % 8]
            result = thing.f(turn % 7)
            assert result[0] is thing
            assert result[1] == turn % 7
            assert thing.f.__self__ is thing

    crowd(work)


def test_decorating_and_dropping_functions():
    """Functions that come and go in one cache, while others use it."""
    shared = MemoryCache(50)

    def work(number):
        for turn in range(300):
            f = cached(shared)(lambda x, turn=turn: (number, turn, x))
            g = lru_cache(5)(f)
            for x in range(5):
                assert f(x) == (number, turn, x)
                assert g(x) == (number, turn, x)
            if turn % 5 == 0:
                f.cache_clear()

    crowd(work)
    assert len(shared) == 50


def test_deep_recursion_in_many_threads():
    @cached(maxsize=5000)
    def f(number, depth):
        return (f(number, depth - 1) if depth else 0) + 1

    @lru_cache(None)
    def g(number, depth):
        return (g(number, depth - 1) if depth else 0) + 1

    def work(number):
        return f(number, 100), g(number, 100), f(0, 120), g(0, 120)

    assert crowd(work) == [(101, 101, 121, 121)] * THREADS


def test_hits_of_coroutine_functions_in_many_loops():
    @cached(maxsize=20)
    async def f(x, y=0):
        if y:
            await asyncio.sleep(0)
        return x, y

    def work(number):
        async def main():
            for turn in range(1500):
                x = (turn * (number + 1)) % 15
                assert await f(x) == (x, 0)
                if turn % 10 == 0:
                    assert await f(x, turn % 3) == (x, turn % 3)
                assert len(f.cache) <= 20

        return drive(main, collect=False)

    for task in [Task(lambda number=number: work(number)) for number in range(THREADS)]:
        task.result(60)
    info = f.cache_info()
    assert info.hits + info.misses == THREADS * 1650
