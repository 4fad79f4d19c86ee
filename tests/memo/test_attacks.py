"""What a hostile reader found, each as a test."""

import asyncio
import contextlib
import gc
import inspect
import io
import math
import pickle
import threading
import time
import traceback
import types
import warnings
import weakref
from unittest.mock import AsyncMock

import pytest

from khronos_fast import LoaderCycle, MemoryCache, cached, lru_cache

from .support import PATIENCE, Gate, Refused, Task, Value, drive, outcome, outcomes, run_script, settle


class Abort(BaseException):
    """No Exception, as what test frameworks end a test with."""


class TestTheCoroutine:
    def test_a_mock_of_a_coroutine_function(self):
        """It has a `__code__` that is none."""

        async def main():
            task = asyncio.create_task(cached(AsyncMock(return_value=3))(1))
            assert "Task" in repr(task)
            assert await task == 3

        drive(main)

    def test_the_frame_of_a_function_with_a_closure(self):
        outer = 5

        @cached
        async def f(x):
            return x + outer

        coroutine = f(1)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        assert inspect.getcoroutinelocals(coroutine) == {}
        assert coroutine.cr_frame.f_lineno == f.__wrapped__.__code__.co_firstlineno
        assert coroutine.cr_frame.f_code.co_name == "f"
        coroutine.close()
        assert coroutine.cr_frame is None

    def test_made_without_a_function(self):
        @cached
        async def f(x):
            return x

        coroutine = f(1)
        kind = type(coroutine)
        coroutine.close()
        with contextlib.suppress(TypeError):
            empty = kind()
            for name in ("__name__", "__qualname__", "cr_code", "cr_frame", "cr_await"):
                assert getattr(empty, name) is None
            assert isinstance(repr(empty), str)
            with pytest.raises(RuntimeError):
                empty.send(None)

    def test_never_awaited_and_part_of_a_circle(self):
        @cached
        async def f(x):
            return x

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            circle = [f(1)]
            circle.append(circle)
            del circle
            gc.collect()
        assert [str(each.message) for each in seen] == [
            "coroutine 'TestTheCoroutine.test_never_awaited_and_part_of_a_circle.<locals>.f' was never awaited"
        ]

    def test_never_awaited_and_collected_with_its_function(self):
        run_script(
            """
import gc, warnings
from khronos_fast import cached

def build():
    class Holder:
        pass

    @cached
    async def f(x):
        pass

    holder = Holder()
    holder.f, f.holder = f, holder
    holder.coroutine = f(holder)

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    build()
    gc.collect()
assert [each.category for each in seen] == [RuntimeWarning], seen
"""
        )

    def test_what_is_caught_keeps_nobody_s_frame(self):
        @cached
        async def f(x):
            return x

        asyncio.run(f(1))

        def by_hand():
            value = Value()
            try:
                f(1).send(None)
            except StopIteration as end:
                return weakref.ref(value), end.value, end.args
            raise AssertionError("a hit ends at once")

        reference, *carried = by_hand()
        assert carried == [1, (1,)]
        assert reference() is None

    def test_its_load_is_cancelled_before_it_has_begun(self):
        """Nothing is left that was never awaited."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            call = asyncio.create_task(f(1))
            await asyncio.sleep(0)
            [load] = asyncio.all_tasks() - {asyncio.current_task(), call}
            load.cancel()
            assert (await outcome(call))[1] is asyncio.CancelledError
            assert len(gate) == 0

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            drive(main)
            gc.collect()
        assert seen == []

    def test_a_finalizer_that_comes_across_one_that_was_collected(self):
        found = []

        class Finder:
            def __del__(self):
                try:
                    self.coroutine.send(None)
                except RuntimeError as error:
                    found.append(str(error))
                except BaseException as error:
                    found.append(type(error))

        async def main():
            gate = Gate()
            f = cached(gate.run)
            coroutine = f(1)
            coroutine.send(None)
            gate_task = asyncio.all_tasks() - {asyncio.current_task()}
            finder = Finder()
            finder.coroutine = coroutine
            finder.circle = finder
            del finder, coroutine
            for task in gate_task:
                task.cancel()
            await settle()
            gc.collect()

        drive(main)
        assert len(found) == 1

    def test_the_stack_of_a_load_can_be_printed(self):
        async def main():
            gate = Gate()
            f = cached(gate.run, name="the one that loads")
            call = asyncio.create_task(f(1))
            await settle()
            [load] = asyncio.all_tasks() - {asyncio.current_task(), call}
            text = io.StringIO()
            load.print_stack(file=text)
            assert "the one that loads" in repr(load)
            assert "the one that loads" in text.getvalue()
            gate[0].land()
            await call

        drive(main)


class TestWhatIsRaised:
    def test_no_exception_reaches_the_one_who_began(self):
        async def main():
            @cached
            async def f(x):
                raise Abort(x)

            with pytest.raises(Abort):
                await f(1)
            assert len(f.cache) == 0

        drive(main)

    @pytest.mark.parametrize("single_flight", [True, False])
    def test_while_it_is_cancelled(self, single_flight):
        """What the function makes of being cancelled is not lost."""

        async def main():
            @cached(single_flight=single_flight)
            async def f(x):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise Refused("instead") from None

            task = asyncio.create_task(f(1))
            await settle()
            task.cancel()
            _, error = await outcome(task)
            assert type(error) is Refused

        drive(main)

    def test_threads_are_told_the_same(self):
        """Also where each gets an exception of its own, and the class makes its message itself."""
        waiting = threading.Semaphore(0)
        go_on = threading.Event()
        made = []

        class NotFound(Exception):
            def __init__(self, what):
                made.append(what)
                super().__init__(f"no such thing: {what}")

        class Picky(Exception):
            def __new__(cls, *args, code):
                return super().__new__(cls, *args)

            def __init__(self, *args, code):
                super().__init__(*args)
                self.code = code

        @cached
        def f(x):
            go_on.wait(PATIENCE)
            try:
                {}[x]
            except KeyError:
                raise NotFound(x) if x == 1 else Picky(x, code=5)  # noqa: B904 - its context is what this is about

        def ask(x):
            waiting.release()
            try:
                f(x)
            except Exception as error:
                return type(error), str(error), type(error.__context__), vars(error)

        for x in (1, 2):
            go_on.clear()
            tasks = [Task(lambda x=x: ask(x)) for _ in range(8)]
            for _ in tasks:
                assert waiting.acquire(timeout=PATIENCE)
            time.sleep(0.05)
            go_on.set()
            results = [task.result() for task in tasks]
            assert results == [results[0]] * 8
        assert len(made) <= 8

    def test_threads_show_the_load_s_traceback_and_not_each_other_s(self):
        waiting = threading.Semaphore(0)
        go_on = threading.Event()

        @cached
        def f(x):
            go_on.wait(PATIENCE)
            raise Refused("no")

        def ask():
            waiting.release()
            try:
                f(1)
            except Refused as error:
                return len(traceback.extract_tb(error.__traceback__))

        tasks = [Task(ask) for _ in range(20)]
        for _ in tasks:
            assert waiting.acquire(timeout=PATIENCE)
        go_on.set()
        assert max(task.result() for task in tasks) < 10


class TestLoads:
    @pytest.mark.parametrize("single_flight", [True, False])
    def test_many_at_once(self, single_flight):
        """More than any table begins with; it grows, and is given back."""

        async def main():
            gate = asyncio.Event()

            @cached(maxsize=10_000, single_flight=single_flight)
            async def f(x):
                await gate.wait()
                return x

            tasks = [asyncio.create_task(f(number)) for number in range(3000)]
            await settle(3)
            for number in range(0, 3000, 3):
                f.cache_delete(number)
            for task in tasks[1::3]:
                task.cancel()
            await settle(5)
            gate.set()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for number, result in enumerate(done):
                if number % 3 == 1:
                    assert isinstance(result, asyncio.CancelledError)
                else:
                    assert result == number
            kept = {number for number in range(3000) if f.cache.peek(f.cache_key(number)) is not None}
            assert kept == set(range(2, 3000, 3))

        drive(main)

    @pytest.mark.parametrize("change", ["delete", "set"])
    def test_of_a_key_that_is_not_equal_to_itself(self, change):
        nan = math.nan
        cache = MemoryCache()

        def load():
            if change == "delete":
                cache.delete(nan)
            else:
                cache[nan] = "newer"
            return "older"

        assert cache.get_or_compute(nan, load) == "older"
        assert cache.get(nan) == (None if change == "delete" else "newer")

    def test_of_a_key_that_refuses_to_be_compared(self):
        class Key:
            __hash__ = object.__hash__

            def __eq__(self, other):
                raise Refused("==")

        key, cache = Key(), MemoryCache()
        assert cache.get_or_compute(key, lambda: cache.delete(key)) is False
        assert key not in cache

    def test_another_loop_that_passed_by_does_not_keep_a_load_alive(self):
        ended = []

        @cached
        async def f(x):
            try:
                await asyncio.sleep(PATIENCE if not ended else 0)
            finally:
                ended.append(asyncio.get_running_loop())

        with asyncio.Runner() as one:
            loop = one.get_loop()
            call = loop.create_task(f(1))
            loop.run_until_complete(settle())
            # That loop stands still; so this one loads by itself.
            other = Task(lambda: asyncio.run(asyncio.wait_for(f(1), 0.2)))
            with contextlib.suppress(TimeoutError):
                other.result()
            call.cancel()
            assert loop.run_until_complete(outcomes([call]))[0][1] is asyncio.CancelledError
            assert ended.count(loop) == 1

    def test_a_circle_through_what_is_still_being_cleaned_up(self):
        """The one waits for the other to end, and that, cleaning up, for the first."""

        async def main():
            @cached
            async def one(x):
                try:
                    async with asyncio.timeout(0.05):
                        return await other(x)
                except TimeoutError:
                    return "fallback"

            @cached
            async def other(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    await one(x)

            with pytest.raises(LoaderCycle):
                await one(1)
            assert len(one.cache) == len(other.cache) == 0

        drive(main)

    @pytest.mark.parametrize("end", ["failure", "cancelled"])
    def test_leave_no_circle_with_their_arguments(self, end):
        """Without the collector, that is: a plain coroutine's arguments go with its failure, too."""

        class Argument:
            pass

        async def main():
            @cached
            async def f(x):
                if end == "failure":
                    raise Refused("no")
                await asyncio.Event().wait()

            argument = Argument()
            reference = weakref.ref(argument)
            call = asyncio.create_task(f(argument))
            await settle()
            call.cancel()
            await asyncio.wait([call])
            if end == "failure":
                call.exception()
            del argument, call
            await settle()
            return reference() is None

        gc.collect()
        gc.disable()
        try:
            assert asyncio.run(main())
        finally:
            gc.enable()

    def test_ctrl_c_in_a_load_interrupts_the_loop_once(self):
        @cached
        async def f(x):
            await asyncio.sleep(0)
            raise KeyboardInterrupt

        async def main():
            await f(1)

        interrupts = 0
        loop = asyncio.new_event_loop()
        try:
            task = loop.create_task(main())
            for _ in range(3):
                try:
                    loop.run_until_complete(asyncio.sleep(0.01))
                except KeyboardInterrupt:
                    interrupts += 1
            assert interrupts == 1
            assert task.cancelled()
        finally:
            loop.close()


class TestKeys:
    @pytest.mark.parametrize("shared", [False, True])
    def test_numbers_that_are_equal_are_one_call(self, shared):
        f = cached(MemoryCache() if shared else None)(lambda *args: Value(args))
        assert f(1) is f(1.0) is f(True)
        assert f(1, 2) is f(1.0, 2) is f(True, 2)
        assert f("1") is not f(1)

    def test_a_shared_cache_with_calls_that_can_t_be_found_again(self):
        cache = MemoryCache()
        f = cached(cache)(lambda x: x)
        f(1)
        with pytest.raises(pickle.PicklingError, match="not found"):
            pickle.dumps(cache)


class TestSmallThings:
    def test_a_bound_method_has_the_method_s_documentation(self):
        class Thing:
            @cached
            def method(self):
                """What it does."""

        assert Thing().method.__doc__ == Thing.method.__doc__ == "What it does."
        assert Thing().method.__module__ == Thing.__module__
        assert not isinstance(Thing().method, types.MethodType)

    def test_maxsize_is_a_number(self):
        info = lru_cache(True)(len).cache_info()
        assert type(info.maxsize) is int
        with pytest.raises(TypeError, match="typed, not 1"):
            lru_cache(len, 1)
