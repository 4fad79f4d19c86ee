"""`get_or_compute`: one load however many ask, failures to all who wait, circles refused, and nothing hangs."""

import contextlib
import gc
import os
import sys
import threading
import time
import weakref

import pytest

from khronos_fast import KhronosError, LoaderCycle, MemoryCache, RemovalCause

from .support import (
    FREE_THREADED,
    PATIENCE,
    Clock,
    Listener,
    SameHash,
    Task,
    Value,
    attempts,
    run_script,
    state,
    together,
    wait,
)

KEYS = ["k", 0, None, ("a", 1), SameHash(1)]


class Refused(Exception):
    pass


class Flight:
    """A load that is under way in a thread of its own until it is told to land, and those who wait for it.

    Nobody can see from outside that a thread waits in the cache; it can only be given the time to get there. One that
    came too late loads for itself, which is right as well, and is then not counted among those who waited.
    """

    def __init__(self, cache, key="k", ttl=...):
        self.cache, self.key, self.ttl = cache, key, ttl
        self.begun, self.go = threading.Event(), threading.Event()
        self.result = None
        self.raises = None
        self.waiters = []
        self.leader = Task(lambda: cache.get_or_compute(key, self._load, ttl=ttl))
        wait(self.begun)

    def _load(self):
        self.begun.set()
        wait(self.go)
        if self.raises is not None:
            raise self.raises
        return self.result

    def join(self, count=1, key=None, own="own load"):
        """Let threads ask for the same key; what they would load themselves is `own`."""
        arrived = []

        def ask():
            arrived.append(None)
            return self.cache.get_or_compute(self.key if key is None else key, lambda: own)

        self.waiters += [Task(ask) for _ in range(count)]
        until = time.monotonic() + PATIENCE
        while len(arrived) < count and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.03)
        return self

    def land(self, result=None, raises=None):
        """End the load: the leader's outcome and that of each waiter."""
        self.result, self.raises = result, raises
        self.go.set()
        return self.leader.outcome(), [waiter.outcome() for waiter in self.waiters]


class TestAlone:
    def test_loads_once_and_remembers(self):
        calls = []

        def load():
            calls.append(1)
            return "value"

        cache = MemoryCache()
        assert cache.get_or_compute("k", load) == "value"
        assert cache.get_or_compute("k", load) == "value"
        assert cache["k"] == "value"
        assert calls == [1]

    @pytest.mark.parametrize("value", [None, 0, "", False, [], {}], ids=repr)
    def test_every_value_is_one(self, value):
        cache = MemoryCache()
        for _ in range(3):
            assert cache.get_or_compute("k", lambda: value) is value
        assert cache.stats().loads == 1
        assert "k" in cache

    def test_the_loader_is_called_without_arguments(self):
        seen = []
        MemoryCache().get_or_compute("k", lambda *args, **kwargs: seen.append((args, kwargs)))
        assert seen == [((), {})]

    def test_time_to_live_begins_when_the_value_is_there(self):
        clock = Clock()
        cache = MemoryCache(timer=clock, ttl=100)

        def load():
            clock.advance(30)
            return 1

        cache.get_or_compute("a", load)
        assert cache.ttl("a") == 100
        cache.get_or_compute("b", load, ttl=10)
        assert cache.ttl("b") == 10
        cache.get_or_compute("c", load, ttl=None)
        assert cache.ttl("c") is None
        assert cache.ttl("a") == 40
        assert "b" not in cache

    def test_expired_is_loaded_again(self):
        clock = Clock()
        cache = MemoryCache(timer=clock, ttl=10)
        assert cache.get_or_compute("k", lambda: 1) == 1
        clock.advance(10)
        assert cache.get_or_compute("k", lambda: 2) == 2

    def test_failure_is_raised_and_not_remembered(self):
        cache = MemoryCache(timer=Clock())
        error = Refused("no")

        def fail():
            raise error

        for _ in range(3):
            with pytest.raises(Refused) as caught:
                cache.get_or_compute("k", fail)
            assert caught.value is error
            assert "k" not in cache
        assert cache.get_or_compute("k", lambda: 1) == 1
        stats = cache.stats()
        assert (stats.load_failures, stats.inserts, stats.misses) == (3, 1, 4)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_what_is_no_exception_leaves_no_trace(self, error):
        cache = MemoryCache()

        def fail():
            raise error

        for _ in range(2):
            with pytest.raises(error):
                cache.get_or_compute("k", fail)
            assert "k" not in cache
        assert cache.get_or_compute("k", lambda: 1) == 1

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (([], dict), TypeError),
            (("k", 5), TypeError),
            (("k", None), TypeError),
            (("k",), TypeError),
            (("k", dict, 0), ValueError),
            (("k", dict, -1), ValueError),
            (("k", dict, "5"), TypeError),
        ],
    )
    def test_bad_arguments_load_nothing(self, arguments, error):
        cache = MemoryCache(timer=Clock())
        before = cache.stats()
        with pytest.raises(error):
            cache.get_or_compute(*arguments)
        after = cache.stats()
        assert (after.loads, after.load_failures, after.size) == (0, 0, 0)
        assert before.inserts == after.inserts

    def test_reports_what_it_presses_out(self):
        listener = Listener()
        cache = MemoryCache(1, on_removal=listener)
        cache["a"] = 1
        cache.get_or_compute("b", lambda: 2)
        assert listener == [("a", 1, RemovalCause.EVICTED)]

    def test_a_loader_may_use_the_cache(self):
        cache = MemoryCache(3)
        cache["b"] = 2

        def load():
            cache["c"] = cache["b"] + 1
            cache.get_or_compute("d", lambda: 4)
            assert cache.get("a") is None
            assert "a" not in cache
            return sum(cache.values())

        assert cache.get_or_compute("a", load) == 9
        assert cache["a"] == 9

    def test_loads_within_loads(self):
        cache = MemoryCache(1000)

        def fibonacci(number):
            if number < 2:
                return number
            return cache.get_or_compute(number - 1, lambda: fibonacci(number - 1)) + cache.get_or_compute(
                number - 2, lambda: fibonacci(number - 2)
            )

        assert cache.get_or_compute(60, lambda: fibonacci(60)) == 1548008755920
        assert cache.stats().loads == 61


class TestOwnKeyChangedMeanwhile:
    """The load answers those who wait for it and is not stored."""

    CHANGES = {
        "set": lambda cache: cache.set("k", "set"),
        "[]=": lambda cache: cache.__setitem__("k", "set"),
        "setdefault": lambda cache: cache.setdefault("k", "set"),
        "update": lambda cache: cache.update(k="set"),
        "set_many": lambda cache: cache.set_many({"k": "set"}),
        "set and delete": lambda cache: (cache.set("k", "set"), cache.delete("k")),
        "set and pop": lambda cache: (cache.set("k", "set"), cache.pop("k")),
        "set and del": lambda cache: (cache.set("k", "set"), cache.__delitem__("k")),
        "delete": lambda cache: cache.delete("k"),
        "pop": lambda cache: cache.pop("k", None),
        "delete_many": lambda cache: cache.delete_many(["k"]),
        "clear": lambda cache: cache.clear(),
        "set and clear": lambda cache: (cache.set("k", "set"), cache.clear()),
    }
    STORED = {"set", "[]=", "setdefault", "update", "set_many"}

    @pytest.mark.parametrize("change", CHANGES)
    def test_by_the_loader_itself(self, change):
        cache = MemoryCache()

        def load():
            self.CHANGES[change](cache)
            return "loaded"

        assert cache.get_or_compute("k", load) == "loaded"
        assert cache.peek("k") == ("set" if change in self.STORED else None)
        assert len(cache) == (change in self.STORED)
        # And the next one is a load as any other.
        cache.delete("k")
        assert cache.get_or_compute("k", lambda: "again") == "again"
        assert cache["k"] == "again"

    @pytest.mark.parametrize("change", CHANGES)
    def test_by_another_thread(self, change):
        def flight():
            cache = MemoryCache()
            flight = Flight(cache).join(2)
            self.CHANGES[change](cache)
            (value, error), waiters = flight.land("loaded")
            assert (value, error) == ("loaded", None)
            waited = [value for value, _ in waiters if value == "loaded"]
            assert {error for _, error in waiters} == {None}
            if len(waited) < len(waiters):
                return False
            assert cache.peek("k") == ("set" if change in self.STORED else None)
            return True

        attempts(flight)

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_failure_leaves_what_was_set(self, change):
        cache = MemoryCache()
        flight = Flight(cache)
        self.CHANGES[change](cache)
        (_, error), _ = flight.land(raises=Refused("no"))
        assert isinstance(error, Refused)
        assert cache.peek("k") == ("set" if change in self.STORED else None)

    @pytest.mark.parametrize("change", ["delete", "clear", "set and delete", "pop"])
    def test_who_asks_after_the_change_gets_a_load_of_his_own(self, change):
        """The load began before the key was dropped: what it brings may be older than the drop."""
        cache = MemoryCache()
        flight = Flight(cache)
        self.CHANGES[change](cache)
        assert Task(lambda: cache.get_or_compute("k", lambda: "newer")).result() == "newer"
        flight.land("older")
        assert cache["k"] == "newer"

    def test_other_keys_do_not_matter(self):
        for change in (
            lambda cache: cache.set("other", 1),
            lambda cache: cache.delete("other"),
            lambda cache: cache.get("k"),
            lambda cache: cache.touch("k"),
            lambda cache: cache.expire(),
            lambda cache: cache.resize(5),
            lambda cache: cache.pop("other", None),
            lambda cache: list(cache.items()),
        ):
            cache = MemoryCache()
            cache["other"] = 0
            flight = Flight(cache)
            change(cache)
            flight.land("loaded")
            assert cache["k"] == "loaded"

    def test_one_of_two_keys_of_the_same_hash(self):
        cache = MemoryCache()
        one, two = SameHash(1), SameHash(2)
        flights = Flight(cache, one), Flight(cache, two)
        assert cache.delete(SameHash(1)) is False
        flights[0].land("one")
        flights[1].land("two")
        assert cache == {two: "two"}


class TestSingleFlight:
    @pytest.mark.parametrize("key", KEYS, ids=repr)
    def test_all_who_wait_get_the_value_of_one_load(self, key):
        def flight():
            cache = MemoryCache()
            value = Value()
            flight = Flight(cache, key).join(4)
            leader, waiters = flight.land(value)
            assert leader == (value, None)
            # The value is there from then on: who comes late is served from the cache.
            assert waiters == [(value, None)] * 4
            stats = cache.stats()
            assert (stats.loads, stats.load_failures, stats.inserts) == (1, 0, 1)
            assert stats.hits + stats.misses == 5
            return stats.misses > 1

        attempts(flight)

    @pytest.mark.parametrize("key", KEYS, ids=repr)
    def test_all_who_wait_get_the_exception(self, key):
        def flight():
            cache = MemoryCache()
            error = Refused("no")
            flight = Flight(cache, key).join(4)
            leader, waiters = flight.land(raises=error)
            assert leader == (None, error)
            waited = [outcome for outcome in waiters if outcome[1] is not None]
            late = [outcome for outcome in waiters if outcome[1] is None]
            assert [(value, type(raised), raised.args) for value, raised in waited] == [(None, Refused, ("no",))] * len(
                waited
            )
            assert FREE_THREADED or all(raised is error for _, raised in waited)
            assert late == [("own load", None)] * len(late)
            assert (key in cache) is bool(late)
            return len(waited) == 4

        attempts(flight)

    def test_equal_keys_are_one(self):
        def flight():
            cache = MemoryCache()
            flight = Flight(cache, 1).join(1, key=1.0).join(1, key=True)
            leader, waiters = flight.land("loaded")
            assert leader == ("loaded", None)
            assert waiters == [("loaded", None)] * 2
            assert cache.stats().loads == 1
            return True

        attempts(flight)

    def test_different_keys_do_not_wait_for_each_other(self):
        cache = MemoryCache()
        keys = [SameHash(1), SameHash(2), SameHash(3)]
        flights = [Flight(cache, key) for key in keys]
        for flight, key in reversed(list(zip(flights, keys, strict=True))):
            leader, _ = flight.land(key)
            assert leader == (key, None)
        assert list(cache.values()) == keys[::-1]

    def test_different_caches_do_not_wait_for_each_other(self):
        one, two = MemoryCache(), MemoryCache()
        flight = Flight(one)
        assert Task(lambda: two.get_or_compute("k", lambda: 2)).result() == 2
        assert flight.land(1)[0] == (1, None)

    def test_others_use_the_cache_meanwhile(self):
        cache = MemoryCache()
        flight = Flight(cache).join(2)

        def use():
            assert cache.get("k") is None
            assert "k" not in cache
            cache["a"] = 1
            cache.get("a"), cache.stats(), len(cache), list(cache.items()), cache.expire(), cache.resize(10)
            return cache.pop("a")

        assert Task(use).result() == 1
        assert flight.land("loaded")[0] == ("loaded", None)

    def test_a_value_that_expires_or_is_pressed_out_at_once_still_reaches_all(self):
        def flight():
            cache = MemoryCache(1)
            flight = Flight(cache, ttl=1e-9).join(3)
            leader, waiters = flight.land("loaded")
            assert leader == ("loaded", None)
            assert {outcome for outcome in waiters} <= {("loaded", None), ("own load", None)}
            return waiters == [("loaded", None)] * 3

        attempts(flight)

    def test_after_a_failure_the_next_loads_anew(self):
        cache = MemoryCache()
        for turn in range(50):
            flight = Flight(cache, "k")
            flight.land(raises=Refused(turn))
            assert "k" not in cache
        assert cache.get_or_compute("k", lambda: 1) == 1

    def test_many_threads_and_keys(self):
        cache = MemoryCache(1000)
        loaded = []
        count = 8

        def ask(offset):
            def run():
                return [
                    cache.get_or_compute((turn * 7 + offset) % 100, lambda turn=turn: loaded.append(turn) or Value())
                    for turn in range(400)
                ]

            return run

        results = together(*[ask(0) for _ in range(count)])
        assert len(loaded) == 100
        assert all(result == results[0] for result in results)
        assert cache.stats().loads == 100

    def test_a_storm_around_those_who_wait(self):
        """The load that lands wakes them, whatever else happened to the cache."""
        cache = MemoryCache(1)
        flight = Flight(cache).join(3)
        for turn in range(100):
            cache[turn] = turn
            cache.clear()
        _, waiters = flight.land("loaded")
        assert all(outcome in [("loaded", None), ("own load", None)] for outcome in waiters)


class TestLeaderInterrupted:
    """KeyboardInterrupt and SystemExit concern the thread they are raised in; of those who wait, one takes over."""

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("count", [1, 4])
    def test_a_waiter_takes_over(self, error, count):
        cache = MemoryCache()
        flight = Flight(cache).join(count)
        (value, raised), waiters = flight.land(raises=error())
        assert value is None
        assert type(raised) is error
        assert waiters == [("own load", None)] * count
        assert cache["k"] == "own load"
        assert cache.stats().inserts == 1

    def test_one_after_the_other(self):
        cache = MemoryCache()
        loads = []
        flight = Flight(cache)

        def interrupted():
            loads.append(1)
            raise KeyboardInterrupt

        waiters = [Task(lambda: cache.get_or_compute("k", interrupted)) for _ in range(4)]
        time.sleep(0.03)
        flight.land(raises=KeyboardInterrupt())
        outcomes = [waiter.outcome() for waiter in waiters]
        assert [type(error) for _, error in outcomes] == [KeyboardInterrupt] * 4
        assert len(loads) == 4
        assert cache.get_or_compute("k", lambda: 1) == 1


class TestCircles:
    """A wait that could never end is an error instead."""

    def test_is_an_error_of_ours_and_a_runtime_error(self):
        assert issubclass(LoaderCycle, KhronosError)
        assert issubclass(LoaderCycle, RuntimeError)

    @pytest.mark.parametrize("key", KEYS, ids=repr)
    def test_a_loader_that_needs_its_own_key(self, key):
        cache = MemoryCache()
        with pytest.raises(LoaderCycle):
            cache.get_or_compute(key, lambda: cache.get_or_compute(key, dict))
        assert key not in cache
        assert cache.get_or_compute(key, lambda: 1) == 1

    def test_through_other_keys(self):
        cache = MemoryCache()

        def load(number):
            return cache.get_or_compute(number, lambda: load((number + 1) % 20))

        with pytest.raises(LoaderCycle):
            load(0)
        assert len(cache) == 0

    def test_through_another_cache(self):
        one, two = MemoryCache(), MemoryCache()
        with pytest.raises(LoaderCycle):
            one.get_or_compute("k", lambda: two.get_or_compute("k", lambda: one.get_or_compute("k", dict)))
        assert len(one) == len(two) == 0

    def test_may_be_answered_by_the_loader(self):
        cache = MemoryCache()

        def load():
            try:
                return cache.get_or_compute("k", dict)
            except LoaderCycle:
                return "fallback"

        assert cache.get_or_compute("k", load) == "fallback"
        assert cache["k"] == "fallback"

    @pytest.mark.parametrize("size", [2, 3, 5])
    @pytest.mark.parametrize("caches", ["one cache", "a cache each"])
    @pytest.mark.parametrize("kind", [int, SameHash])
    @pytest.mark.parametrize("answered", [False, True])
    def test_over_threads(self, size, caches, kind, answered):
        """Thread n loads key n and then needs key n + 1, round in a circle."""
        one = MemoryCache()
        each = [one if caches == "one cache" else MemoryCache() for _ in range(size)]
        all_loading = threading.Barrier(size)
        cycles = []

        def run(number):
            def load():
                all_loading.wait(PATIENCE)
                after = (number + 1) % size
                try:
                    return 1 + each[after].get_or_compute(kind(after), lambda: pytest.fail("it is under way"))
                except LoaderCycle:
                    cycles.append(number)
                    if answered:
                        return 0
                    raise

            return lambda: each[number].get_or_compute(kind(number), load)

        tasks = [Task(run(number)) for number in range(size)]
        outcomes = [task.outcome() for task in tasks]
        if answered:
            assert {error for _, error in outcomes} == {None}
            # One was told, and answered; the others waited for it and for each other. Where threads run at the same
            # time, several may close the circle at once.
            assert len(cycles) == 1 or (FREE_THREADED and 1 < len(cycles) <= size)
            for number in range(size):
                after = (number + 1) % size
                assert outcomes[number][0] == (0 if number in cycles else 1 + outcomes[after][0])
                assert each[number][kind(number)] == outcomes[number][0]
        else:
            assert {type(error) for _, error in outcomes} == {LoaderCycle}
            assert all(len(cache) == 0 for cache in each)
        for number in range(size):
            assert each[number].get_or_compute(kind(number), lambda: "again") in ("again", outcomes[number][0])

    def test_no_circle_no_error(self):
        """Waiting for a load that waits for a load is no circle."""
        cache = MemoryCache()
        first = Flight(cache, "first")
        second_begun = threading.Event()

        def second():
            second_begun.set()
            return cache.get_or_compute("first", lambda: "own") + "+second"

        chain = Task(lambda: cache.get_or_compute("second", second))
        wait(second_begun)
        third = Task(
            lambda: cache.get_or_compute("third", lambda: cache.get_or_compute("second", lambda: "own") + "+third")
        )
        diamond = Task(
            lambda: cache.get_or_compute(
                "diamond", lambda: cache.get_or_compute("first", str) + cache.get_or_compute("second", str)
            )
        )
        time.sleep(0.03)
        first.land("first")
        assert chain.result() == "first+second"
        assert third.result() == "first+second+third"
        assert diamond.result() == "firstfirst+second"

    def test_the_same_key_in_another_cache_is_no_circle(self):
        caches = [MemoryCache() for _ in range(10)]

        def load(number):
            if number == len(caches):
                return "end"
            return caches[number].get_or_compute("k", lambda: load(number + 1))

        assert load(0) == "end"
        assert all(cache["k"] == "end" for cache in caches)

    def test_a_thread_that_once_waited_is_not_taken_for_one_that_waits(self):
        cache = MemoryCache()
        begun, go = threading.Event(), threading.Event()

        def both():
            cache.get_or_compute("a", lambda: 1)

            def load():
                begun.set()
                wait(go)
                return 2

            return cache.get_or_compute("b", load)

        for _ in range(20):
            cache.clear()
            begun.clear()
            go.clear()
            task = Task(both)
            wait(begun)
            cache.delete("a")
            go.set()
            assert cache.get_or_compute("a", lambda: cache.get_or_compute("b", lambda: 2)) == 2
            assert task.result() == 2

    def test_says_which_cache_and_what_to_do(self):
        cache = MemoryCache(name="users")
        with pytest.raises(LoaderCycle) as caught:
            cache.get_or_compute("k", lambda: cache.get_or_compute("k", dict))
        assert "load" in str(caught.value)


class TestStorms:
    def test_loads_deletes_and_clears_at_once(self):
        """Whatever happens to the key meanwhile: every call returns, with something that was loaded."""
        cache = MemoryCache(4)
        counter = iter(range(10**9))
        lock = threading.Lock()

        def load():
            with lock:
                number = next(counter)
            if number % 7 == 0:
                raise Refused(number)
            return ("loaded", number)

        def ask():
            for turn in range(1500):
                try:
                    value = cache.get_or_compute(turn % 6, load)
                except Refused:
                    continue
                assert value[0] in ("loaded", "set")

        def disturb():
            for turn in range(1500):
                match turn % 5:
                    case 0:
                        cache.delete(turn % 6)
                    case 1:
                        cache[turn % 6] = ("set", turn)
                    case 2:
                        cache.clear()
                    case 3:
                        cache.pop(turn % 6, None)
                    case 4:
                        cache.resize(1 + turn % 6)

        together(ask, ask, ask, ask, disturb)
        stats = cache.stats()
        assert stats.hits + stats.misses == 4 * 1500
        assert len(cache) <= stats.maxsize
        cache.clear()
        for key in range(6):
            assert cache.get_or_compute(key, lambda: "fresh") == "fresh"

    def test_circles_of_any_kind(self):
        """Loaders that need random other keys: each call ends, by a value or by LoaderCycle."""
        cache = MemoryCache(50)

        def load(key, depth, seed):
            def loader():
                if depth == 0:
                    return 0
                other = (key * 31 + seed) % 8
                return 1 + load(other, depth - 1, seed)

            return cache.get_or_compute(key, loader)

        def run(seed):
            def task():
                ended = 0
                for turn in range(300):
                    try:
                        load((turn + seed) % 8, 4, turn * seed)
                    except LoaderCycle:
                        pass
                    ended += 1
                    if turn % 3 == 0:
                        cache.clear()
                return ended

            return task

        assert together(*[run(seed) for seed in (1, 3, 5, 7)]) == [300] * 4


FORK = """
import os, signal, sys, threading, time
from khronos_fast import MemoryCache

cache = MemoryCache()
other = MemoryCache()
begun, go = threading.Event(), threading.Event()

def load():
    begun.set()
    assert go.wait(60)
    return "parent"

leader = threading.Thread(target=lambda: cache.get_or_compute("k", load))
leader.start()
assert begun.wait(60)
waiter = threading.Thread(target=lambda: cache.get_or_compute("k", load))
waiter.start()
time.sleep(0.05)
child = os.fork()
if child == 0:
    status = 1
    try:
        signal.alarm(30)  # a child that hangs dies of it
        assert cache.get_or_compute("other", lambda: 1) == 1
        assert cache.get_or_compute("k", lambda: "child") == "child"
        assert cache["k"] == "child"
        assert other.get_or_compute("k", lambda: cache.get_or_compute("z", lambda: 5)) == 5
        cache.clear()
        assert cache.get_or_compute("k", lambda: "again") == "again"
        thread = threading.Thread(target=lambda: cache.get_or_compute("t", lambda: 2))
        thread.start()
        thread.join(20)
        assert cache["t"] == 2
        status = 0
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
go.set()
leader.join(30)
waiter.join(30)
assert status == 0, status
assert cache["k"] == "parent"
"""

FORK_IN_LOADER = """
import os, signal
from khronos_fast import MemoryCache, LoaderCycle

cache = MemoryCache()

def load():
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        # A circle, or a load that the child takes for lost: it must end.
        try:
            cache.get_or_compute("k", lambda: "anew")
        except LoaderCycle:
            pass
        return "child"
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    return "parent"

value = cache.get_or_compute("k", load)
if value == "child":
    assert cache.get_or_compute("other", lambda: 1) == 1
    os._exit(0)
assert value == cache["k"] == "parent"
"""

FORK_UNDER_USE = """
import os, signal, sys, threading, time
from khronos_fast import MemoryCache

class Key:
    def __init__(self, n): self.n = n
    def __hash__(self): return self.n % 3
    def __eq__(self, other): return isinstance(other, Key) and self.n == other.n

cache = MemoryCache(50, ttl=0.01, on_removal=lambda *removal: None)
stop = False

def use(seed):
    turn = seed
    while not stop:
        turn += 1
        cache.set(Key(turn % 80), turn)
        cache.get(Key(turn * 7 % 80))
        cache.get_or_compute(turn % 30, lambda: turn)
        if turn % 50 == 0:
            cache.clear()

threads = [threading.Thread(target=use, args=(seed,), daemon=True) for seed in range(3)]
for thread in threads:
    thread.start()
try:
    for _ in range(15):
        time.sleep(0.005)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(30)
                for turn in range(200):
                    cache.set(turn, turn)
                    cache.get(turn)
                    cache.get_or_compute(("child", turn), lambda: turn)
                cache.stats(), len(cache), cache.clear(), cache.items()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
finally:
    stop = True
    for thread in threads:
        thread.join(30)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    def test_while_a_load_is_under_way_in_another_thread(self):
        run_script(FORK)

    def test_from_within_a_loader(self):
        run_script(FORK_IN_LOADER)

    @pytest.mark.skipif(sys.platform == "darwin", reason="system libraries of macOS do not survive this")
    def test_while_other_threads_use_the_cache(self):
        run_script(FORK_UNDER_USE)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_load_is_kept(fails):
    class Loader:
        def __call__(self):
            if fails:
                raise Refused("no")
            return Value()

    class Key:
        pass

    def load():
        loader, key = Loader(), Key()
        with contextlib.suppress(Refused):
            cache.get_or_compute(key, loader)
        assert cache.delete(key) is not fails
        return weakref.ref(loader), weakref.ref(key)

    cache = MemoryCache()
    kept = load()
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


def test_state_is_untouched_by_a_load_that_fails():
    cache = MemoryCache(2, ttl=100, timer=Clock())
    cache.update(a=1, b=2)
    before = state(cache)[1:]
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("c", lambda: 1 // 0)
    assert state(cache)[1:] == before


class TakesTwo(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.two = two


@pytest.mark.skipif(not FREE_THREADED, reason="with the interpreter lock threads may raise one object")
@pytest.mark.parametrize("error", [KeyError("k"), OSError(2, "gone", "name"), TakesTwo(1, 2)], ids=repr)
def test_without_the_lock_no_two_threads_raise_the_same_object(error):
    """Raising one writes its traceback, which CPython does not guard: it was freed twice, or never."""
    error.__cause__ = LookupError()
    cache = MemoryCache()
    flight = Flight(cache).join(4)
    (_, raised), waiters = flight.land(raises=error)
    assert raised is error
    others = [each for _, each in waiters if each is not None]
    assert others
    assert len({id(each) for each in [error, *others]}) == 1 + len(others)
    for each in others:
        assert type(each) is type(error)
        assert (each.args, str(each), vars(each)) == (error.args, str(error), vars(error))
        assert each.__cause__ is error.__cause__
