"""Coroutine functions: real coroutines, hits without a task, one run for all, cancellation of all kinds, dead loops."""

import asyncio
import collections.abc
import contextlib
import contextvars
import functools
import gc
import inspect
import io
import os
import sys
import threading
import weakref

import pytest

from khronos_fast import LoaderCycle, MemoryCache, cached

from .support import (
    PATIENCE,
    VALUES,
    Clock,
    Gate,
    LoopThread,
    Refused,
    Task,
    Value,
    drive,
    forget,
    is_same_failure,
    outcome,
    outcomes,
    pending,
    run_script,
    settle,
    uncollected,
    until,
)

CANCELLED = (None, asyncio.CancelledError)


@cached
async def double(x):
    return [x, x]


class Thing:
    @cached
    async def method(self, x):
        return [self, x]


class TestWhatACallReturns:
    def calls(self):
        return [
            double(1),
            Thing().method(1),
            functools.partial(double, 1)(),
            double.refresh(1),
            Thing().method.refresh(2),
        ]

    def test_a_coroutine_by_every_test(self):
        for coroutine in self.calls():
            assert inspect.iscoroutine(coroutine)
            assert asyncio.iscoroutine(coroutine)
            assert isinstance(coroutine, collections.abc.Coroutine)
            assert isinstance(coroutine, collections.abc.Awaitable)
            assert inspect.isawaitable(coroutine)
            assert not inspect.isgenerator(coroutine)
            assert not inspect.isasyncgen(coroutine)
            coroutine.close()

    def test_the_function_is_a_coroutine_function(self):
        for function in (
            double,
            Thing.method,
            Thing().method,
            functools.partial(double, 1),
            functools.partial(Thing().method, 1),
            functools.partial(functools.partial(Thing.method), Thing()),
        ):
            assert inspect.iscoroutinefunction(function)
            assert not inspect.isasyncgenfunction(function)

    def test_it_can_be_run_in_every_way(self):
        double.cache_clear()
        for _ in range(2):
            assert asyncio.run(double(1)) == [1, 1]
            with asyncio.Runner() as runner:
                assert runner.run(double(2)) == [2, 2]
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(double(3)) == [3, 3]
            loop.close()

        async def main():
            loop = asyncio.get_running_loop()
            for number in (1, 4):
                assert await double(number) == [number] * 2
                assert await asyncio.create_task(double(number)) == [number] * 2
                assert await loop.create_task(double(number)) == [number] * 2
                assert await asyncio.ensure_future(double(number)) == [number] * 2
                assert await asyncio.wait_for(double(number), PATIENCE) == [number] * 2
                assert await asyncio.shield(double(number)) == [number] * 2
                assert await asyncio.gather(double(number), double(number + 5)) == [[number] * 2, [number + 5] * 2]
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(double(number)) for _ in range(3)]
                assert [task.result() for task in tasks] == [[number] * 2] * 3
                for future in asyncio.as_completed([double(number)]):
                    assert await future == [number] * 2

        drive(main)

    def test_it_can_be_handed_to_another_thread(self):
        with LoopThread() as other:
            for _ in range(2):
                assert asyncio.run_coroutine_threadsafe(double("other"), other.loop).result(PATIENCE) == ["other"] * 2

    @pytest.mark.parametrize("hit", [True, False])
    def test_nothing_happens_before_it_is_awaited(self, hit):
        async def main():
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                return x

            if hit:
                await f(1)
                f.cache_clear()
                runs.clear()
                f.cache[f.cache_key(1)] = 1
            coroutine = f(1)
            await settle()
            assert f.cache_info()[:2] == (0, 0)
            assert runs == []
            assert await coroutine == 1
            assert f.cache_info()[:2] == ((1, 0) if hit else (0, 1))

        drive(main)

    def test_the_look_up_is_that_of_the_moment_when_it_is_awaited(self):
        async def main():
            @cached
            async def f(x):
                return "run"

            before, after = f(1), f(2)
            f.cache[f.cache_key(1)] = "set"
            assert await before == "set"
            f.cache[f.cache_key(2)] = "set"
            f.cache_delete(2)
            assert await after == "run"

        drive(main)

    @pytest.mark.parametrize("hit", [True, False])
    def test_never_awaited_is_warned_of(self, hit):
        @cached
        async def some_function(x):
            return x

        if hit:
            asyncio.run(some_function(1))
        warned = uncollected(lambda: some_function(1))
        assert len(warned) == 1
        assert warned[0].startswith("coroutine '")
        assert "some_function" in warned[0]
        assert warned[0].endswith("' was never awaited")
        assert len(uncollected(lambda: some_function.refresh(1))) == 1
        assert len(some_function.cache) == hit

    @pytest.mark.parametrize("hit", [True, False])
    def test_closed_instead_of_awaited_is_fine(self, hit):
        @cached
        async def f(x):
            return x

        if hit:
            asyncio.run(f(1))

        def close():
            coroutine = f(1)
            coroutine.close()
            coroutine.close()

        assert uncollected(close) == []
        assert len(f.cache) == hit

    @pytest.mark.parametrize("hit", [True, False])
    def test_awaited_once_only(self, hit):
        async def main():
            @cached
            async def f(x):
                return x

            if hit:
                await f(1)
            coroutine = f(1)
            assert await coroutine == 1
            for _ in range(2):
                with pytest.raises(RuntimeError, match="already awaited"):
                    await coroutine
            closed = f(1)
            closed.close()
            with pytest.raises(RuntimeError):
                await closed

        drive(main)

    def test_awaited_by_two_at_a_time(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            coroutine = f(1)

            async def wait_for_it():
                return await coroutine

            one = asyncio.create_task(wait_for_it())
            await settle()
            two = asyncio.create_task(wait_for_it())
            await settle()
            gate[0].land()
            assert await outcome(one) == ("loaded", None)
            assert type((await outcome(two))[1]) is RuntimeError

        drive(main)

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_driven_by_hand(self, value):
        """A hit needs no loop; and the value arrives whole, even where it is an exception or a tuple."""

        @cached
        async def f(x):
            return value

        assert asyncio.run(f(1)) is value
        for send in (lambda c: c.send(None), lambda c: next(c.__await__()), lambda c: c.__await__().send(None)):
            with pytest.raises(StopIteration) as caught:
                send(f(1))
            assert caught.value.value is value

    def test_driven_wrongly(self):
        @cached
        async def f(x):
            return x

        asyncio.run(f(1))
        for argument in (1, 2):
            coroutine = f(argument)
            with pytest.raises(TypeError):
                coroutine.send(5)
            coroutine.close()
            coroutine = f(argument)
            with pytest.raises(Refused):
                coroutine.throw(Refused("thrown in before the start"))
            with pytest.raises(RuntimeError):
                coroutine.send(None)
        assert len(f.cache) == 1

    def test_a_miss_needs_a_loop(self):
        """Without one it ends by an error and not by a crash or a hang, and there is nothing left of it."""

        @cached
        async def f(x):
            await asyncio.sleep(0)
            return x

        def drive_it():
            with contextlib.closing(f(1)) as coroutine:
                for _ in range(5):
                    coroutine.send(None)

        with pytest.raises(RuntimeError):
            drive_it()
        assert asyncio.run(asyncio.wait_for(f(1), PATIENCE)) == 1

    def test_names(self):
        """What tasks, warnings and debuggers call it."""
        gate = Gate()
        f = cached(gate.run)

        async def main():
            coroutine = f(1)
            assert "run" in coroutine.__name__
            assert "Gate.run" in coroutine.__qualname__
            assert "run" in repr(coroutine)
            task = asyncio.create_task(coroutine)
            await settle()
            assert "run" in repr(task)
            assert isinstance(task.get_stack(), list)
            gate[0].land()
            await task

        drive(main)

    def test_in_debug_mode(self):
        async def main():
            assert await asyncio.create_task(double("debug")) == ["debug"] * 2
            assert await double("debug") == ["debug"] * 2
            task = asyncio.create_task(double("debug 2"))
            assert isinstance(repr(task), str)
            task.print_stack(file=io.StringIO())
            await task
            task = asyncio.create_task(double("debug 3"))
            task.cancel()
            assert await outcome(task) == CANCELLED

        assert uncollected(lambda: drive(main, debug=True)) == []

    def test_a_comprehension_a_with_and_a_for(self):
        """Where one awaits makes no difference."""

        class Context:
            async def __aenter__(self):
                return await double(1)

            async def __aexit__(self, *error):
                return await double(2) is None

        class Each:
            def __aiter__(self):
                return self

            async def __anext__(self):
                if (await double(3))[0] != 3:
                    raise AssertionError
                raise StopAsyncIteration

        async def main():
            async with Context() as value:
                assert value == [1, 1]
            async for _ in Each():
                raise AssertionError
            assert [await double(number) for number in (1, 2)] == [[1, 1], [2, 2]]

        drive(main)


class TestHits:
    @pytest.mark.parametrize("settings", [{}, {"ttl": 60}, {"typed": True}, {"single_flight": False}], ids=repr)
    def test_make_no_task_and_do_not_give_way(self, settings):
        async def main():
            @cached(**settings)
            async def f(x):
                await asyncio.sleep(0)
                return [x]

            value = await f(1)
            loop = asyncio.get_running_loop()
            made, others = [], []
            loop.set_task_factory(
                lambda *args, **kwargs: made.append(args) or asyncio.Task(args[1], loop=loop, **kwargs)
            )
            loop.call_soon(others.append, 1)
            for _ in range(100):
                assert await f(1) is value
            assert made == []
            assert others == [], "a hit let others run in between"
            await f(2)
            # The test can see a task where there is one.
            assert len(made) == (1 if settings.get("single_flight", True) else len(made))
            loop.set_task_factory(None)

        drive(main)

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    @pytest.mark.parametrize("single_flight", [True, False])
    def test_every_value_is_one(self, value, single_flight):
        async def main():
            gate = Gate()
            f = cached(single_flight=single_flight)(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(3)]
            await settle()
            for run in gate.runs:
                run.land(value)
            for result, error in await outcomes(tasks):
                assert result is value
                assert error is None
            for _ in range(2):
                assert await f(1) is value
            assert len(gate) == (1 if single_flight else 3)

        if isinstance(value, StopIteration):
            # A future refuses it, so the function can only return it.
            @cached(single_flight=single_flight)
            async def f(x):
                return value

            assert asyncio.run(f(1)) is value
            assert asyncio.run(f(1)) is value
        else:
            drive(main)

    def test_in_any_loop(self):
        value = asyncio.run(double("any loop"))
        for _ in range(3):
            assert asyncio.run(double("any loop")) is value


class TestMisses:
    def test_a_thousand_at_once_run_the_function_once(self):
        async def main():
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                await asyncio.sleep(0.01)
                return Value(x)

            results = await asyncio.gather(*[f("k") for _ in range(1000)])
            assert runs == ["k"]
            assert set(map(id, results)) == {id(await f("k"))}
            info = f.cache_info()
            assert info.hits + info.misses == 1001
            assert info.currsize == 1

        drive(main)

    def test_many_keys_at_once(self):
        async def main():
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                await asyncio.sleep(0)
                return [x]

            results = await asyncio.gather(*[f(number % 50) for number in range(1000)])
            assert sorted(runs) == list(range(50))
            assert all(result is results[number % 50] for number, result in enumerate(results))

        drive(main)

    def test_late_comers_join(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = []
            for _ in range(5):
                tasks.append(asyncio.create_task(f(1)))
                await settle()
            assert len(gate) == 1
            assert not any(task.done() for task in tasks)
            gate[0].land()
            assert await outcomes(tasks) == [("loaded", None)] * 5
            assert len(gate) == 1

        drive(main)

    def test_a_function_that_never_waits(self):
        async def main():
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                return [x]

            results = await asyncio.gather(*[f(1) for _ in range(10)])
            assert all(result is results[0] for result in results)
            assert runs == [1]

        drive(main)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that start eagerly came with 3.12")
    @pytest.mark.parametrize("waits", [True, False])
    def test_tasks_that_start_eagerly(self, waits):
        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                if waits:
                    await asyncio.sleep(0.01)
                if x == "fail":
                    raise Refused("no")
                return [x]

            results = await asyncio.gather(*[f(1) for _ in range(10)])
            assert all(result is results[0] for result in results)
            assert runs == [1]
            for error in await asyncio.gather(*[f("fail") for _ in range(3)], return_exceptions=True):
                assert type(error) is Refused
            assert len(f.cache) == 1

            @cached
            async def circle(x):
                return await asyncio.create_task(circle(x))

            with pytest.raises(LoaderCycle):
                await circle(1)

        drive(main)

    def test_the_function_sees_the_context_of_the_one_who_began(self):
        variable = contextvars.ContextVar("variable", default="nothing")

        async def main():
            @cached
            async def f(x):
                await asyncio.sleep(0)
                return variable.get()

            variable.set("mine")
            assert await f(1) == "mine"
            assert variable.get() == "mine"

        drive(main)

    def test_what_is_expired_is_loaded_again(self):
        async def main():
            clock = Clock()
            gate = Gate()
            f = cached(MemoryCache(timer=clock), ttl=10)(gate.run)
            for number in range(3):
                task = asyncio.create_task(f(1))
                await settle()
                clock.advance(5)
                gate[number].land(number)
                assert await task == number
                assert f.cache.ttl(f.cache_key(1)) == 10
                clock.advance(10)

        drive(main)

    def test_of_methods(self):
        async def main():
            gate = Gate()

            class Each:
                @cached
                async def f(self, x):
                    return [self, await gate.run(x)]

            one, two = Each(), Each()
            tasks = [asyncio.create_task(thing.f(1)) for thing in (one, two, one, two)]
            await settle()
            assert len(gate) == 2
            gate[0].land("a"), gate[1].land("b")
            results = [result for result, _ in await outcomes(tasks)]
            assert results == [[one, "a"], [two, "b"]] * 2
            assert results[0] is results[2]
            assert one.f.cache_delete(1) is True

        drive(main)

    def test_from_a_plain_cached_function(self):
        """It blocks, as any function does; but it has its own loop, and nothing hangs."""

        @cached
        def plain(x):
            return asyncio.run(double(("plain", x)))

        assert plain(1) == [("plain", 1)] * 2
        assert plain(1) is plain(1)

    def test_unhashable_arguments(self):
        async def main():
            @cached
            async def f(*args, **kwargs):
                return args

            for args, kwargs, words in (
                (([],), {}, "argument 1"),
                ((1, []), {}, "argument 2"),
                ((1,), {"name": {}}, "argument 'name'"),
            ):
                for coroutine in (f(*args, **kwargs), f.refresh(*args, **kwargs)):
                    # Not when called.
                    await settle(1)
                    with pytest.raises(TypeError, match=words):
                        await coroutine

        drive(main)


class TestFailure:
    @pytest.mark.parametrize("single_flight", [True, False])
    def test_reaches_all_who_wait_and_is_not_remembered(self, single_flight):
        async def main():
            gate = Gate()
            f = cached(single_flight=single_flight)(gate.run)
            error = Refused("no")
            tasks = [asyncio.create_task(f(1)) for _ in range(4)]
            await settle()
            assert len(gate) == (1 if single_flight else 4)
            for run in list(gate.runs):
                run.fail(error)
            assert await outcomes(tasks) == [(None, error)] * 4
            assert len(f.cache) == 0
            task = asyncio.create_task(f(1))
            await settle()
            gate[-1].land("fine")
            assert await task == "fine"

        drive(main)

    @pytest.mark.parametrize(
        "error", [KeyError("k"), TypeError("t"), RuntimeError("r"), TimeoutError("t"), asyncio.InvalidStateError("i")]
    )
    def test_is_taken_for_nothing_else(self, error):
        async def main():
            @cached
            async def f(x):
                await asyncio.sleep(0)
                raise error

            for caught in await asyncio.gather(*[f(1) for _ in range(3)], return_exceptions=True):
                assert caught is error
            assert error.__context__ is None

        drive(main)

    def test_stop_iteration(self):
        async def main():
            @cached
            async def f(x):
                raise StopIteration(x)

            for caught in await asyncio.gather(f(1), f(1), return_exceptions=True):
                assert type(caught) is RuntimeError
                assert type(caught.__cause__) is StopIteration

        drive(main)

    def test_that_nobody_is_there_for_any_more(self):
        """The load failed in the moment in which its last waiter went: nobody complains of it later."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            for order in (True, False):
                task = asyncio.create_task(f(1))
                await settle()
                if order:
                    gate[-1].fail(Refused("no"))
                task.cancel()
                if not order and not gate[-1].future.done():
                    gate[-1].fail(Refused("no"))
                _, error = await outcome(task)
                assert error is asyncio.CancelledError or type(error) is Refused
                await settle()
                assert len(f.cache) == 0

        drive(main)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_that_ends_the_program(self, error):
        fails = [1]

        @cached
        async def f(x):
            await asyncio.sleep(0)
            if fails:
                raise error
            return x

        async def main():
            await asyncio.gather(f(1), f(1), f(1))

        for _ in range(2):
            with pytest.raises(error):
                drive(main, leftovers=True, complaints=[])
            assert len(f.cache) == 0
        fails.clear()
        assert asyncio.run(asyncio.wait_for(f(1), PATIENCE)) == 1

    def test_does_not_grow_with_the_crowd(self):
        """All get the same exception: its traceback is not made longer by each of them, for ever."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            error = Refused("no")
            tasks = [asyncio.create_task(f(1)) for _ in range(500)]
            await settle()
            gate[0].fail(error)
            assert await outcomes(tasks) == [(None, error)] * 500
            depth, trace = 0, error.__traceback__
            while trace is not None:
                depth, trace = depth + 1, trace.tb_next
            assert depth < 50

        drive(main)

    def test_of_some_in_a_crowd(self):
        async def main():
            turn = iter(range(10**9))

            @cached(maxsize=5)
            async def f(key):
                number = next(turn)
                await asyncio.sleep(0)
                if number % 3 == 0:
                    raise Refused(key)
                return key, number

            async def ask(offset):
                for number in range(200):
                    key = (number + offset) % 8
                    try:
                        assert (await f(key))[0] == key
                    except Refused as error:
                        if error.args != (key,):
                            raise

            await asyncio.gather(*[ask(offset % 3) for offset in range(9)])
            assert all(value[1] % 3 for value in f.cache.values())

        drive(main)


class TestCancelling:
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_one_waiter_cancels_only_that_one(self, which):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = []
            for _ in range(3):
                tasks.append(asyncio.create_task(f(1)))
                await settle()
            tasks[which].cancel()
            assert await outcome(tasks.pop(which)) == CANCELLED
            await settle()
            assert not gate[0].cancelled
            assert not any(task.done() for task in tasks)
            gate[0].land()
            assert await outcomes(tasks) == [("loaded", None)] * 2
            assert await f(1) == "loaded"
            assert len(gate) == 1

        drive(main)

    def test_the_one_who_began_may_go_first(self):
        """The load is nobody's: those who came later are served, and so is who comes after he went."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            first, second = asyncio.create_task(f(1)), asyncio.create_task(f(1))
            await settle()
            first.cancel()
            assert await outcome(first) == CANCELLED
            third = asyncio.create_task(f(1))
            await settle()
            second.cancel()
            assert await outcome(second) == CANCELLED
            assert not gate[0].cancelled
            gate[0].land()
            assert await outcome(third) == ("loaded", None)
            assert len(gate) == 1

        drive(main)

    @pytest.mark.parametrize("count", [1, 2, 5])
    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("at_once", [True, False])
    def test_the_last_one_cancels_the_load(self, count, order, at_once):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(count)]
            await settle()
            for task in tasks[::order]:
                assert not gate[0].cancelled
                task.cancel()
                if not at_once:
                    await settle()
            assert await outcomes(tasks) == [CANCELLED] * count
            assert gate[0].cancelled
            assert gate[0].ended
            assert len(f.cache) == 0
            # And the next is a call as any other.
            task = asyncio.create_task(f(1))
            await settle()
            assert len(gate) == 2
            gate[1].land("again")
            assert await outcome(task) == ("again", None)
            assert await f(1) == "again"

        drive(main)

    def test_comes_after_the_load_has_cleaned_up(self):
        async def main():
            order = []
            cleaning, cleaned = asyncio.Event(), asyncio.Event()

            @cached
            async def f(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    order.append("cleaning")
                    cleaning.set()
                    await cleaned.wait()
                    order.append("cleaned")

            async def call():
                try:
                    await f(1)
                finally:
                    order.append("cancelled")

            task = asyncio.create_task(call())
            await settle()
            task.cancel()
            await asyncio.wait_for(cleaning.wait(), PATIENCE)
            await settle()
            assert not task.done()
            cleaned.set()
            assert await outcome(task) == CANCELLED
            assert order == ["cleaning", "cleaned", "cancelled"]

        drive(main)

    def test_who_comes_while_it_cleans_up_gets_a_load_of_his_own(self):
        async def main():
            cleaned = asyncio.Event()
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                if len(runs) > 1:
                    return "second"
                try:
                    await asyncio.Event().wait()
                finally:
                    await cleaned.wait()

            first = asyncio.create_task(f(1))
            await settle()
            first.cancel()
            await settle()
            second = asyncio.create_task(f(1))
            await settle()
            cleaned.set()
            assert await outcome(second) == ("second", None)
            assert await outcome(first) == CANCELLED
            assert await f(1) == "second"
            assert len(runs) == 2

        drive(main)

    def test_who_comes_and_goes_while_it_cleans_up(self):
        async def main():
            cleaned = asyncio.Event()

            @cached
            async def f(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    await cleaned.wait()

            tasks = []
            for _ in range(4):
                tasks.append(asyncio.create_task(f(1)))
                await settle()
                tasks[-1].cancel()
                await settle()
            cleaned.set()
            assert await outcomes(tasks) == [CANCELLED] * 4
            assert len(f.cache) == 0

        drive(main)

    def test_twice(self):
        """The second time interrupts the cleaning up, as it does without a cache."""

        async def main():
            reached = []

            @cached
            async def f(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    reached.append("cleaning")
                    await asyncio.Event().wait()

            task = asyncio.create_task(f(1))
            await settle()
            task.cancel()
            await settle()
            assert reached == ["cleaning"]
            assert not task.done()
            task.cancel()
            assert await outcome(task) == CANCELLED
            assert len(f.cache) == 0

        drive(main)

    @pytest.mark.parametrize("answer", ["value", "error"])
    def test_a_load_that_does_not_let_itself_be_cancelled(self, answer):
        async def main():
            @cached
            async def f(x):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if answer == "error":
                        raise Refused("instead") from None
                    return "value"

            task = asyncio.create_task(f(1))
            await settle()
            task.cancel()
            value, error = await outcome(task)
            # What has been cancelled must not go on as if nothing had happened.
            assert value is None
            assert error is asyncio.CancelledError or type(error) is Refused
            assert f.cache_info()[3] <= (answer == "value")

        drive(main)

    def test_before_the_start(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f(1))
            task.cancel()
            assert await outcome(task) == CANCELLED
            await settle()
            assert len(gate) == 0
            one, two = asyncio.create_task(f(1)), asyncio.create_task(f(1))
            await settle(1)
            one.cancel()
            await settle()
            gate[-1].land()
            assert await outcome(two) == ("loaded", None)
            assert await outcome(one) == CANCELLED

        drive(main)

    @pytest.mark.parametrize("turns", range(8))
    def test_after_any_number_of_turns(self, turns):
        """Of the loop, between the first call and its cancellation; nothing is left behind at any of them."""

        async def main():
            runs = []

            @cached
            async def f(x):
                runs.append(x)
                for _ in range(3):
                    await asyncio.sleep(0)
                return [x]

            for others in (0, 1, 2):
                f.cache_clear()
                tasks = [asyncio.create_task(f(1)) for _ in range(1 + others)]
                await settle(turns)
                tasks[0].cancel()
                results = await outcomes(tasks)
                assert results[0] in (CANCELLED, ([1], None))
                assert results[1:] == [([1], None)] * others
                await settle()
                assert len(f.cache) <= 1
                assert await f(1) == [1]

        drive(main)

    def test_in_the_moment_in_which_it_lands(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            for first in ("cancel", "land"):
                for others in (0, 1):
                    f.cache_clear()
                    tasks = [asyncio.create_task(f(1)) for _ in range(1 + others)]
                    await settle()
                    run = gate[-1]
                    if first == "cancel":
                        tasks[0].cancel()
                        run.land()
                    else:
                        run.land()
                        tasks[0].cancel()
                    results = await outcomes(tasks)
                    assert results[0] in (CANCELLED, ("loaded", None))
                    assert results[1:] == [("loaded", None)] * others
                    if others:
                        assert await f(1) == "loaded"
                    await settle()

        drive(main)

    def test_of_a_caller_around_it(self):
        """gather, a task group or a task that awaits it: cancelling those cancels the wait."""

        async def main():
            gate = Gate()
            f = cached(gate.run)

            async def nested():
                return await asyncio.gather(f(1), f(2))

            task = asyncio.create_task(nested())
            await settle()
            other = asyncio.create_task(f(2))
            await settle()
            task.cancel()
            assert await outcome(task) == CANCELLED
            await settle()
            assert [run.cancelled for run in gate.runs] == [True, False]
            gate[1].land()
            assert await outcome(other) == ("loaded", None)

        drive(main)

    def test_in_a_task_group_that_fails(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)

            async def fail():
                await settle()
                raise Refused("no")

            async def both():
                async with asyncio.TaskGroup() as group:
                    group.create_task(f(1))
                    group.create_task(fail())

            with pytest.raises(ExceptionGroup) as caught:
                await both()
            assert [type(error) for error in caught.value.exceptions] == [Refused]
            assert gate[0].cancelled
            assert gate[0].ended

        drive(main)

    def test_loads_within_loads(self):
        """Cancelling the one at the top cancels those that only it waits for, and no others."""

        async def main():
            gate = Gate()
            inner = cached(gate.run)

            @cached
            async def outer(x):
                return [await inner(x)]

            task = asyncio.create_task(outer(1))
            await settle()
            task.cancel()
            assert await outcome(task) == CANCELLED
            assert gate[0].cancelled
            task, other = asyncio.create_task(outer(1)), asyncio.create_task(inner(1))
            await settle()
            assert len(gate) == 2
            task.cancel()
            assert await outcome(task) == CANCELLED
            assert not gate[1].cancelled
            gate[1].land()
            assert await outcome(other) == ("loaded", None)
            assert await outer(1) == ["loaded"]

        drive(main)

    def test_a_waiter_that_is_dropped(self):
        """A coroutine that was begun and thrown away is one who waits no more."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            other = asyncio.create_task(f(1))
            await settle()
            coroutine = f(1)
            coroutine.send(None)
            coroutine.close()
            del coroutine
            gate[0].land()
            assert await outcome(other) == ("loaded", None)

        drive(main)

    @pytest.mark.parametrize("way", ["closed", "collected", "thrown at"])
    def test_the_only_waiter_is_dropped(self, way):
        """The load goes with it or lands; and who comes next is answered."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            coroutine = f(1)
            coroutine.send(None)
            await settle()
            match way:
                case "closed":
                    coroutine.close()
                case "thrown at":
                    with pytest.raises(Refused):
                        coroutine.throw(Refused("no"))
            del coroutine
            gc.collect()
            await settle()
            assert len(gate) == 1
            task = asyncio.create_task(f(1))
            await settle()
            gate[-1].land("landed")
            assert await outcome(task) == ("landed", None)

        drive(main)

    def test_thousands(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(3000)]
            await settle()
            for task in tasks[::2]:
                task.cancel()
            await settle()
            gate[0].land()
            assert await outcomes(tasks) == [CANCELLED, ("loaded", None)] * 1500
            assert len(gate) == 1

        drive(main)

    @pytest.mark.parametrize("single_flight", [True, False])
    def test_without_anyone_else(self, single_flight):
        async def main():
            gate = Gate()
            f = cached(single_flight=single_flight)(gate.run)
            one = asyncio.create_task(f(1))
            await settle()
            one.cancel()
            assert await outcome(one) == CANCELLED
            assert gate[0].cancelled
            assert gate[0].ended
            assert len(f.cache) == 0

        drive(main)


class TestCancelledFromOutside:
    """Somebody cancelled the load itself: the one who began it is told, the others load anew."""

    @pytest.mark.parametrize("others", [0, 1, 4])
    def test_others_load_anew(self, others):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            leader = asyncio.create_task(f(1))
            await settle()
            tasks = [asyncio.create_task(f(1)) for _ in range(others)]
            await settle()
            gate[0].task.cancel()
            assert await outcome(leader) == CANCELLED
            await settle()
            assert len(f.cache) == 0
            # One of them does, for all.
            assert len(gate) == 1 + bool(others)
            for run in gate.runs[1:]:
                run.land("anew")
            assert await outcomes(tasks) == [("anew", None)] * others

        drive(main)

    @pytest.mark.parametrize("way", ["what it awaits", "it raises"])
    def test_what_the_function_raises_by_itself_is_a_failure(self, way):
        """Nobody cancelled its task. So it is the outcome of that run, for all; else each would run it again."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(5)]
            await settle()
            if way == "it raises":
                gate[0].fail(asyncio.CancelledError())
            else:
                gate[0].future.cancel()
            assert await outcomes(tasks) == [CANCELLED] * 5
            assert len(gate) == 1
            assert len(f.cache) == 0

        drive(main)

    def test_again_and_again(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = []
            for _ in range(4):
                tasks.append(asyncio.create_task(f(1)))
                await settle()
            for number in range(4):
                assert len(gate) == number + 1
                gate[number].task.cancel()
                await settle()
            assert await outcomes(tasks) == [CANCELLED] * 4
            assert len(gate) == 4

        drive(main)

    def test_when_the_one_who_began_is_gone(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            leader = asyncio.create_task(f(1))
            await settle()
            other = asyncio.create_task(f(1))
            await settle()
            leader.cancel()
            assert await outcome(leader) == CANCELLED
            gate[0].task.cancel()
            await settle()
            assert len(gate) == 2
            gate[1].land("anew")
            assert await outcome(other) == ("anew", None)

        drive(main)

    def test_as_by_the_end_of_the_loop(self):
        """asyncio.run() cancels whatever is left, loads and waiters in any order; it must come to its end."""
        gate = Gate()
        f = cached(gate.run)

        async def main():
            tasks = [asyncio.create_task(f(number % 3)) for number in range(9)]
            await settle()
            return tasks

        tasks = drive(main, leftovers=True)
        assert all(task.cancelled() for task in tasks)
        assert all(run.ended for run in gate.runs)
        assert len(f.cache) == 0

        async def again():
            task = asyncio.create_task(f(0))
            await settle()
            gate[-1].land("again")
            return await task

        assert drive(again) == "again"


class TestTimeouts:
    @pytest.mark.parametrize("others", [0, 1])
    def test_concern_the_one_who_set_them(self, others):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(others)]
            await settle()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(f(1), 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await f(1)
            assert gate[0].cancelled is (not others)
            for run in gate.runs:
                if not run.ended:
                    run.land()
            assert await outcomes(tasks) == [("loaded", None)] * others

        drive(main)

    @pytest.mark.parametrize("way", ["timeout", "wait_for"])
    def test_that_end_a_load_which_cleans_up(self, way):
        """The cancellation is not lost on the way, nor is it taken for one by somebody else."""

        async def main():
            order = []

            @cached
            async def f(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    await settle(5)
                    order.append("cleaned")

            async def call():
                if way == "wait_for":
                    return await asyncio.wait_for(f(1), 0.01)
                async with asyncio.timeout(0.01):
                    return await f(1)

            with pytest.raises(TimeoutError):
                await call()
            assert order == ["cleaned"]
            assert asyncio.current_task().cancelling() == 0
            await settle()

        drive(main)

    def test_within_the_function(self):
        async def main():
            @cached
            async def f(x):
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()

            for caught in await asyncio.gather(f(1), f(1), return_exceptions=True):
                assert type(caught) is TimeoutError
            assert len(f.cache) == 0

        drive(main)

    def test_that_are_long_enough(self):
        async def main():
            @cached
            async def f(x):
                await asyncio.sleep(0.01)
                return x

            async with asyncio.timeout(PATIENCE):
                assert await f(1) == 1
                assert await f(1) == 1

        drive(main)


class TestChangedMeanwhile:
    """The load answers those who wait for it and is not stored."""

    CHANGES = {
        "cache_delete": lambda f: f.cache_delete("k"),
        "cache_clear": lambda f: f.cache_clear(),
        "set": lambda f: f.cache.set(f.cache_key("k"), "set"),
        "[]=": lambda f: f.cache.__setitem__(f.cache_key("k"), "set"),
        "delete": lambda f: f.cache.delete(f.cache_key("k")),
        "clear": lambda f: f.cache.clear(),
        "set and delete": lambda f: (f.cache.set(f.cache_key("k"), "set"), f.cache_delete("k")),
    }

    @pytest.mark.parametrize("single_flight", [True, False])
    @pytest.mark.parametrize("shared", [True, False])
    @pytest.mark.parametrize("change", CHANGES)
    def test_is_not_stored(self, change, shared, single_flight):
        async def main():
            gate = Gate()
            f = cached(MemoryCache() if shared else None, single_flight=single_flight)(gate.run)
            tasks = [asyncio.create_task(f("k")) for _ in range(2)]
            await settle()
            self.CHANGES[change](f)
            for run in gate.runs:
                run.land()
            assert await outcomes(tasks) == [("loaded", None)] * 2
            stored = "set" if change in ("set", "[]=") else None
            assert f.cache.peek(f.cache_key("k")) == stored
            assert f.cache_info()[3] == (stored is not None)

        drive(main)

    @pytest.mark.parametrize("change", ["cache_delete", "cache_clear", "clear", "set and delete"])
    def test_who_asks_after_the_change_gets_a_load_of_his_own(self, change):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            before = asyncio.create_task(f("k"))
            await settle()
            self.CHANGES[change](f)
            after = asyncio.create_task(f("k"))
            await settle()
            assert len(gate) == 2
            gate[1].land("newer")
            assert await outcome(after) == ("newer", None)
            gate[0].land("older")
            assert await outcome(before) == ("older", None)
            assert await f("k") == "newer"

        drive(main)

    def test_the_older_one_lands_first(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            before = asyncio.create_task(f("k"))
            await settle()
            f.cache_delete("k")
            after = asyncio.create_task(f("k"))
            await settle()
            gate[0].land("older")
            assert await outcome(before) == ("older", None)
            third = asyncio.create_task(f("k"))
            await settle()
            assert len(gate) == 2
            assert not third.done()
            gate[1].land("newer")
            assert await outcomes([after, third]) == [("newer", None)] * 2
            assert await f("k") == "newer"

        drive(main)

    def test_the_last_waiter_of_a_load_that_is_not_stored(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            before = asyncio.create_task(f("k"))
            await settle()
            f.cache_delete("k")
            after = asyncio.create_task(f("k"))
            await settle()
            before.cancel()
            assert await outcome(before) == CANCELLED
            assert gate[0].cancelled
            assert not gate[1].cancelled
            gate[1].land()
            assert await outcome(after) == ("loaded", None)
            assert await f("k") == "loaded"

        drive(main)

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_failure_leaves_what_was_set(self, change):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f("k"))
            await settle()
            self.CHANGES[change](f)
            gate[0].fail(Refused("no"))
            assert type((await outcome(task))[1]) is Refused
            assert f.cache.peek(f.cache_key("k")) == ("set" if change in ("set", "[]=") else None)

        drive(main)

    @pytest.mark.parametrize("single_flight", [True, False])
    @pytest.mark.parametrize("change", CHANGES)
    def test_by_the_function_itself(self, change, single_flight):
        async def main():
            @cached(single_flight=single_flight)
            async def f(x):
                self.CHANGES[change](f)
                await asyncio.sleep(0)
                return "loaded"

            assert await f("k") == "loaded"
            assert f.cache.peek(f.cache_key("k")) == ("set" if change in ("set", "[]=") else None)

        drive(main)

    def test_other_keys_and_functions_do_not_matter(self):
        async def main():
            for change in (
                lambda f, g: f.cache_delete("other"),
                lambda f, g: f.cache.set("other", 1),
                lambda f, g: f.cache.get(f.cache_key("k")),
                lambda f, g: f.cache.touch(f.cache_key("k")),
                lambda f, g: f.cache.expire(),
                lambda f, g: g.cache_clear(),
                lambda f, g: g.cache_delete("k"),
            ):
                cache, gate = MemoryCache(), Gate()
                f, g = cached(cache)(gate.run), cached(cache)(double.__wrapped__)
                await g("k")
                task = asyncio.create_task(f("k"))
                await settle()
                change(f, g)
                gate[0].land()
                assert await task == "loaded"
                assert f.cache.peek(f.cache_key("k")) == "loaded"

        drive(main)

    def test_from_another_thread(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f("k"))
            await settle()
            Task(lambda: f.cache_delete("k")).result()
            gate[0].land()
            assert await task == "loaded"
            assert len(f.cache) == 0

        drive(main)


class TestRefresh:
    def test_the_old_value_is_served_meanwhile(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            f.cache[f.cache_key(1)] = "old"
            task = asyncio.create_task(f.refresh(1))
            await settle()
            assert await f(1) == "old"
            gate[0].land("new")
            assert await outcome(task) == ("new", None)
            assert await f(1) == "new"
            assert len(gate) == 1

        drive(main)

    @pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=str)
    @pytest.mark.parametrize("single_flight", [True, False])
    def test_of_a_load_under_way(self, order, single_flight):
        async def main():
            gate = Gate()
            f = cached(single_flight=single_flight)(gate.run)
            call = asyncio.create_task(f(1))
            await settle()
            refresh = asyncio.create_task(f.refresh(1))
            await settle()
            assert len(gate) == 2
            for number in order:
                gate[number].land(["load", "refresh"][number])
                await settle()
            assert await outcome(call) == ("load", None)
            assert await outcome(refresh) == ("refresh", None)
            assert await f(1) == "refresh"

        drive(main)

    @pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=str)
    @pytest.mark.parametrize("there", [True, False])
    def test_two_at_a_time_leave_the_later(self, order, there):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            if there:
                f.cache[f.cache_key(1)] = "old"
            tasks = []
            for _ in range(2):
                tasks.append(asyncio.create_task(f.refresh(1)))
                await settle()
            assert len(gate) == 2
            for number in order:
                gate[number].land(number)
                await settle()
            assert await outcomes(tasks) == [(0, None), (1, None)]
            assert await f(1) == 1

        drive(main)

    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize("way", ["fails", "cancelled", "cancelled from outside"])
    def test_that_comes_to_nothing_leaves_the_old_value(self, there, way):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            if there:
                f.cache[f.cache_key(1)] = "old"
            task = asyncio.create_task(f.refresh(1))
            await settle()
            match way:
                case "fails":
                    gate[0].fail(Refused("no"))
                case "cancelled":
                    task.cancel()
                case "cancelled from outside":
                    gate[0].task.cancel()
            _, error = await outcome(task)
            assert type(error) is Refused if way == "fails" else error is asyncio.CancelledError
            assert gate[0].ended
            assert f.cache.peek(f.cache_key(1)) == ("old" if there else None)
            if there:
                assert await f(1) == "old"

        drive(main)

    @pytest.mark.parametrize("change", TestChangedMeanwhile.CHANGES)
    @pytest.mark.parametrize("there", [True, False])
    def test_is_not_stored_when_the_key_was_changed_meanwhile(self, change, there):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            if there:
                f.cache[f.cache_key("k")] = "old"
            task = asyncio.create_task(f.refresh("k"))
            await settle()
            TestChangedMeanwhile.CHANGES[change](f)
            gate[0].land("refreshed")
            assert await outcome(task) == ("refreshed", None)
            assert f.cache.peek(f.cache_key("k")) == ("set" if change in ("set", "[]=") else None)

        drive(main)

    def test_who_calls_meanwhile_is_answered(self):
        """With nothing stored: by the refresh or by a load of his own; but he is, and the newest stays."""

        async def main():
            gate = Gate()
            f = cached(gate.run)
            refresh = asyncio.create_task(f.refresh(1))
            await settle()
            calls = [asyncio.create_task(f(1)) for _ in range(3)]
            await settle()
            assert len(gate) <= 2
            for run in gate.runs:
                run.land("loaded")
            assert await outcomes([refresh, *calls]) == [("loaded", None)] * 4
            assert await f(1) == "loaded"

        drive(main)

    def test_is_seen_by_no_one_before_it_landed(self):
        async def main():
            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f.refresh(1))
            await settle()
            assert f.cache_key(1) not in f.cache
            assert len(f.cache) == 0
            gate[0].land()
            await task
            assert list(f.cache.items()) == [(f.cache_key(1), "loaded")]

        drive(main)

    def test_within_the_load_of_the_same_key_ends(self):
        async def main():
            depth = []

            @cached
            async def f(x):
                depth.append(1)
                if len(depth) > 3:
                    return "deep"
                return await f.refresh(x)

            try:
                assert await asyncio.wait_for(f(1), PATIENCE) == "deep"
            except LoaderCycle:
                pass
            f.cache_clear()
            depth.extend([1] * 5)
            assert await f(1) == "deep"

        drive(main)


class TestWithoutSingleFlight:
    def test_concurrent_calls_each_run_the_function(self):
        async def main():
            gate = Gate()
            f = cached(single_flight=False)(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(3)]
            await settle()
            assert len(gate) == 3
            for number in (1, 0, 2):
                gate[number].land(number)
                await settle()
            assert await outcomes(tasks) == [(0, None), (1, None), (2, None)]
            assert await f(1) in (0, 1, 2)
            assert f.cache_info() == (1, 3, 1000, 1)

        drive(main)

    def test_each_has_its_own_end(self):
        async def main():
            gate = Gate()
            f = cached(single_flight=False)(gate.run)
            tasks = [asyncio.create_task(f(1)) for _ in range(4)]
            await settle()
            tasks[0].cancel()
            gate[1].fail(Refused("no"))
            gate[2].task.cancel()
            gate[3].land()
            results = await outcomes(tasks)
            assert results[0] == results[2] == CANCELLED
            assert type(results[1][1]) is Refused
            assert results[3] == ("loaded", None)
            assert await f(1) == "loaded"

        drive(main)

    def test_a_function_may_need_its_own_result(self):
        async def main():
            depth = []

            @cached(single_flight=False)
            async def f(x):
                depth.append(1)
                return await f(x) if len(depth) < 5 else "end"

            assert await f(1) == "end"
            assert len(depth) == 5
            assert await f(1) == "end"
            assert len(depth) == 5

        drive(main)


class TestCircles:
    """A wait that could never end is an error instead."""

    WAYS = {
        "await": lambda f, x: f(x),
        "task": lambda f, x: asyncio.create_task(f(x)),
        "gather": lambda f, x: asyncio.gather(f(x)),
        "gather of tasks": lambda f, x: asyncio.gather(asyncio.create_task(f(x)), asyncio.sleep(0)),
        "wait_for": lambda f, x: asyncio.wait_for(f(x), 100),
        "shield": lambda f, x: asyncio.shield(f(x)),
    }

    @pytest.mark.parametrize("way", WAYS)
    def test_a_function_that_awaits_its_own_result(self, way):
        async def main():
            @cached
            async def f(x):
                await asyncio.sleep(0)
                return await self.WAYS[way](f, x)

            for _ in range(2):
                with pytest.raises(LoaderCycle):
                    await f(1)
                assert len(f.cache) == 0
                await settle()

        drive(main)

    def test_in_a_task_group(self):
        async def main():
            @cached
            async def f(x):
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(f(x))
                return task.result()

            with pytest.raises(ExceptionGroup) as caught:
                await f(1)
            assert [type(error) for error in caught.value.exceptions] == [LoaderCycle]
            assert len(f.cache) == 0

        drive(main)

    def test_recursion_that_ends_is_none(self):
        async def main():
            @cached
            async def fibonacci(number):
                if number < 2:
                    return number
                return sum(await asyncio.gather(fibonacci(number - 1), fibonacci(number - 2)))

            assert await fibonacci(40) == 102334155
            assert fibonacci.cache_info().currsize == 41

        drive(main)

    @pytest.mark.parametrize("size", [2, 5, 30])
    @pytest.mark.parametrize("way", WAYS)
    def test_through_other_keys(self, way, size):
        async def main():
            @cached
            async def f(number):
                return await self.WAYS[way](f, (number + 1) % size)

            with pytest.raises(LoaderCycle):
                await f(0)
            await settle()
            assert len(f.cache) == 0

        drive(main)

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("shared", [True, False])
    def test_through_other_functions(self, way, shared):
        async def main():
            functions = []
            cache = MemoryCache() if shared else None

            def make(number):
                @cached(cache)
                async def f(x):
                    await asyncio.sleep(0)
                    return await self.WAYS[way](functions[(number + 1) % 4], x)

                return f

            functions.extend(make(number) for number in range(4))
            for f in functions:
                with pytest.raises(LoaderCycle):
                    await f(1)
                assert len(f.cache) == 0
                await settle()

        drive(main)

    @pytest.mark.parametrize("size", [2, 3, 5])
    @pytest.mark.parametrize("answered", [True, False])
    def test_over_tasks(self, size, answered):
        """Each load is begun by a task of its own before any of them needs the next."""

        async def main():
            all_loading = asyncio.Barrier(size)
            cycles = []

            @cached
            async def f(number):
                await all_loading.wait()
                try:
                    return 1 + await f((number + 1) % size)
                except LoaderCycle:
                    cycles.append(number)
                    if answered:
                        return 0
                    raise

            tasks = [asyncio.create_task(f(number)) for number in range(size)]
            results = await outcomes(tasks)
            if answered:
                assert len(cycles) == 1
                for number in range(size):
                    after = (number + 1) % size
                    assert results[number] == ((0 if number in cycles else 1 + results[after][0]), None)
            else:
                assert {type(error) for _, error in results} == {LoaderCycle}
                assert len(f.cache) == 0

        drive(main)

    @pytest.mark.parametrize("size", [2, 3])
    def test_over_loops_in_threads(self, size):
        all_loading = threading.Barrier(size)

        @cached
        async def f(number):
            await asyncio.to_thread(all_loading.wait, PATIENCE)
            return 1 + await f((number + 1) % size)

        tasks = [Task(lambda number=number: drive(lambda: f(number), leftovers=True)) for number in range(size)]
        assert {type(task.outcome()[1]) for task in tasks} == {LoaderCycle}
        assert len(f.cache) == 0

    def test_may_be_answered_by_the_function(self):
        async def main():
            @cached
            async def f(x):
                try:
                    return await f(x)
                except LoaderCycle:
                    return "fallback"

            assert await asyncio.gather(f(1), f(1)) == ["fallback"] * 2
            assert f.cache_info()[3] == 1

        drive(main)

    def test_waiting_for_what_waits_is_none(self):
        async def main():
            gate = Gate()
            first = cached(gate.run)

            @cached
            async def second(x):
                return await first(x) + "+second"

            @cached
            async def third(x):
                return "/".join(await asyncio.gather(first(x), second(x), second(x)))

            tasks = [asyncio.create_task(each(1)) for each in (third, second, first, third)]
            await settle()
            gate[0].land("first")
            assert await outcomes(tasks) == [
                ("first/first+second/first+second", None),
                ("first+second", None),
                ("first", None),
                ("first/first+second/first+second", None),
            ]

        drive(main)

    def test_a_task_that_a_load_left_behind_is_no_part_of_it_any_more(self):
        async def main():
            gate = Gate()
            left = []

            async def later():
                await gate.run()
                return await f(1)

            @cached
            async def f(x):
                if not left:
                    left.append(asyncio.create_task(later()))
                return len(left)

            assert await f(1) == 1
            f.cache_delete(1)
            left.append(None)
            await settle()
            gate[0].land()
            assert await outcome(left[0]) == (2, None)

        drive(main)

    def test_a_task_that_a_load_left_behind_while_another_load_is_under_way(self):
        """It was begun within an earlier load of the same key, and may wait for a later one."""

        async def main():
            gate = Gate()
            left = []

            async def later():
                await gate.run("later")
                return await f(1)

            @cached
            async def f(x):
                if not left:
                    left.append(asyncio.create_task(later()))
                    return "first"
                return await gate.run("second")

            assert await f(1) == "first"
            f.cache_delete(1)
            task = asyncio.create_task(f(1))
            await settle()
            by_name = {run.args[0]: run for run in gate.runs}
            by_name["later"].land()
            await settle()
            by_name["second"].land("second")
            assert await outcomes([task, left[0]]) == [("second", None)] * 2

        drive(main)

    def test_a_load_that_was_given_up_is_no_part_of_it_any_more(self):
        """The loader stopped waiting for the other load, so that one may wait for it."""

        async def main():
            gate = Gate()

            @cached
            async def one(x):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(two(x), 0.01)
                return await gate.run("one")

            @cached
            async def two(x):
                if await gate.run("two") == "need one":
                    return [await one(x)]
                return "two"

            other = asyncio.create_task(two(1))
            await settle()
            task = asyncio.create_task(one(1))
            await until(lambda: len(gate) == 2)
            gate[0].land("need one")
            await settle()
            gate[1].land("from one")
            assert await outcomes([task, other]) == [("from one", None), (["from one"], None)]

        drive(main)

    def test_with_plain_functions_between(self):
        """f awaits a thread that runs a loop that awaits f: the thread has the context of f."""

        @cached
        async def f(x):
            return await asyncio.to_thread(plain, x)

        @cached
        def plain(x):
            return asyncio.run(f(x))

        async def main():
            with pytest.raises(LoaderCycle):
                await f(1)

        drive(main)
        assert len(f.cache) == len(plain.cache) == 0

    def test_a_plain_function_that_needs_itself_through_a_loop(self):
        @cached
        def plain(x):
            return asyncio.run(f(x))

        @cached
        async def f(x):
            return plain(x)

        with pytest.raises(LoaderCycle):
            Task(lambda: plain(1)).result()
        assert len(f.cache) == len(plain.cache) == 0


class TestLoopsInThreads:
    def test_two_share_one_run(self):
        gate = Gate()
        f = cached(gate.run)
        with LoopThread() as one, LoopThread() as two:
            first = one.start(f, 1)
            one.result(settle)
            others = [two.start(f, 1) for _ in range(3)]
            two.result(settle)
            assert len(gate) == 1
            value = Value()
            one.do(lambda: gate[0].land(value))
            assert one.outcome(first) == (value, None)
            assert [two.outcome(task) for task in others] == [(value, None)] * 3
            assert two.result(f, 1) is value
        assert len(gate) == 1

    def test_a_failure_reaches_both(self):
        gate = Gate()
        f = cached(gate.run)
        with LoopThread() as one, LoopThread() as two:
            first = one.start(f, 1)
            one.result(settle)
            other = two.start(f, 1)
            two.result(settle)
            error = Refused("no")
            one.do(lambda: gate[0].fail(error))
            assert one.outcome(first) == (None, error)
            assert is_same_failure(two.outcome(other)[1], error)
        assert len(f.cache) == 0

    @pytest.mark.parametrize("which", ["first", "other"])
    def test_cancelling_one_leaves_the_other(self, which):
        gate = Gate()
        f = cached(gate.run)
        with LoopThread() as one, LoopThread() as two:
            first = one.start(f, 1)
            one.result(settle)
            other = two.start(f, 1)
            two.result(settle)
            loop, task, stays, left = (one, first, two, other) if which == "first" else (two, other, one, first)
            loop.do(task.cancel)
            assert loop.outcome(task) == CANCELLED
            assert not gate[0].cancelled
            one.do(gate[0].land)
            assert stays.outcome(left) == ("loaded", None)
        assert len(gate) == 1

    @pytest.mark.parametrize("first_goes", ["first", "other"])
    def test_the_last_one_cancels_the_load(self, first_goes):
        gate = Gate()
        f = cached(gate.run)
        with LoopThread() as one, LoopThread() as two:
            first = one.start(f, 1)
            one.result(settle)
            other = two.start(f, 1)
            two.result(settle)
            order = [(one, first), (two, other)]
            for loop, task in order if first_goes == "first" else reversed(order):
                assert not gate[0].cancelled
                loop.do(task.cancel)
                assert loop.outcome(task) == CANCELLED
            # Also in the other thread the load has ended by then.
            assert gate[0].cancelled
            assert gate[0].ended
            assert len(f.cache) == 0
            again = two.start(f, 1)
            two.result(settle)
            two.do(lambda: gate[1].land("again"))
            assert two.outcome(again) == ("again", None)

    def test_cancelled_from_outside_in_the_other_thread(self):
        gate = Gate()
        f = cached(gate.run)
        with LoopThread() as one, LoopThread() as two:
            first = one.start(f, 1)
            one.result(settle)
            other = two.start(f, 1)
            two.result(settle)
            one.do(gate[0].task.cancel)
            assert one.outcome(first) == CANCELLED
            two.result(until, lambda: len(gate) == 2)
            assert gate[1].loop is two.loop
            two.do(lambda: gate[1].land("anew"))
            assert two.outcome(other) == ("anew", None)

    def test_deleting_from_the_other_thread(self):
        gate = Gate()
        f = cached(gate.run)
        with LoopThread() as one, LoopThread() as two:
            first = one.start(f, 1)
            one.result(settle)
            two.do(lambda: f.cache_delete(1))
            other = two.start(f, 1)
            two.result(settle)
            assert len(gate) == 2
            two.do(lambda: gate[1].land("newer"))
            assert two.outcome(other) == ("newer", None)
            one.do(lambda: gate[0].land("older"))
            assert one.outcome(first) == ("older", None)
            assert one.result(f, 1) == "newer"

    def test_a_stampede_in_four(self):
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            await asyncio.sleep(0.001)
            return Value(x)

        barrier = threading.Barrier(4)

        def ask():
            async def main():
                barrier.wait(PATIENCE)
                return [await asyncio.gather(*[f(number) for _ in range(20)]) for number in range(40)]

            return drive(main)

        results = [task.result() for task in [Task(ask) for _ in range(4)]]
        assert sorted(runs) == list(range(40))
        for number in range(40):
            assert len({id(value) for result in results for value in result[number]}) == 1

    def test_a_storm_of_everything(self):
        """Calls, cancellations, failures, deletions and refreshes in three loops: each ends, with what is its own."""
        counter = iter(range(10**9))
        lock = threading.Lock()

        @cached(maxsize=5)
        async def f(key):
            with lock:
                number = next(counter)
            if number % 2:
                await asyncio.sleep(0)
            if number % 5 == 0:
                await asyncio.sleep(0.0005)
            if number % 7 == 0:
                raise Refused(key)
            return key, number

        def work(seed):
            async def one(turn):
                key = (turn * 7 + seed) % 7
                match turn % 6:
                    case 0:
                        f.cache_delete(key)
                    case 1:
                        with contextlib.suppress(Refused):
                            assert (await f.refresh(key))[0] == key
                    case 2:
                        task = asyncio.create_task(f(key))
                        await asyncio.sleep(0)
                        task.cancel()
                        with contextlib.suppress(Refused, asyncio.CancelledError):
                            assert (await task)[0] == key
                    case _:
                        with contextlib.suppress(Refused):
                            assert (await f(key))[0] == key

            async def main():
                for turn in range(0, 400, 20):
                    await asyncio.gather(*[one(turn + each) for each in range(20)])

            return lambda: drive(main)

        for task in [Task(work(seed)) for seed in (1, 2, 3)]:
            task.result(2 * PATIENCE)
        assert all(number % 7 for _, number in f.cache.values())
        assert len(f.cache) <= 5


class TestDeadLoops:
    """A load in a loop that does not run never lands: who waits for it loads for himself."""

    def call(self, f, *args):
        """In a loop of its own, in a thread that can be given up."""
        return Task(lambda: drive(lambda: f(*args))).result()

    @pytest.mark.parametrize("closed", [True, False])
    @pytest.mark.parametrize("waiters", [1, 3])
    def test_with_a_load_under_way(self, closed, waiters):
        gate = Gate()
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            return await gate.run(x) if len(runs) == 1 else "own"

        loop = asyncio.new_event_loop()
        tasks = [pending(loop, f, 1) for _ in range(waiters)]
        if closed:
            loop.close()
        assert self.call(f, 1) == "own"
        assert self.call(f, 1) == "own"
        assert len(runs) == 2

        async def many():
            return await asyncio.gather(*[f(2) for _ in range(10)])

        assert Task(lambda: drive(many)).result() == ["own"] * 10
        forget(loop, gate[0].task, *tasks)

    @pytest.mark.parametrize("closed", [True, False])
    def test_that_are_forgotten(self, closed):
        """The loop, its tasks and the load are garbage when somebody asks."""
        gate = Gate()
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            return await gate.run(x) if len(runs) == 1 else "own"

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        task = pending(loop, f, 1)
        gate[0].task._log_destroy_pending = task._log_destroy_pending = False
        if closed:
            loop.close()
        # A loop that was not closed says so when it goes.
        kept = [loop] if not closed else []
        gate.runs.clear()
        del loop, task
        gc.collect()
        assert self.call(f, 1) == "own"
        for each in kept:
            each.close()

    def test_many_who_come_to_a_dead_load_at_once(self):
        gate = Gate()
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            if len(runs) == 1:
                return await gate.run(x)
            await asyncio.sleep(0.01)
            return "own"

        loop = asyncio.new_event_loop()
        task = pending(loop, f, 1)

        async def many():
            return await asyncio.gather(*[f(1) for _ in range(50)])

        assert Task(lambda: drive(many)).result() == ["own"] * 50
        assert len(runs) == 2
        forget(loop, gate[0].task, task)

    def test_one_that_goes_on(self):
        """It stood still, others have loaded since, and now it runs again: its own load lands, and is not stored."""
        gate = Gate()
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            return await gate.run(x) if len(runs) == 1 else "newer"

        loop = asyncio.new_event_loop()
        task = pending(loop, f, 1)
        assert self.call(f, 1) == "newer"
        gate[0].land("older")
        assert loop.run_until_complete(outcome(task)) == ("older", None)
        assert loop.run_until_complete(f(1)) == "newer"
        assert self.call(f, 1) == "newer"
        loop.close()

    def test_one_that_goes_on_undisturbed(self):
        """A loop that is run by pieces, as some programs do: its load is as good as any."""
        gate = Gate()
        f = cached(gate.run)
        loop = asyncio.new_event_loop()
        one = pending(loop, f, 1)
        two = pending(loop, f, 1)
        gate[0].land()
        assert loop.run_until_complete(outcome(one)) == ("loaded", None)
        assert loop.run_until_complete(outcome(two)) == ("loaded", None)
        assert loop.run_until_complete(f(1)) == "loaded"
        assert len(gate) == 1
        loop.close()

    def test_a_waiter_in_a_loop_that_stopped(self):
        """The load is in a living loop, and one who waits for it in one that stands still: it lands for the others."""
        gate = Gate()
        f = cached(gate.run)
        still = asyncio.new_event_loop()
        with LoopThread() as living:
            first = living.start(f, 1)
            living.result(settle)
            waiter = pending(still, f, 1)
            living.do(gate[0].land)
            assert living.outcome(first) == ("loaded", None)
            assert living.result(f, 1) == "loaded"
            assert still.run_until_complete(outcome(waiter)) == ("loaded", None)
            second = living.start(f, 2)
            living.result(settle)
            waiter = pending(still, f, 2)
            still.close()
            living.do(gate[1].land)
            assert living.outcome(second) == ("loaded", None)
            assert living.result(f, 2) == "loaded"
        forget(still, waiter)
        assert len(gate) == 2

    @pytest.mark.parametrize("end", ["stop", "close"])
    @pytest.mark.parametrize("waiters", [1, 5])
    def test_one_in_another_thread_that_dies_while_others_wait(self, end, waiters):
        gate = Gate()
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            return await gate.run(x) if len(runs) == 1 else "own"

        dying = LoopThread()
        first = dying.start(f, 1)
        dying.result(settle)
        with LoopThread() as living:
            tasks = [living.start(f, 1) for _ in range(waiters)]
            living.result(settle)
            assert len(runs) == 1
            getattr(dying, end)()
            assert [living.outcome(task) for task in tasks] == [("own", None)] * waiters
            assert 2 <= len(runs) <= 1 + waiters
            assert living.result(f, 1) == "own"
        forget(dying.loop, gate[0].task, first)

    @pytest.mark.parametrize("end", ["stop", "close"])
    def test_a_waiter_that_is_cancelled_after_the_loop_died(self, end):
        """There is nobody who could clean up, and the waiter does not wait for that."""
        gate = Gate()
        f = cached(gate.run)
        dying = LoopThread()
        first = dying.start(f, 1)
        dying.result(settle)
        with LoopThread() as living:
            task = living.start(f, 1)
            living.result(settle)
            dying.do(first.cancel)
            assert dying.outcome(first) == CANCELLED
            getattr(dying, end)()
            living.do(task.cancel)
            assert living.outcome(task) == CANCELLED
            # If the waiter had begun a load of its own by then, that was cancelled with it.
            assert len(f.cache) == 0
            again = living.start(f, 1)
            living.result(until, lambda: any(run.loop is living.loop and not run.ended for run in gate.runs))
            living.do(lambda: gate[-1].land("again"))
            assert living.outcome(again) == ("again", None)
        forget(dying.loop, gate[0].task, first)

    def test_asyncio_run_again_and_again(self):
        gate = Gate()
        runs = []

        @cached
        async def f(x):
            runs.append(x)
            return await gate.run(x) if len(runs) % 2 else x

        async def leave():
            asyncio.create_task(f(1))  # noqa: RUF006
            await settle()

        for turn in range(20):
            drive(leave, leftovers=True)
            assert drive(lambda: f(1)) == 1
            f.cache_clear()
            assert len(runs) == 2 * turn + 2

    def test_a_circle_through_one(self):
        """The load of the dead loop waited for a load that somebody else now begins: that is none."""
        gate = Gate()

        @cached
        async def one(x):
            return [await two(x)]

        @cached
        async def two(x):
            return await gate.run(x)

        loop = asyncio.new_event_loop()
        task = pending(loop, one, 1)

        @cached
        async def three(x):
            return [await one(x)]

        async def main():
            call = asyncio.create_task(three(1))
            await until(lambda: len(gate) == 2)
            gate[1].land("value")
            return await call

        assert Task(lambda: drive(main)).result() == [["value"]]
        loads = [each for each in asyncio.all_tasks(loop) if each is not task]
        forget(loop, task, *loads)


BY_HAND = """
from khronos_fast import cached

@cached
async def f(x):
    return x

@cached
def g(*args):
    return args

class Thing:
    m = g

coroutine = f(1)
coroutine.close()
looks = 0
for kind in (type(coroutine), type(f), type(g), type(Thing().m), type(g.cache_key(1, 2))):
    if kind.__module__ == "builtins" or kind.__module__ == "types":
        continue
    for make in (kind, lambda kind=kind: kind.__new__(kind), lambda kind=kind: kind.__new__(kind, g)):
        try:
            made = make()
        except TypeError:
            continue
        for look in (repr, str, hash, dir, bool, lambda it: it == it, lambda it: it.close(), lambda it: it.send(None)):
            looks += 1
            try:
                look(made)
            except (TypeError, AttributeError, RuntimeError, StopIteration):
                pass
assert looks > 20, looks
"""


def test_what_is_made_by_hand_does_not_crash():
    """Types that nobody is meant to call, called."""
    run_script(BY_HAND)


FORK = """
import asyncio, os, signal, threading
from khronos_fast import cached

begun = threading.Event()
parent = os.getpid()

@cached
async def f(key):
    if os.getpid() != parent:
        return "child"
    begun.set()
    await landed.wait()
    return "parent"

async def main():
    global landed, loop
    landed = asyncio.Event()
    loop = asyncio.get_running_loop()
    return await asyncio.gather(f("k"), f("k"))

results = []
thread = threading.Thread(target=lambda: results.append(asyncio.run(main())))
thread.start()
assert begun.wait(60)
child = os.fork()
if child == 0:
    status = 1
    try:
        signal.alarm(30)  # a child that hangs dies of it
        assert asyncio.run(f("other")) == "child"
        assert asyncio.run(f("k")) == "child"
        assert asyncio.run(f.refresh("k")) == "child"
        assert f.cache_delete("k") is True
        assert asyncio.run(f("k")) == "child"
        f.cache_clear()
        status = 0
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
loop.call_soon_threadsafe(landed.set)
thread.join(30)
assert status == 0, status
assert results == [["parent", "parent"]], results
assert f.cache[f.cache_key("k")] == "parent"
"""

FORK_WITHIN_THE_LOOP = """
import asyncio, os, signal
from khronos_fast import LoaderCycle, cached

parent = os.getpid()

@cached
async def f(key):
    if os.getpid() != parent:
        return "child"
    await landed.wait()
    return "parent"

async def main():
    global landed
    landed = asyncio.Event()
    tasks = [asyncio.create_task(f("k")) for _ in range(2)]
    for _ in range(20):
        await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)
            # The loop of the parent is of no use here; a new one is.
            asyncio._set_running_loop(None)
            assert asyncio.run(f("k")) == "child"
            assert asyncio.run(f("other")) == "child"
            status = 0
        finally:
            os._exit(status)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status == 0, status
    landed.set()
    return await asyncio.gather(*tasks)

assert asyncio.run(main()) == ["parent"] * 2
assert f.cache[f.cache_key("k")] == "parent"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    def test_while_a_load_is_under_way_in_another_thread(self):
        run_script(FORK)

    def test_while_a_load_is_under_way_in_the_same_thread(self):
        run_script(FORK_WITHIN_THE_LOOP)


@pytest.mark.parametrize("end", ["value", "error", "cancelled", "from outside"])
@pytest.mark.parametrize("single_flight", [True, False])
def test_nothing_of_a_call_is_kept(end, single_flight):
    class Argument:
        pass

    async def main():
        gate = Gate()
        f = cached(single_flight=single_flight)(gate.run)
        arguments = [Argument() for _ in range(3)]
        tasks = [asyncio.create_task(f(argument)) for argument in arguments]
        value = Value()
        references = [*map(weakref.ref, arguments), weakref.ref(value), *map(weakref.ref, tasks)]
        await settle()
        for run, task in zip(gate.runs, tasks, strict=True):
            match end:
                case "value":
                    run.land(value)
                case "error":
                    run.fail(Refused("no"))
                case "cancelled":
                    task.cancel()
                case "from outside":
                    run.task.cancel()
        await outcomes(tasks)
        for argument in arguments:
            assert f.cache_delete(argument) is (end == "value")
        assert len(f.cache) == 0
        gate.runs.clear()
        del arguments, argument, tasks, task, run, value
        await settle()
        gc.collect()
        assert [reference() for reference in references] == [None] * len(references)

    drive(main)


@pytest.mark.parametrize("single_flight", [True, False])
@pytest.mark.parametrize("how", ["awaited", "task", "two", "refresh", "not stored", "by hand"])
def test_values_are_let_go_of_at_once(how, single_flight):
    """Without the collector, which may be far away or switched off: a value is not in a circle of ours."""

    async def main():
        @cached(single_flight=single_flight)
        async def f(x):
            await asyncio.sleep(0)
            if how == "not stored":
                f.cache_delete(x)
            value = Value(x)
            references.append(weakref.ref(value))
            return value

        references = []
        for number in range(5):
            match how:
                case "task":
                    await asyncio.create_task(f(number))
                case "two":
                    await asyncio.gather(f(number), f(number))
                case "refresh":
                    await f.refresh(number)
                case _:
                    await f(number)
            if how == "by hand":
                with contextlib.suppress(StopIteration):
                    f(number).send(None)
        assert len(f.cache) == (0 if how == "not stored" else 5)
        f.cache_clear()
        await settle(2)
        return [reference() for reference in references]

    gc.collect()
    gc.disable()
    try:
        kept = drive(main, collect=False)
    finally:
        gc.enable()
    assert kept == [None] * len(kept)
    assert len(kept) >= 5


def test_what_a_load_left_behind_does_not_keep_its_value():
    """A task that the function began lives on, with a context that knows of the load."""

    async def main():
        gate = Gate()

        @cached
        async def f(x):
            left.append(asyncio.create_task(gate.run()))
            return Value(x)

        left = []
        reference = weakref.ref(await f(1))
        assert reference() is not None
        f.cache_delete(1)
        await settle()
        gc.collect()
        assert reference() is None
        gate[0].land()
        await left[0]

    drive(main)
