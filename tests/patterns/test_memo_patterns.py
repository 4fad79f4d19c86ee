"""Memoized functions whose calls are remembered under text, and forgotten by pattern."""

import asyncio
import itertools
import threading

import pytest

from khronos_fast import Glob, MemoryCache, RemovalCause, cached
from khronos_fast._core.audit import audit

from .support import (
    PATIENCE,
    Clock,
    Counted,
    Gate,
    Listener,
    LoopThread,
    Task,
    attempts,
    drive,
    outcome,
    outcomes,
    settle,
    together,
    until,
    wait,
)

# Those that select "user:1" by an index, by a walk, and by name.
PATTERNS = ["user:*", "*:1", "user:1", "*", Glob("us?r:[1]"), b"user:*"]


def of_text(*args):
    return ":".join(map(str, args))


class TestResults:
    def test_of_one_text_are_kept_under_it(self):
        function = Counted()
        f = cached(function)
        for key in ("user:1", "user:2", "other:1"):
            f(key)
        assert f.cache.invalidate("user:*") == 2
        for key in ("user:1", "user:2", "other:1"):
            f(key)
        assert [args for args, _ in function.calls] == [
            ("user:1",),
            ("user:2",),
            ("other:1",),
            ("user:1",),
            ("user:2",),
        ]
        audit(f.cache)

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_under_a_key_of_one_s_own(self, pattern):
        function = Counted()
        f = cached(key=lambda user, **options: f"user:{user}")(function)
        f(1), f(1, fresh=True)
        assert len(function) == 1
        assert f.cache.invalidate(pattern) == 1
        f(1), f(1)
        assert len(function) == 2
        assert f.cache_info().currsize == 1
        audit(f.cache)

    def test_of_other_calls_are_never_selected(self):
        """Their keys are no text, whatever text is in them."""
        function = Counted()
        f = cached(function)
        calls = [
            ((1,), {}),
            (("a", "b"), {}),
            ((), {"x": "a"}),
            ((), {}),
            ((("a",),), {}),
            ((None,), {}),
            ((b"a",), {}),
        ]
        for args, kwargs in calls:
            f(*args, **kwargs)
        f("a")
        for pattern in ("nobody", "b*", "a:*"):
            assert f.cache.invalidate(pattern) == 0
        assert f.cache.invalidate("*") == 1
        assert len(f.cache) == len(calls)
        for args, kwargs in calls:
            f(*args, **kwargs)
        assert len(function) == len(calls) + 1

    def test_of_functions_that_share_a_cache(self):
        """A call's key has the function in it, and is no text; what is stored there directly may be."""
        cache = MemoryCache()
        function = Counted()
        f, g = cached(cache)(function), cached(cache, key=of_text)(function)
        f("user:1"), g("user", 1)
        cache["user:1"] = "direct"
        assert cache.invalidate("*") == 1
        f("user:1"), g("user", 1)
        assert len(function) == 2
        assert len(cache) == 2

    def test_of_methods(self):
        class Shop:
            @cached(key=lambda self, user: f"user:{user}:orders")
            def orders(self, user):
                calls.append(user)
                return [user]

        calls, shop = [], Shop()
        shop.orders(1), shop.orders(2), shop.orders(1)
        assert Shop.orders.cache.invalidate("user:1:*") == 1
        shop.orders(1), shop.orders(2)
        assert calls == [1, 2, 1]

    def test_of_coroutine_functions(self):
        async def main():
            @cached(key=of_text)
            async def f(*args):
                calls.append(args)
                return args

            calls = []
            await f("user", 1), await f("user", 2), await f("x")
            assert f.cache.invalidate("user:*") == 2
            assert await f("user", 1) == ("user", 1)
            await f("x")
            assert calls == [("user", 1), ("user", 2), ("x",), ("user", 1)]
            audit(f.cache)

        drive(main)

    def test_that_expired(self):
        clock, listener = Clock(), Listener()
        # A cache that is shared has keys that are no text, so here it is one that the text is put into as well.
        cache = MemoryCache(timer=clock, ttl=10, on_removal=listener)
        f = cached(cache)(lambda x: x)
        f("user:1")
        cache["user:1"] = 1
        clock.advance(10)
        assert cache.invalidate("*") == 0
        cache.expire()
        assert [cause for _, _, cause in listener] == [RemovalCause.EXPIRED] * 2

    def test_by_the_function_itself(self):
        """What it computes then was under way, and is not kept."""

        def function(key):
            calls.append(key)
            assert f.cache.invalidate("user:*") == 0
            return key

        calls = []
        f = cached(function)
        assert f("user:1") == f("user:1") == "user:1"
        assert f("other:1") == f("other:1") == "other:1"
        assert calls == ["user:1", "user:1", "other:1"]
        assert list(f.cache) == ["other:1"]


class Run:
    """A call that runs in a thread until it is told to land; later ones return at once."""

    def __init__(self, key, single_flight=True):
        self.begun, self.go = threading.Event(), threading.Event()
        self.runs = itertools.count(1)
        self.f = cached(key=of_text, single_flight=single_flight)(self.work)
        self.key = key
        self.leader = Task(lambda: self.f(key))
        wait(self.begun)

    def work(self, key):
        run = next(self.runs)
        if run == 1:
            self.begun.set()
            wait(self.go)
        return f"run {run}"

    def land(self):
        self.go.set()
        return self.leader.result()


class TestRunsUnderWay:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_answer_those_who_wait_and_are_not_kept(self, pattern):
        def flight():
            run = Run("user:1")
            arrived = threading.Event()
            waiter = Task(lambda: (arrived.set(), run.f("user:1"))[1])
            wait(arrived)
            threading.Event().wait(0.03)
            assert run.f.cache.invalidate(pattern) == 0
            assert run.land() == "run 1"
            if waiter.result() != "run 1":
                return False
            assert len(run.f.cache) == 0
            assert run.f("user:1") == "run 2"
            audit(run.f.cache)
            return True

        attempts(flight)

    @pytest.mark.parametrize("pattern", ["user:2", "user:1:*", "other:*", ""])
    def test_of_others_are_kept(self, pattern):
        run = Run("user:1")
        assert run.f.cache.invalidate(pattern) == 0
        assert run.land() == "run 1"
        assert run.f("user:1") == "run 1"

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("single_flight", [True, False])
    def test_a_call_after_it_runs_anew(self, pattern, single_flight):
        run = Run("user:1", single_flight)
        run.f.cache.invalidate(pattern)
        assert run.f("user:1") == "run 2"
        assert run.land() == "run 1"
        assert run.f("user:1") == "run 2"
        assert run.f.cache.peek("user:1") == "run 2"

    def test_and_results_that_are_there(self):
        run = Run("user:1")
        run.f("user:2"), run.f("other:3")
        assert run.f.cache.invalidate("user:*") == 1
        run.land()
        assert list(run.f.cache) == ["other:3"]

    def test_refreshed(self):
        """A refresh is a run like others."""
        gone = []

        def function(key):
            if gone:
                f.cache.invalidate(gone.pop())
            return next(serial)

        serial = itertools.count(1)
        f = cached(function)
        assert f("user:1") == 1
        gone.append("user:*")
        assert f.refresh("user:1") == 2
        assert len(f.cache) == 0
        gone.append("other:*")
        assert f.refresh("user:1") == 3
        assert f("user:1") == 3

    def test_in_threads_nothing_older_is_returned(self):
        serial = itertools.count(1)
        f = cached(lambda key: next(serial))
        done = threading.Event()

        def call():
            try:
                for _ in range(2000):
                    f("user:1")
            finally:
                done.set()

        def invalidate(pattern):
            while not done.is_set():
                before = next(serial)
                f.cache.invalidate(pattern)
                assert f("user:1") > before

        together(call, call, lambda: invalidate("user:*"), lambda: invalidate("*:1"))
        audit(f.cache)


class TestTasksUnderWay:
    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("count", [1, 3])
    def test_answer_those_who_wait_and_are_not_kept(self, pattern, count):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = [asyncio.create_task(f("user:1")) for _ in range(count)]
            await settle()
            assert len(gate) == 1
            assert f.cache.invalidate(pattern) == 0
            gate[0].land()
            assert await outcomes(tasks) == [("loaded", None)] * count
            assert len(f.cache) == 0
            audit(f.cache)

        drive(main)

    @pytest.mark.parametrize("pattern", ["user:2", "user:1:*", "x*"])
    def test_of_others_are_kept(self, pattern):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f("user:1"))
            await settle()
            assert f.cache.invalidate(pattern) == 0
            gate[0].land()
            await outcome(task)
            assert await f("user:1") == "loaded"
            assert len(gate) == 1

        drive(main)

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("older_first", [True, False])
    def test_a_call_after_it_runs_anew(self, pattern, older_first):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            older = asyncio.create_task(f("user:1"))
            await settle()
            f.cache.invalidate(pattern)
            newer = asyncio.create_task(f("user:1"))
            await settle()
            assert len(gate) == 2
            for run, result in [(0, "older"), (1, "newer")][:: 1 if older_first else -1]:
                gate[run].land(result)
                await settle()
            assert await outcomes([older, newer]) == [("older", None), ("newer", None)]
            assert await f("user:1") == "newer"
            assert len(gate) == 2

        drive(main)

    def test_invalidated_again_and_again(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = []
            for turn in range(12):
                tasks.append(asyncio.create_task(f("user:1")))
                await settle(5)
                f.cache.invalidate(PATTERNS[turn % len(PATTERNS)])
            assert len(gate) == 12
            for turn in (3, 0, 11, 5, 1, 2, 4, 10, 9, 8, 7, 6):
                gate[turn].land(turn)
            assert await outcomes(tasks) == [(turn, None) for turn in range(12)]
            assert len(f.cache) == 0

        drive(main)

    def test_cancelled_or_failed_afterwards(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            cancelled = asyncio.create_task(f("user:1"))
            failed = asyncio.create_task(f("user:2"))
            await settle()
            f.cache.invalidate("user:*")
            cancelled.cancel()
            gate[1].fail(ZeroDivisionError())
            assert (await outcome(cancelled))[1] is asyncio.CancelledError
            assert isinstance((await outcome(failed))[1], ZeroDivisionError)
            assert gate[0].cancelled
            again = asyncio.create_task(f("user:1"))
            await settle()
            gate[2].land("again")
            assert await again == await f("user:1") == "again"

        drive(main)

    def test_by_another_thread(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f("user:1"))
            await settle()
            assert await asyncio.to_thread(f.cache.invalidate, "user:*") == 0
            gate[0].land()
            assert await outcome(task) == ("loaded", None)
            assert len(f.cache) == 0

        drive(main)

    def test_in_another_loop(self):
        with LoopThread() as other:
            gate = Gate()
            f = cached(gate.run)
            task = other.start(f, "user:1")
            other.result(until, lambda: len(gate) == 1)
            assert f.cache.invalidate("user:*") == 0
            other.do(gate[0].land)
            assert other.outcome(task) == ("loaded", None)
            assert len(f.cache) == 0

    def test_by_the_coroutine_itself(self):
        async def main():
            @cached(key=of_text)
            async def f(*args):
                await asyncio.sleep(0)
                f.cache.invalidate("user:*")
                return args

            assert await asyncio.gather(f("user", 1), f("user", 1), f("x")) == [("user", 1), ("user", 1), ("x",)]
            assert list(f.cache) == ["x"]

        drive(main)

    def test_of_many_calls(self):
        async def main():
            gate = asyncio.Event()

            @cached(maxsize=10_000)
            async def f(key):
                await gate.wait()
                return key

            keys = [f"{'ab'[number % 2]}:{number % 7}:{number}" for number in range(2000)]
            tasks = [asyncio.create_task(f(key)) for key in keys]
            await settle(3)
            assert f.cache.invalidate("a:*") == f.cache.invalidate("*:3:*") == 0
            gate.set()
            assert await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE) == keys
            assert {*f.cache} == {key for key in keys if not key.startswith("a:") and ":3:" not in key}
            assert f.cache.invalidate("b:*") == len(set(keys)) - len({k for k in keys if k[0] == "a" or ":3:" in k})
            audit(f.cache)

        drive(main)

    def test_a_loop_that_runs_while_a_large_invalidation_does(self):
        """Calls that begin and end meanwhile get what they should, and what is theirs stays."""

        async def main():
            serial = itertools.count()

            @cached(maxsize=200_000)
            async def f(key):
                await asyncio.sleep(0)
                return next(serial)

            f.cache.update((f"a:{number}", -1) for number in range(60_000))
            invalidation = asyncio.get_running_loop().run_in_executor(None, f.cache.invalidate, "a:*")
            seen = {}
            for number in itertools.count():
                key = f"a:{number % 60_000}"
                seen[key] = await f(key)
                if invalidation.done() and number > 100:
                    break
            assert await invalidation <= 60_000
            # Whoever got an old value got it before everything was gone.
            values = list(seen.values())
            first = next((index for index, value in enumerate(values) if value >= 0), len(values))
            assert all(value >= 0 for value in values[first:])
            last = f"a:{number % 60_000}"
            assert f.cache.peek(last) in (seen[last], None)
            audit(f.cache)

        drive(main)
