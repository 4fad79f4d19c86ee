"""Plain functions in threads: one run however many call, failures to all who wait, no circles, nothing stale kept."""

import gc
import os
import threading
import time
import weakref

import pytest

from khronos_fast import LoaderCycle, MemoryCache, cached

from .support import (
    FREE_THREADED,
    PATIENCE,
    Clock,
    Flight,
    Refused,
    SameHash,
    Task,
    Value,
    attempts,
    is_same_failure,
    run_script,
    together,
    wait,
)

KEYS = ["k", 0, None, ("a", 1), SameHash(1)]


class TestStampede:
    @pytest.mark.parametrize("key", KEYS, ids=repr)
    def test_all_who_wait_get_the_value_of_one_run(self, key):
        def flight():
            value = Value()
            flight = Flight(cached, key).join(4)
            leader, waiters = flight.land(value)
            assert leader == (value, None)
            # The value is there from then on: who comes late is served from the cache.
            assert waiters == [(value, None)] * 4
            assert flight.runs == 1
            info = flight.f.cache_info()
            assert info.hits + info.misses == 5
            assert info.currsize == 1
            return info.misses > 1

        # Whether a call that waited counts as a miss is seen at the first one that was there in time.
        attempts(flight)

    def test_many_threads_and_keys(self):
        runs = []

        @cached
        def f(number):
            runs.append(number)
            time.sleep(0.0005)
            return Value(number)

        def ask(step):
            return lambda: {number: f(number) for number in sorted(range(60), key=lambda n: n * step % 61)}

        results = together(*[ask(step) for step in (1, 1, 2, 60, 30, 1)])
        assert sorted(runs) == list(range(60))
        assert all(result == results[0] for result in results)
        info = f.cache_info()
        assert info.hits + info.misses == 360
        assert info.currsize == 60

    def test_calls_that_are_written_differently_are_one(self):
        inside = []

        @cached
        def f(*args, **kwargs):
            inside.append(1)
            time.sleep(0.02)
            return Value()

        results = together(lambda: f(1, a=1, b=2), lambda: f(1.0, b=2, a=True), lambda: f(True, a=1.0, b=2))
        assert len(set(map(id, results))) == 1
        assert len(inside) == 1

    def test_different_calls_do_not_wait_for_each_other(self):
        all_inside = threading.Barrier(3)

        @cached
        def f(x):
            all_inside.wait(PATIENCE)
            return x

        marks = [SameHash(number) for number in range(3)]
        assert together(*[lambda mark=mark: f(mark) for mark in marks]) == marks

    def test_different_functions_do_not_wait_for_each_other(self):
        all_inside = threading.Barrier(3)
        cache = MemoryCache()

        def make(number):
            @cached(cache)
            def f(x):
                all_inside.wait(PATIENCE)
                return number, x

            return f

        functions = [make(number) for number in range(3)]
        assert together(*[lambda f=f: f(1) for f in functions]) == [(0, 1), (1, 1), (2, 1)]

    def test_hits_do_not_wait_for_loads(self):
        flight = Flight(cached)
        flight.f.cache[flight.f.cache_key("other")] = "there"
        assert Task(lambda: flight.f("other")).result() == "there"
        assert Task(lambda: flight.f("another")).result() == "own load"
        flight.f.cache_info(), flight.f.cache_key("k")
        assert flight.land()[0] == ("loaded", None)

    def test_of_methods(self):
        begun, go, runs = threading.Event(), threading.Event(), []

        class Thing:
            @cached
            def f(self, x):
                runs.append(self)
                begun.set()
                wait(go)
                return [self]

        one, two = Thing(), Thing()
        first = Task(lambda: one.f(1))
        wait(begun)
        second = Task(lambda: one.f(1))
        third = Task(lambda: two.f(1))
        time.sleep(0.03)
        go.set()
        assert first.result() is second.result()
        assert third.result() == [two]
        assert runs == [one, two]

    def test_what_the_cache_drops_at_once_still_reaches_all(self):
        def flight():
            clock = Clock()
            flight = Flight(cached(MemoryCache(1, timer=clock), ttl=1)).join(3)
            for number in range(5):
                flight.f.cache[number] = number
            clock.advance(100)
            leader, waiters = flight.land(raises=None)
            assert leader == ("loaded", None)
            assert set(waiters) <= {("loaded", None), ("own load", None)}
            return waiters == [("loaded", None)] * 3

        attempts(flight)


class TestFailure:
    @pytest.mark.parametrize("key", KEYS, ids=repr)
    def test_reaches_all_who_wait(self, key):
        def flight():
            error = Refused("no")
            flight = Flight(cached, key).join(4)
            leader, waiters = flight.land(raises=error)
            assert leader == (None, error)
            waited = [outcome for outcome in waiters if outcome[1] is not None]
            late = [outcome for outcome in waiters if outcome[1] is None]
            assert all(value is None and is_same_failure(raised, error) for value, raised in waited)
            assert late == [("own load", None)] * len(late)
            assert len(flight.f.cache) == bool(late)
            return len(waited) == 4

        attempts(flight)

    def test_is_not_remembered(self):
        for _ in range(20):
            flight = Flight(cached)
            leader, _ = flight.land(raises=Refused("no"))
            assert type(leader[1]) is Refused
            assert len(flight.f.cache) == 0
            assert flight.f("k") == "own load"

    def test_of_some_in_a_crowd(self):
        """Every call ends by a value or an exception of a run of its own key, and no failure is served again."""
        turn = iter(range(10**9))
        lock = threading.Lock()

        @cached(maxsize=5)
        def f(key):
            with lock:
                number = next(turn)
            if number % 3 == 0:
                raise Refused(key)
            return key, number

        def ask():
            ends = 0
            for number in range(1000):
                key = number % 8
                try:
                    value = f(key)
                except Refused as error:
                    ends += error.args == (key,)
                else:
                    ends += value[0] == key
            return ends

        assert together(*[ask] * 4) == [1000] * 4
        assert all(value[1] % 3 for value in f.cache.values())


class TestInterrupted:
    """KeyboardInterrupt and SystemExit concern the thread they are raised in; of those who wait, one takes over."""

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_alone(self, error):
        fails = [1]

        @cached
        def f(x):
            if fails:
                raise error
            return x

        for _ in range(3):
            with pytest.raises(error):
                f(1)
            assert len(f.cache) == 0
        fails.clear()
        assert f(1) == 1

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("count", [1, 4])
    def test_a_waiter_takes_over(self, error, count):
        flight = Flight(cached).join(count)
        (value, raised), waiters = flight.land(raises=error())
        assert value is None
        assert type(raised) is error
        assert waiters == [("own load", None)] * count
        assert flight.f("k") == "own load"
        assert flight.runs == 2

    def test_one_after_the_other(self):
        runs = []
        begun, go = threading.Event(), threading.Event()

        @cached
        def f(key):
            runs.append(1)
            begun.set()
            wait(go)
            raise KeyboardInterrupt

        tasks = [Task(lambda: f(1)) for _ in range(5)]
        wait(begun)
        time.sleep(0.03)
        assert len(runs) == 1
        go.set()
        assert {type(task.outcome()[1]) for task in tasks} == {KeyboardInterrupt}
        assert len(runs) == 5
        assert len(f.cache) == 0


class TestCircles:
    """A wait that could never end is an error instead."""

    @pytest.mark.parametrize("key", KEYS, ids=repr)
    def test_a_function_that_needs_its_own_result(self, key):
        @cached
        def f(x):
            return f(x)

        for _ in range(2):
            with pytest.raises(LoaderCycle):
                f(key)
            assert len(f.cache) == 0

    def test_recursion_that_ends_is_none(self):
        @cached
        def fibonacci(number):
            return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

        assert fibonacci(60) == 1548008755920
        assert fibonacci.cache_info()[:2] == (58, 61)

    def test_deep_recursion_is_an_error_and_no_crash(self):
        @cached(maxsize=10**6)
        def f(number):
            return f(number + 1)

        for _ in range(2):
            with pytest.raises(RecursionError):
                f(0)
            assert len(f.cache) == 0

    def test_through_other_keys(self):
        @cached
        def f(number):
            return f((number + 1) % 20)

        with pytest.raises(LoaderCycle):
            f(0)
        assert len(f.cache) == 0

    @pytest.mark.parametrize("cache", [None, MemoryCache()], ids=["a cache each", "one cache"])
    def test_through_other_functions(self, cache):
        functions = []

        def make(number):
            @cached(cache)
            def f(x):
                return functions[(number + 1) % 5](x)

            return f

        functions += [make(number) for number in range(5)]
        for f in functions:
            with pytest.raises(LoaderCycle):
                f(1)
            assert len(f.cache) == 0

    def test_through_a_method(self):
        class Thing:
            @cached
            def one(self):
                return self.two()

            @cached
            def two(self):
                return self.one()

        with pytest.raises(LoaderCycle):
            Thing().one()

    def test_the_same_arguments_of_another_function_are_none(self):
        cache = MemoryCache()
        functions = []

        def make(number):
            @cached(cache)
            def f(x):
                return [number, *(functions[number + 1](x) if number < 9 else [])]

            return f

        functions += [make(number) for number in range(10)]
        assert functions[0]("k") == list(range(10))

    def test_may_be_answered_by_the_function(self):
        @cached
        def f(x):
            try:
                return f(x)
            except LoaderCycle:
                return "fallback"

        assert f(1) == f(1) == "fallback"
        assert f.cache_info()[3] == 1

    def test_after_one_the_function_is_as_before(self):
        deep = [True]

        @cached
        def f(x):
            return f(x) if deep else x

        with pytest.raises(LoaderCycle):
            f(1)
        deep.clear()
        assert f(1) == 1
        assert Task(lambda: f(2)).result() == 2

    @pytest.mark.parametrize("size", [2, 3, 5])
    @pytest.mark.parametrize("functions", ["one function", "a function each"])
    @pytest.mark.parametrize("answered", [False, True])
    def test_over_threads(self, size, functions, answered):
        """Thread n loads key n and then needs key n + 1, round in a circle."""
        all_loading = threading.Barrier(size)
        cycles = []

        def function(number):
            if number not in started:
                started.append(number)
                all_loading.wait(PATIENCE)
            after = (number + 1) % size
            try:
                return 1 + each[after](after)
            except LoaderCycle:
                cycles.append(number)
                if answered:
                    return 0
                raise

        started = []
        one = cached(function)
        each = [one if functions == "one function" else cached(function) for _ in range(size)]
        tasks = [Task(lambda number=number: each[number](number)) for number in range(size)]
        outcomes = [task.outcome() for task in tasks]
        if answered:
            assert {error for _, error in outcomes} == {None}
            assert len(cycles) == 1 or (FREE_THREADED and 1 < len(cycles) <= size)
            for number in range(size):
                after = (number + 1) % size
                assert outcomes[number][0] == (0 if number in cycles else 1 + outcomes[after][0])
                assert each[number](number) == outcomes[number][0]
        else:
            assert {type(error) for _, error in outcomes} == {LoaderCycle}
            assert all(len(f.cache) == 0 for f in each)

    def test_waiting_for_what_waits_is_none(self):
        first = Flight(cached)
        begun = threading.Event()

        @cached
        def second(x):
            begun.set()
            return first.f("k") + "+second"

        chain = Task(lambda: second(1))
        wait(begun)
        third = Task(lambda: cached(lambda: second(1) + "+third")())
        diamond = Task(lambda: cached(lambda: first.f("k") + second(1))())
        time.sleep(0.03)
        first.land("first")
        assert chain.result() == "first+second"
        assert third.result() == "first+second+third"
        assert diamond.result() == "firstfirst+second"

    def test_with_get_or_compute_of_another_cache(self):
        cache = MemoryCache()

        @cached
        def f(x):
            return cache.get_or_compute("k", lambda: f(x))

        with pytest.raises(LoaderCycle):
            f(1)
        assert len(cache) == len(f.cache) == 0

    def test_says_what_to_look_for(self):
        @cached(name="users")
        def f(x):
            return f(x)

        with pytest.raises(LoaderCycle) as caught:
            f(1)
        assert str(caught.value)
        assert isinstance(caught.value, RuntimeError)


class TestChangedMeanwhile:
    """The run answers those who wait for it and is not stored."""

    CHANGES = {
        "cache_delete": lambda f: f.cache_delete("k"),
        "cache_clear": lambda f: f.cache_clear(),
        "set": lambda f: f.cache.set(f.cache_key("k"), "set"),
        "[]=": lambda f: f.cache.__setitem__(f.cache_key("k"), "set"),
        "set and delete": lambda f: (f.cache.set(f.cache_key("k"), "set"), f.cache_delete("k")),
        "delete": lambda f: f.cache.delete(f.cache_key("k")),
        "pop": lambda f: f.cache.pop(f.cache_key("k"), None),
        "clear": lambda f: f.cache.clear(),
        "refresh": lambda f: f.refresh("k"),
        "refresh and delete": lambda f: (f.refresh("k"), f.cache_delete("k")),
    }
    STORED = {"set": "set", "[]=": "set", "refresh": "own load"}

    @pytest.mark.parametrize("single_flight", [True, False])
    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("change", CHANGES)
    def test_by_another_thread(self, change, shared, single_flight):
        settings = {"single_flight": single_flight, "cache": MemoryCache() if shared else None}
        flight = Flight(cached(**settings))
        self.CHANGES[change](flight.f)
        assert flight.land()[0] == ("loaded", None)
        assert flight.f.cache.peek(flight.f.cache_key("k")) == self.STORED.get(change)
        assert flight.f.cache_info()[3] == (change in self.STORED)
        flight.f.cache_delete("k")
        assert flight.f("k") == "own load"
        assert len(flight.f.cache) == 1

    @pytest.mark.parametrize("change", CHANGES)
    def test_those_who_wait_are_answered(self, change):
        def flight():
            flight = Flight(cached).join(3)
            self.CHANGES[change](flight.f)
            leader, waiters = flight.land()
            assert leader == ("loaded", None)
            assert {error for _, error in waiters} == {None}
            if {value for value, _ in waiters} != {"loaded"}:
                return False
            assert flight.f.cache.peek(flight.f.cache_key("k")) == self.STORED.get(change)
            return True

        attempts(flight)

    @pytest.mark.parametrize("single_flight", [True, False])
    @pytest.mark.parametrize("change", CHANGES)
    def test_by_the_function_itself(self, change, single_flight):
        depth = []

        @cached(single_flight=single_flight)
        def f(x):
            if depth:
                return "own load"
            depth.append(1)
            self.CHANGES[change](f)
            return "loaded"

        if "refresh" in change and single_flight:
            # The function within itself: an answer or an error, and the next call is as any other.
            try:
                assert f("k") == "loaded"
            except LoaderCycle:
                assert len(f.cache) == 0
        else:
            assert f("k") == "loaded"
            assert f.cache.peek(f.cache_key("k")) == self.STORED.get(change)
        f.cache_clear()
        assert f("k") == "own load"
        assert len(f.cache) == 1

    @pytest.mark.parametrize("single_flight", [True, False])
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_failure_leaves_what_was_set(self, change, single_flight):
        flight = Flight(cached(single_flight=single_flight))
        self.CHANGES[change](flight.f)
        (_, error), _ = flight.land(raises=Refused("no"))
        assert type(error) is Refused
        assert flight.f.cache.peek(flight.f.cache_key("k")) == self.STORED.get(change)

    @pytest.mark.parametrize("change", ["cache_delete", "cache_clear", "clear", "refresh and delete", "pop"])
    def test_who_asks_after_the_change_gets_a_run_of_his_own(self, change):
        """The run began before the key was dropped: what it brings may be older than the drop."""
        flight = Flight(cached, own="newer")
        self.CHANGES[change](flight.f)
        assert Task(lambda: flight.f("k")).result() == "newer"
        assert flight.land("older")[0] == ("older", None)
        assert flight.f("k") == "newer"

    def test_other_keys_and_functions_do_not_matter(self):
        for change in (
            lambda f, g: f.cache_delete("other"),
            lambda f, g: f.refresh("other"),
            lambda f, g: f.cache.set("other", 1),
            lambda f, g: f.cache.touch(f.cache_key("k")),
            lambda f, g: f.cache.get(f.cache_key("k")),
            lambda f, g: f.cache.expire(),
            lambda f, g: g.cache_clear(),
            lambda f, g: g.cache_delete("k"),
            lambda f, g: g.refresh("k"),
        ):
            cache = MemoryCache()
            g = cached(cache)(lambda key: "g")
            g("k")
            flight = Flight(cached(cache))
            change(flight.f, g)
            flight.land()
            assert flight.f.cache.peek(flight.f.cache_key("k")) == "loaded"

    def test_clearing_twice(self):
        flight = Flight(cached)
        flight.f.cache_clear()
        again = Task(lambda: flight.f("k"))
        assert again.result() == "own load"
        flight.f.cache_clear()
        flight.land()
        assert len(flight.f.cache) == 0


class TestRefresh:
    def test_the_old_value_is_served_meanwhile(self):
        begun, go = threading.Event(), threading.Event()
        values = iter(["old", "new"])

        @cached
        def f(x):
            value = next(values)
            if value == "new":
                begun.set()
                wait(go)
            return value

        assert f(1) == "old"
        task = Task(lambda: f.refresh(1))
        wait(begun)
        assert Task(lambda: f(1)).result() == "old"
        go.set()
        assert task.result() == "new"
        assert f(1) == "new"

    @pytest.mark.parametrize("single_flight", [True, False])
    @pytest.mark.parametrize("change", ["cache_delete", "cache_clear", "set", "clear"])
    @pytest.mark.parametrize("there", [True, False])
    def test_is_not_stored_when_the_key_was_changed_meanwhile(self, change, there, single_flight):
        begun, go = threading.Event(), threading.Event()
        slow = []

        @cached(single_flight=single_flight)
        def f(x):
            if slow:
                begun.set()
                wait(go)
            return "refreshed" if slow else "old"

        if there:
            assert f("k") == "old"
        slow.append(1)
        task = Task(lambda: f.refresh("k"))
        wait(begun)
        TestChangedMeanwhile.CHANGES[change](f)
        go.set()
        assert task.result() == "refreshed"
        assert f.cache.peek(f.cache_key("k")) == ("set" if change == "set" else None)

    def test_that_fails_while_a_load_is_under_way(self):
        """The load is not stored: it began before the refresh, which somebody asked for who knew of a change."""
        begun, go = threading.Event(), threading.Event()

        @cached
        def f(x):
            if begun.is_set():
                raise Refused("no")
            begun.set()
            wait(go)
            return "loaded"

        task = Task(lambda: f(1))
        wait(begun)
        with pytest.raises(Refused):
            f.refresh(1)
        go.set()
        assert task.result() == "loaded"
        assert len(f.cache) == 0

    def test_of_many_threads_leaves_one_of_their_values(self):
        numbers = iter(range(10**9))
        lock = threading.Lock()

        @cached
        def f(x):
            with lock:
                return next(numbers)

        f(1)
        results = together(*[lambda: [f.refresh(1) for _ in range(200)]] * 4)
        everything = [value for result in results for value in result]
        assert len(set(everything)) == 800
        # Of those that overlapped any may be the last; but not one that was over before another began.
        assert f(1) in {result[-1] for result in results}
        assert len(f.cache) == 1

    def test_a_storm_of_everything(self):
        """What a call returns was begun after the last change that was complete before the call."""
        version = [0]

        @cached
        def f(x):
            return version[0]

        def change():
            for turn in range(1500):
                version[0] += 1
                if turn % 2:
                    f.cache_delete(1)
                else:
                    assert f.refresh(1) == version[0]
                assert f(1) == version[0], "stale"

        def ask():
            for _ in range(6000):
                before = version[0]
                assert before - 1 <= f(1) <= version[0]

        together(change, ask, ask)


class TestWithoutSingleFlight:
    def test_concurrent_calls_each_run_the_function(self):
        inside = threading.Barrier(3)
        values = []

        @cached(single_flight=False)
        def f(x):
            inside.wait(PATIENCE)
            values.append(Value())
            return values[-1]

        results = together(*[lambda: f(1)] * 3)
        assert len(set(map(id, results))) == 3
        assert f(1) in values
        assert f.cache_info() == (1, 3, 1000, 1)

    def test_a_failure_is_that_of_its_own_call(self):
        inside = threading.Barrier(3)
        turns = iter([1, 2, 3])
        lock = threading.Lock()

        @cached(single_flight=False)
        def f(x):
            with lock:
                turn = next(turns)
            inside.wait(PATIENCE)
            if turn == 2:
                raise Refused("no")
            return turn

        outcomes = [task.outcome() for task in [Task(lambda: f(1)) for _ in range(3)]]
        assert sorted(str(type(error)) for _, error in outcomes if error) == [str(Refused)]
        assert sorted(value for value, error in outcomes if not error) == [1, 3]
        assert f(1) in (1, 3)

    def test_a_function_may_need_its_own_result(self):
        depth = []

        @cached(single_flight=False)
        def f(x):
            depth.append(1)
            return f(x) + 1 if len(depth) < 5 else 0

        assert f(1) in (4, 0)
        assert len(depth) == 5
        assert f.cache_info()[3] == 1

    def test_endless_recursion_is_an_error_and_no_crash(self):
        @cached(single_flight=False)
        def f(x):
            return f(x)

        with pytest.raises(RecursionError):
            f(1)
        assert len(f.cache) == 0

    @pytest.mark.parametrize("error", [Refused, KeyboardInterrupt, SystemExit])
    def test_failures_are_not_remembered(self, error):
        fails = [1]

        @cached(single_flight=False)
        def f(x):
            if fails:
                raise error
            return x

        for _ in range(2):
            with pytest.raises(error):
                f(1)
        fails.clear()
        assert f(1) == 1


@pytest.mark.parametrize("single_flight", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_nothing_of_a_call_is_kept(fails, single_flight):
    class Argument:
        pass

    @cached(single_flight=single_flight)
    def f(x):
        if fails:
            raise Refused("no")
        return Value()

    def call():
        argument = Argument()
        try:
            f(argument)
        except Refused:
            pass
        assert f.cache_delete(argument) is not fails
        return weakref.ref(argument)

    reference = call()
    gc.collect()
    assert reference() is None


FORK = """
import os, signal, threading, time
from khronos_fast import MemoryCache, cached

begun, go = threading.Event(), threading.Event()
parent = os.getpid()

@cached
def f(key):
    if os.getpid() != parent:
        return "child"
    begun.set()
    assert go.wait(60)
    return "parent"

leader = threading.Thread(target=f, args=("k",))
leader.start()
assert begun.wait(60)
waiter = threading.Thread(target=f, args=("k",))
waiter.start()
time.sleep(0.05)
child = os.fork()
if child == 0:
    status = 1
    try:
        signal.alarm(30)  # a child that hangs dies of it
        assert f("other") == "child"
        assert f("k") == "child"
        assert f.refresh("k") == f("k") == "child"
        assert f.cache_delete("k") is True
        assert f("k") == "child"
        f.cache_clear()
        thread = threading.Thread(target=f, args=("thread",))
        thread.start()
        thread.join(20)
        assert f.cache[f.cache_key("thread")] == "child"
        status = 0
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
go.set()
leader.join(30)
waiter.join(30)
assert status == 0, status
assert f("k") == f.cache[f.cache_key("k")] == "parent"
"""

FORK_IN_FUNCTION = """
import os, signal
from khronos_fast import LoaderCycle, cached

@cached
def f(key):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        return "child"
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    return "parent"

@cached
def g(key):
    return key

value = f("k")
if value == "child":
    assert f("k") == "child"
    assert g("other") == "other"
    os._exit(0)
assert value == f("k") == "parent"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    def test_while_a_run_is_under_way_in_another_thread(self):
        run_script(FORK)

    def test_from_within_the_function(self):
        run_script(FORK_IN_FUNCTION)
