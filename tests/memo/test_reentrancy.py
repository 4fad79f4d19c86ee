"""Arguments, key functions and finalizers that call, change, clear or drop the function whose call they are part of."""

import asyncio
import contextlib
import ctypes
import functools
import gc
import itertools
import sys
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import LoaderCycle, MemoryCache, cache, cached, lru_cache

from .support import Gate, Refused, Task, Value, drive, settle

NUMBERS = itertools.count()

DECORATORS = {
    "lru_cache": lru_cache,
    "lru_cache(None)": lru_cache(None),
    "lru_cache(0)": lru_cache(0),
    "lru_cache(2)": lru_cache(2),
    "lru_cache(1)": lru_cache(1),
    "lru_cache(typed)": lru_cache(3, True),
    "lru_cache(ttl)": lru_cache(3, ttl=0.0001),
    "cache": cache,
    "cached": cached,
    "cached(2)": cached(maxsize=2),
    "cached(ttl)": cached(maxsize=3, ttl=0.0001),
    "cached(typed)": cached(typed=True),
    "cached(own)": lambda f: cached(MemoryCache(2))(f),
    "cached(each)": cached(single_flight=False, maxsize=2),
}

# What may be done to a function from within one of its own calls. `n` differs from call to call.
ACTIONS = {
    "call": lambda f, n: f(n % 8),
    "call another": lambda f, n: f("another", n),
    "call with names": lambda f, n: f(n % 3, name=n % 5),
    "call many": lambda f, n: [f(number) for number in range(50)],
    "info": lambda f, n: f.cache_info(),
    "clear": lambda f, n: f.cache_clear(),
    "collect": lambda f, n: gc.collect(0),
}
MORE = {
    "delete": lambda f, n: f.cache_delete(n % 8),
    "refresh": lambda f, n: f.refresh(n % 8),
    "key": lambda f, n: f.cache_key(n),
    "clear the cache": lambda f, n: f.cache.clear(),
    "set": lambda f, n: f.cache.set(f.cache_key(n % 8), Value(n)),
    "resize": lambda f, n: f.cache.resize(1 + n % 5),
    "popitem": lambda f, n: f.cache.popitem() if f.cache else None,
}


def actions_of(name):
    return list((ACTIONS | MORE if "cached" in name else ACTIONS).values())


class Acts:
    """Does things to a function when it is called, up to so many times and not within itself."""

    def __init__(self, *actions, times=5):
        self.f = None
        self.actions = actions
        self.left = times
        self.busy = False
        self.done = 0
        self.errors = []  # what is raised in a finalizer goes no further

    def __call__(self):
        if self.f is None or self.busy or self.left <= 0:
            return
        self.left -= 1
        self.busy = True
        try:
            for action in self.actions:
                action(self.f, next(NUMBERS))
                self.done += 1
        except Exception as error:
            self.errors.append(error)
            raise
        finally:
            self.busy = False


class Argument:
    """Equal by number, in very few buckets, and its special methods call what they are given."""

    def __init__(self, number, on_eq=None, on_hash=None, on_del=None):
        self.number = number
        self.on_eq, self.on_hash, self.on_del = on_eq, on_hash, on_del

    def __hash__(self):
        if self.on_hash is not None:
            self.on_hash()
        return self.number % 2

    def __eq__(self, other):
        if self.on_eq is not None:
            self.on_eq()
        return isinstance(other, Argument) and self.number == other.number

    def __repr__(self):
        return f"Argument({self.number})"


class Finalized(Argument):
    def __del__(self):
        self.on_del()


def identify(*args, **kwargs):
    """What a call is answered with tells which call that was."""
    return [each.number if isinstance(each, Argument) else each for each in args], sorted(kwargs.items())


def consistent(f):
    """Calls are answered as ever, the bounds hold and the counters count."""
    info = f.cache_info()
    assert info.maxsize is None or info.currsize <= info.maxsize
    f.cache_clear()
    assert f.cache_info()[:2] == (0, 0)
    assert f.cache_info().currsize == 0
    for number in (1, 2, 3, 1):
        assert f(number) == ([number], [])
        assert f(Argument(number), a=number) == ([number], [("a", number)])
    info = f.cache_info()
    assert info.hits + info.misses == 8
    assert info.maxsize is None or info.currsize <= info.maxsize


@pytest.mark.parametrize("name", DECORATORS)
class TestEveryActionWithinACall:
    def calls(self, f, acts, make):
        acts.f = f
        for call in (
            lambda: ((make(1),), {}),
            lambda: ((make(2), 1), {}),
            lambda: ((1, make(3)), {}),
            lambda: ((), {"name": make(4)}),
            lambda: ((make(100),), {"name": make(1)}),
        ):
            acts.left = 5
            for _ in range(2):
                # Equal to those of the first time, and not the same.
                args, kwargs = call()
                expected = identify(*args, **kwargs)
                result = f(*args, **kwargs)
                assert result[0] == expected[0]
                assert [key for key, _ in result[1]] == [key for key, _ in expected[1]]
        acts.f = None
        assert acts.errors == []
        consistent(f)

    def test_from_eq(self, name):
        for action in actions_of(name):
            acts = Acts(action)
            f = DECORATORS[name](identify)
            for number in range(4):
                f(Argument(number, acts)), f(Argument(number, acts), 1), f(1, Argument(number, acts))
            self.calls(f, acts, lambda number, acts=acts: Argument(number, on_eq=acts))
            if name != "lru_cache(0)" and "ttl" not in name:
                assert acts.done

    def test_from_hash(self, name):
        for action in actions_of(name):
            acts = Acts(action)
            f = DECORATORS[name](identify)
            self.calls(f, acts, lambda number, acts=acts: Argument(number, on_hash=acts))
            if name != "lru_cache(0)":
                assert acts.done

    def test_from_finalizers_of_arguments(self, name):
        for action in actions_of(name):
            acts = Acts(action)
            f = DECORATORS[name](identify)
            acts.f = f
            for number in range(20):
                f(Finalized(number, on_del=acts)), f(1, name=Finalized(number, on_del=acts))
            f.cache_clear()
            gc.collect()
            assert acts.done
            acts.f = None
            assert acts.errors == []
            consistent(f)

    def test_from_finalizers_of_results(self, name):
        class Result:
            def __del__(self):
                acts()

        for action in actions_of(name):
            acts = Acts(action)
            made = []

            def function(*args, **kwargs):
                made.append(1)  # noqa: B023
                return Result() if len(made) < 60 else identify(*args, **kwargs)  # noqa: B023

            f = acts.f = DECORATORS[name](function)
            for number in range(20):
                f(number), f(number, name=number)
            f.cache_clear()
            gc.collect()
            assert acts.done
            acts.f = None
            assert acts.errors == []
            made.extend([1] * 100)
            f.cache_clear()
            consistent(f)

    def test_from_the_function(self, name):
        for action in actions_of(name):
            acts = Acts(action, times=3)

            def function(*args, **kwargs):
                acts()  # noqa: B023
                return identify(*args, **kwargs)

            f = acts.f = DECORATORS[name](function)
            # None of the actions needs the very call that it is part of, which would be a circle.
            for number in range(100, 110):
                assert f(number) == ([number], [])
            acts.f = None
            assert acts.errors == []
            consistent(f)

    def test_a_hash_that_raises(self, name):
        class Bad:
            def __hash__(self):
                raise Refused("hash")

        f = DECORATORS[name](identify)
        f(1), f(2)
        before = f.cache_info()
        if name == "lru_cache(0)":
            return  # which asks for no hash
        for _ in range(3):
            for args, kwargs in (((Bad(),), {}), ((1, Bad()), {}), ((), {"name": Bad()})):
                with pytest.raises(Refused, match="hash"):
                    f(*args, **kwargs)
        # (Those of a short time to live may have gone meanwhile.)
        assert f.cache_info().currsize == before.currsize or "ttl" in name
        assert f.cache_info().currsize <= before.currsize
        consistent(f)

    def test_an_eq_that_raises(self, name):
        class Bad(Argument):
            broken = False

            def __eq__(self, other):
                if Bad.broken:
                    raise Refused("eq")
                return super().__eq__(other)

            __hash__ = Argument.__hash__

        if name == "lru_cache(0)":
            return
        f = DECORATORS[name](identify)
        f.cache_clear()
        stored = [Bad(2), Bad(4)]
        for each in stored:
            f(each)
        Bad.broken = True
        raised = 0
        for _ in range(3):
            for number in (2, 4, 6):
                try:
                    assert f(Bad(number)) == ([number], [])
                except Refused:
                    raised += 1
        # An entry may have gone by its time; but one that is there is asked.
        assert raised or "ttl" in name
        Bad.broken = False
        assert f(Bad(2)) == ([2], [])
        assert f(Bad(6)) == ([6], [])
        consistent(f)

    def test_a_hash_that_changes(self, name):
        class Changing:
            turn = 0

            def __hash__(self):
                Changing.turn += 1
                return Changing.turn

        argument = Changing()
        f = DECORATORS[name](lambda *args, **kwargs: identify(*[each for each in args if each is not argument]))
        for _ in range(50):
            assert f(argument) == ([], [])
            assert f(argument, 1) == ([1], [])
        f.cache_clear()
        assert f.cache_info().currsize == 0
        assert f(1) == ([1], [])

    def test_hashes_are_asked_for_once_a_call(self, name):
        class Asked:
            times = 0

            def __hash__(self):
                Asked.times += 1
                return 5

        if name == "lru_cache(0)":
            return
        f = DECORATORS[name](lambda *args, **kwargs: 1)
        argument = Asked()
        for turn in range(1, 6):
            f(argument)
            assert Asked.times == turn
        for turn in range(6, 11):
            f(1, argument)
            assert Asked.times == turn
        for turn in range(11, 16):
            f(1, name=argument)
            assert Asked.times == turn

    def test_arguments_that_drop_the_function(self, name):
        """The last reference to it goes while it is being called."""
        holder = []

        def drop():
            holder.clear()
            gc.collect()

        for on in ("on_eq", "on_hash"):
            f = DECORATORS[name](identify)
            f(Argument(1)), f(1, Argument(1))
            holder.append(f)
            reference = weakref.ref(f)
            del f
            assert holder[0](Argument(1, **{on: drop})) == ([1], [])
            gc.collect()
            assert holder or reference() is None
            holder.clear()


@pytest.mark.parametrize("single_flight", [True, False])
class TestKeyFunctions:
    def test_every_action_within_one(self, single_flight):
        for action in (ACTIONS | MORE).values():
            acts = Acts(action)

            def key(*args, **kwargs):
                acts()  # noqa: B023
                return args, tuple(sorted(kwargs.items()))

            f = acts.f = cached(key=key, single_flight=single_flight)(identify)
            for number in range(100, 120):
                assert f(number) == ([number], [])
                f.cache_key(number), f.cache_delete(number)
                assert f.refresh(number) == ([number], [])
            assert acts.done
            acts.f = None
            assert acts.errors == []
            consistent(f)

    def test_that_calls_the_function_for_its_key(self, single_flight):
        @cached(key=lambda x: ("key", f(x - 1)) if x > 0 else 0, single_flight=single_flight)
        def f(x):
            return x

        assert f(5) == 5
        assert f(5) == 5
        assert f.cache_info().currsize == 6

    def test_without_end(self, single_flight):
        @cached(key=lambda x: f(x), single_flight=single_flight)
        def f(x):
            return x

        for _ in range(2):
            with pytest.raises(RecursionError):
                f(1)
        assert len(f.cache) == 0

    def test_that_returns_what_re_enters(self, single_flight):
        acts = Acts(ACTIONS["call many"], ACTIONS["clear"], MORE["delete"])
        f = cached(
            key=lambda x, **names: Argument(x if isinstance(x, int) else x.number, on_eq=acts, on_hash=acts),
            single_flight=single_flight,
        )(identify)
        acts.f = f
        for number in range(10):
            acts.left = 3
            assert f(number)[0] == [number]
        acts.f = None
        assert acts.errors == []
        f.cache_clear()
        assert f(1) == ([1], [])

    def test_in_a_coroutine_function(self, single_flight):
        async def main():
            busy = []

            def key(x):
                if not busy:
                    busy.append(1)
                    f.cache_clear(), f.cache_delete(x), f.cache_key(x), f(x).close(), f.cache_info()
                    busy.clear()
                return Argument(x, on_eq=lambda: busy or f.cache_delete(x), on_hash=lambda: busy or f.cache_info())

            @cached(key=key, single_flight=single_flight)
            async def f(x):
                await asyncio.sleep(0)
                return x

            for number in (1, 2, 1):
                assert await asyncio.gather(*[f(number) for _ in range(3)]) == [number] * 3
            await settle()

        drive(main)


class TestCoroutineFunctions:
    @pytest.mark.parametrize(
        "action", ["call", "clear", "delete", "clear the cache", "set", "info", "collect", "resize"]
    )
    @pytest.mark.parametrize("where", ["on_eq", "on_hash"])
    @pytest.mark.parametrize("single_flight", [True, False])
    def test_every_action_within_an_argument(self, action, where, single_flight):
        def do(f, n):
            if action == "call":
                # It can't be awaited here; begun and given up it can be.
                f(n % 8).close()
                task = asyncio.create_task(f(n % 8))
                tasks.append(task)
            else:
                (ACTIONS | MORE)[action](f, n)

        tasks = []

        async def main():
            acts = Acts(do)

            @cached(maxsize=5, single_flight=single_flight)
            async def f(*args, **kwargs):
                await asyncio.sleep(0)
                return identify(*args, **kwargs)

            for number in range(4):
                await f(Argument(number, acts)), await f(1, Argument(number, acts))
            acts.f = f
            for number in range(6):
                acts.left = 3
                results = await asyncio.gather(*[f(Argument(number, **{where: acts})) for _ in range(3)])
                assert all(result == ([number], []) for result in results)
                assert await f(1, Argument(number, **{where: acts})) == ([1, number], [])
            acts.f = None
            assert acts.errors == []
            assert acts.done
            await asyncio.gather(*tasks)
            f.cache_clear()
            assert await f(1) == ([1], [])
            assert len(f.cache) == 1

        drive(main)

    def test_an_eq_that_raises(self):
        async def main():
            class Bad(Argument):
                broken = False

                def __eq__(self, other):
                    if Bad.broken:
                        raise Refused("eq")
                    return super().__eq__(other)

                __hash__ = Argument.__hash__

            gate = Gate()
            f = cached(gate.run)
            task = asyncio.create_task(f(Bad(1)))
            await settle()
            Bad.broken = True
            with pytest.raises(Refused):
                await asyncio.wait_for(f(Bad(3)), 30)
            # The load that is under way is not found, or its landing fails; either way its waiter is answered.
            gate[0].land()
            done, _ = await asyncio.wait({task}, timeout=30)
            assert done
            assert task.exception() is None or type(task.exception()) is Refused
            Bad.broken = False
            f.cache_clear()
            again = asyncio.create_task(f(Bad(1)))
            await settle()
            gate[-1].land("again")
            assert await again == "again"

        drive(main)

    def test_finalizers_in_the_loop(self):
        async def main():
            acted = []

            class Result:
                def __del__(self):
                    acted.append(f.cache_info())
                    f.cache_delete(len(acted) % 4)

            @cached(maxsize=3)
            async def f(x):
                await asyncio.sleep(0)
                return Result()

            for turn in range(60):
                await asyncio.gather(*[f(number) for number in range(turn % 7)])
                if turn % 9 == 0:
                    f.cache_clear()
            gc.collect()
            assert acted
            assert len(f.cache) <= 3

        drive(main)


class TestDecoratedTwice:
    COMBINATIONS = list(itertools.product(["lru_cache", "lru_cache(None)", "cached", "cached(each)"], repeat=2))

    @pytest.mark.parametrize(("inner", "outer"), COMBINATIONS)
    def test_both_remember(self, inner, outer):
        runs = []

        def function(*args, **kwargs):
            runs.append(args)
            return identify(*args, **kwargs)

        middle = DECORATORS[inner](function)
        f = DECORATORS[outer](middle)
        for _ in range(2):
            assert f(1, a=2) == ([1], [("a", 2)])
        assert len(runs) == 1
        assert f.__wrapped__ is middle
        assert middle.__wrapped__ is function
        assert middle.cache_info()[:2] == (0, 1)
        f.cache_clear()
        assert f(1, a=2) == ([1], [("a", 2)])
        assert len(runs) == 1
        assert middle.cache_info()[:2] == (1, 1)
        middle.cache_clear(), f.cache_clear()
        assert f(1, a=2) == ([1], [("a", 2)])
        assert len(runs) == 2

    @pytest.mark.parametrize(("inner", "outer"), COMBINATIONS)
    def test_the_outer_one_is_what_is_asked(self, inner, outer):
        f = DECORATORS[outer](DECORATORS[inner](identify))
        f.cache_clear()
        assert f.cache_info().currsize == 0
        consistent(f)

    def test_with_one_cache(self):
        cache = MemoryCache()
        f = cached(cache)(cached(cache)(identify))
        assert f(1) == f(1) == ([1], [])
        assert len(cache) == 2

    def test_in_a_circle(self):
        holder = []
        f = cached(cached(lambda x: holder[0](x)))
        holder.append(f)
        with pytest.raises(LoaderCycle):
            f(1)
        assert len(f.cache) == len(f.__wrapped__.cache) == 0

    def test_coroutine_functions(self):
        async def main():
            runs = []

            @cached
            @cached
            async def f(x):
                runs.append(x)
                await asyncio.sleep(0)
                return [x]

            results = await asyncio.gather(*[f(1) for _ in range(10)])
            assert all(result is results[0] for result in results)
            assert runs == [1]
            f.cache_clear()
            assert await f(1) is results[0]
            task = asyncio.create_task(f(2))
            await settle(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settle()
            assert await f(2) == [2]

        drive(main)

    def test_with_those_of_the_standard_library(self):
        for f in (
            functools.lru_cache(cached(identify)),
            cached(functools.lru_cache(identify)),
            functools.lru_cache(lru_cache(identify)),
            lru_cache(functools.partial(cached(identify))),
            functools.wraps(identify)(cached(identify)),
        ):
            assert f(1) == f(1) == ([1], [])
            assert f.cache_info()[:2] == (1, 1)


class TestFunctionsOfFunctions:
    def test_a_function_may_be_its_own_argument(self):
        for decorate in DECORATORS.values():
            f = decorate(lambda *args: len(args))
            assert (f(f), f(f), f(f, f), f(f)) == (1, 1, 2, 1)
            f.cache_clear()

    def test_a_function_that_replaces_itself(self):
        """The name is bound to something else while it runs."""

        @cached
        def f(x):
            nonlocal f
            f = None
            gc.collect()
            return [x]

        assert f(1) == [1]

    def test_a_function_that_drops_its_own_cache_entries_for_ever(self):
        @cached(maxsize=1)
        def f(x):
            f.cache_clear()
            for number in range(5):
                f.cache[number] = number
            return f(x - 1) + 1 if x else 0

        assert f(50) == 50
        assert len(f.cache) == 1

    @given(st.lists(st.tuples(st.sampled_from(sorted(ACTIONS | MORE)), st.integers(0, 9)), max_size=12), st.data())
    def test_any_actions_at_any_place(self, plan, data):
        """Each argument does something else, at its hash, its equality or its end, or within the run."""
        f = data.draw(st.sampled_from([cached(maxsize=3), cached(single_flight=False), cached(maxsize=1)]))(
            lambda *args, **kwargs: [each() for each in args if isinstance(each, Acts)] and None
        )
        everything = []
        for name, number in plan:
            acts = Acts((ACTIONS | MORE)[name], times=2)
            acts.f = f
            everything.append(acts)
            where = data.draw(st.sampled_from(["on_eq", "on_hash", "on_del", "run"]))
            with contextlib.suppress(LoaderCycle):
                if where == "run":
                    f(acts)
                elif where == "on_del":
                    f(Finalized(number, on_del=acts))
                else:
                    f(Argument(number, **{where: acts}))
        for acts in everything:
            acts.f = None
            assert all(isinstance(error, LoaderCycle) for error in acts.errors)
        f.cache_clear()
        assert f.cache_info()[:2] == (0, 0)
        assert len(f.cache) == 0


def test_signals_between():
    """An asynchronous exception in the middle of many calls leaves a function that works."""
    f, g = cached(maxsize=10)(identify), lru_cache(10)(identify)
    started = threading.Event()

    def work():
        started.set()
        try:
            for number in itertools.count():
                f(number % 20), g(number % 20), f(1, name=number % 20)
        except Refused:
            return "refused"

    for _ in range(20):
        started.clear()
        task = Task(work)
        assert started.wait(30)
        threading.Event().wait(0.002)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(task.thread.ident), ctypes.py_object(Refused))
        assert task.result() == "refused"
    consistent(f)
    consistent(g)


def test_tracing_does_not_disturb():
    """A trace function that itself calls the function."""
    f = cached(identify)
    seen = []

    def trace(frame, event, argument):
        sys.settrace(None)
        seen.append(f(0))
        sys.settrace(trace)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        results = [f(number) for number in (1, 2, 1)]
    finally:
        sys.settrace(before)
    assert results == [([1], []), ([2], []), ([1], [])]
