"""Bad input: a clear error at once, and the pool as before."""

import asyncio
import decimal
import fractions
import functools
import math
import warnings
from datetime import timedelta

import pytest

from khronos_fast import AsyncPool, NotBorrowed, Pool, PoolTimeout

from .support import LONG, PATIENCE, Broken, both, for_tasks, for_threads, until

kinds = pytest.mark.parametrize("kind", [Pool, AsyncPool])

# Nobody waits that long; numbers of this size may overflow where times are counted in nanoseconds.
HUGE = 1e300


class Odd:
    """Neither a number nor a time."""

    def __repr__(self):
        return "Odd()"


class Exploding:
    """It can't even be asked."""

    def __index__(self):
        raise Broken

    __float__ = __bool__ = __lt__ = __gt__ = __eq__ = __index__
    __hash__ = None


NOT_SIZES = [True, False, None, 1.0, "1", b"1", [1], 1j, Odd(), decimal.Decimal(1), fractions.Fraction(1), math.nan]
NOT_TIMES = [True, False, "1", b"1", [1], 1j, Odd(), ..., NotImplemented, object()]
BAD_TIMES = [-1, -0.001, -1e-300, math.nan, -math.inf, timedelta(seconds=-1), timedelta(microseconds=-1)]
ZEROS = [0, 0.0, -0.0, timedelta(0)]


def refused(function, *errors):
    with pytest.raises(errors or (ValueError, TypeError)) as caught:
        function()
    # It says something.
    assert len(str(caught.value)) > 10
    return str(caught.value)


@kinds
class TestSizes:
    @pytest.mark.parametrize("wrong", NOT_SIZES, ids=repr)
    def test_must_be_integers(self, kind, wrong):
        for name in ("min_size", "max_size"):
            assert name in refused(functools.partial(kind, list, **{name: wrong}), TypeError)
        pool = kind(list)
        before = pool.stats()
        refused(lambda: pool.resize(wrong, 5), TypeError)
        refused(lambda: pool.resize(0, wrong), TypeError)
        assert pool.stats() == before

    def test_must_make_sense(self, kind):
        for options in (
            {"min_size": -1},
            {"max_size": 0, "min_size": 0},
            {"max_size": -1},
            {"min_size": 5, "max_size": 4},
            {"min_size": 11},
            {"max_size": 1},
            {"max_size": 10**30},
            {"min_size": -(10**30)},
        ):
            refused(lambda options=options: kind(list, **options), ValueError)

    def test_a_resize_that_is_refused_changes_nothing(self, kind):
        pool = kind(list, min_size=1, max_size=4)
        before = pool.stats()
        for sizes in ((5, 4), (-1, 4), (0, 0), (1, -1), (0, 10**30)):
            refused(lambda sizes=sizes: pool.resize(*sizes), ValueError)
        for arguments in ((), (1,), (1, 2, 3)):
            with pytest.raises(TypeError):
                pool.resize(*arguments)
        assert pool.stats() == before

    def test_smallest_and_equal(self, kind):
        assert kind(list, min_size=0, max_size=1).stats().max_size == 1
        assert kind(list, min_size=7, max_size=7).stats().min_size == 7

    def test_a_subclass_of_int(self, kind):
        class Number(int):
            pass

        assert kind(list, min_size=Number(2), max_size=Number(3)).stats().max_size == 3


@kinds
class TestTimes:
    @pytest.mark.parametrize("name", ["acquire_timeout", "idle_timeout", "max_lifetime", "validate_after_idle"])
    def test_options(self, kind, name):
        for wrong in NOT_TIMES:
            assert name in refused(lambda wrong=wrong: kind(list, **{name: wrong}), TypeError)
        for wrong in BAD_TIMES:
            refused(lambda wrong=wrong: kind(list, **{name: wrong}), ValueError)
        for wrong in ZEROS:
            if name == "validate_after_idle":
                kind(list, **{name: wrong})
            else:
                refused(lambda wrong=wrong: kind(list, **{name: wrong}), ValueError)
        refused(lambda: kind(list, **{name: math.inf}), ValueError)
        with pytest.raises((Broken, TypeError)):
            kind(list, **{name: Exploding()})
        for right in (1, 0.5, 1e-9, timedelta(seconds=1), 3600 * 24 * 365):
            kind(list, **{name: right})
        if name != "validate_after_idle":
            kind(list, **{name: None})
        else:
            refused(lambda: kind(list, **{name: None}), TypeError)

    def test_max_waiting(self, kind):
        for wrong in NOT_SIZES:
            if wrong is not None:
                assert "max_waiting" in refused(lambda wrong=wrong: kind(list, max_waiting=wrong), TypeError)
        refused(lambda: kind(list, max_waiting=-1), ValueError)
        for right in (0, 1, 10_000, None):
            kind(list, max_waiting=right)

    def test_times_that_nobody_lives_to_see(self, kind):
        """Taken for ever, and never for something short."""

        async def use(pool):
            async def do(function, *args):
                result = function(*args)
                return await result if asyncio.iscoroutine(result) else result

            resource = await do(pool.acquire)
            pool.release(resource)
            await asyncio.sleep(0.02)
            assert await do(pool.acquire) is resource
            pool.release(resource)
            stats = pool.stats()
            assert (stats.created, stats.expired_idle, stats.expired_lifetime, stats.timeouts) == (1, 0, 0, 0)
            assert await do(pool.close) is True

        for name in ("acquire_timeout", "idle_timeout", "max_lifetime", "validate_after_idle"):
            for huge in (HUGE, 1e12, 10**400, timedelta.max):
                asyncio.run(use(kind(list, min_size=0, **{name: huge})))


@kinds
class TestFunctions:
    @pytest.mark.parametrize("name", ["create", "destroy", "validate", "reset", "on_event"])
    def test_must_be_callable(self, kind, name):
        for wrong in (0, "create", [], Odd(), True):
            options = {"create": list, name: wrong}
            assert name in refused(lambda options=options: kind(**options), TypeError)
        if name == "create":
            refused(lambda: kind(None), TypeError)
        else:
            kind(list, **{name: None})

    def test_create_is_needed(self, kind):
        with pytest.raises(TypeError):
            kind()

    def test_everything_else_goes_by_name(self, kind):
        with pytest.raises(TypeError):
            kind(list, print)

    @pytest.mark.parametrize("name", ["size", "maxsize", "max_overflow", "timeout", "Max_size", "loop", "", "create "])
    def test_unknown_options(self, kind, name):
        with pytest.raises(TypeError):
            kind(list, **{name: 1})

    @pytest.mark.parametrize("wrong", [0, b"name", ["name"], Odd(), True])
    def test_a_name_is_text(self, kind, wrong):
        assert "name" in refused(lambda: kind(list, name=wrong), TypeError)

    def test_a_second_init(self, kind):
        pool = kind(list, min_size=0)
        with pytest.raises((RuntimeError, TypeError)):
            pool.__init__(list, max_size=3, min_size=0)
        assert pool.stats().max_size == 10

    def test_without_init(self, kind):
        """Not a way to make one; but not a way to crash either."""
        pool = kind.__new__(kind)
        release = functools.partial(pool.release, 1)
        for use in (pool.stats, pool.__repr__, pool.connection, release, pool.drain, pool.acquire):
            try:
                result = use()
            except Exception:
                continue
            if asyncio.iscoroutine(result) or hasattr(result, "close"):
                result.close()


class TestCoroutineFunctions:
    @pytest.mark.parametrize("name", ["create", "destroy", "validate", "reset", "on_event"])
    def test_a_pool_for_threads_can_not_await(self, name):
        async def function(*args):
            pass

        class Mine:
            async def method(self, *args):
                pass

        for wrong in (function, functools.partial(function), Mine().method):
            message = refused(lambda wrong=wrong: Pool(**{"create": list, name: wrong}), TypeError)
            assert "AsyncPool" in message
            assert name in message

    def test_the_hook_of_a_pool_for_tasks_is_a_plain_function(self):
        async def hook(event):
            pass

        assert "on_event" in refused(lambda: AsyncPool(list, on_event=hook), TypeError)

    @for_threads
    async def test_what_looks_plain_and_returns_a_coroutine(self, face):
        """It is a failed creation, and the coroutine is closed without a warning."""

        async def connect():
            return []

        pool = face.own(lambda: connect())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(PoolTimeout) as caught:
                await face.take(pool, timeout=0.1)
            assert isinstance(caught.value.__cause__, TypeError)
            assert "AsyncPool" in str(caught.value.__cause__)
        assert pool.stats().size == 0
        assert pool.stats().create_failures >= 1


class TestCalls:
    @both
    async def test_acquire_and_connection(self, face):
        pool = face.make(max_size=1)
        held = await face.take(pool)
        before = pool.stats()
        for wrong in (*BAD_TIMES, *NOT_TIMES):
            error = TypeError if any(wrong is each for each in NOT_TIMES) else ValueError
            if wrong is ...:
                continue  # the mark of an argument that is left out, here as elsewhere
            # At the call, not when it is awaited or entered.
            refused(lambda wrong=wrong: pool.acquire(timeout=wrong), error)
            refused(lambda wrong=wrong: pool.connection(timeout=wrong), error)
        for wrong in (math.inf, -math.inf):
            refused(lambda wrong=wrong: pool.acquire(timeout=wrong), ValueError)
        with pytest.raises(TypeError):
            pool.acquire(1, 2)
        with pytest.raises(TypeError):
            pool.acquire(time_out=1)
        with pytest.raises(TypeError):
            pool.connection(readonly=True)
        with pytest.raises(TypeError):
            pool.release()
        with pytest.raises(TypeError):
            pool.release(held, True, True)
        with pytest.raises(TypeError):
            pool.release(held, discarded=True)
        assert pool.stats() == before
        await face.give(pool, held)

    @both
    async def test_a_release_whose_discard_can_not_be_told(self, face):
        pool = face.make(max_size=1)
        held = await face.take(pool)
        with pytest.raises(Broken):
            pool.release(held, discard=Exploding())
        assert pool.stats().borrowed == 1
        # Anything that is true or false will do.
        await face.give(pool, held, discard="")
        assert pool.stats().available == 1

    @both
    async def test_warm_and_close(self, face):
        pool = face.make(min_size=1)
        for wrong in (*BAD_TIMES, *NOT_TIMES, *ZEROS, math.inf):
            if wrong is ...:
                continue
            error = TypeError if any(wrong is each for each in NOT_TIMES) else ValueError
            with pytest.raises(error):
                await face.do(pool.warm, timeout=wrong)
            with pytest.raises(error):
                await face.do(pool.close, timeout=wrong)
        # It is not closed by that.
        await face.give(pool, await face.take(pool))
        assert pool.stats().created == 1

    @both
    async def test_huge_times(self, face):
        """They are no limit, or are refused; never nothing."""
        pool = face.make(max_size=1)
        held = await face.take(pool)
        for huge in (1e9, 1e15, HUGE, 10**400, timedelta.max):
            try:
                waiter = face.begin(pool.acquire, timeout=huge)
                await until(lambda waiter=waiter: waiter.done or pool.stats().waiting == 1)
                if waiter.done:
                    await waiter.result()
            except (ValueError, OverflowError):
                continue
            await face.give(pool, held)
            assert await waiter.result() is held
        await face.give(pool, held)


class TestFactories:
    @both
    async def test_create_that_raises(self, face):
        pool = face.make(max_size=2)
        error = Broken("refused")
        face.factory.plan["create"] += [error] * 100
        with pytest.raises(PoolTimeout) as caught:
            await face.take(pool, timeout=0.1)
        assert caught.value.__cause__ is error
        face.factory.plan["create"].clear()
        stats = pool.stats()
        assert (stats.size, stats.created, stats.destroyed, stats.waiting) == (0, 0, 0, 0)
        await face.give(pool, await face.take(pool))

    @both
    async def test_create_that_returns_none(self, face):
        pool = face.make(max_size=2)
        face.factory.plan["create"] += [None] * 100
        with pytest.raises(PoolTimeout) as caught:
            await face.take(pool, timeout=0.1)
        assert "None" in str(caught.value.__cause__)
        assert "create" in str(caught.value.__cause__)
        face.factory.plan["create"].clear()
        stats = pool.stats()
        assert (stats.size, stats.created, stats.destroyed) == (0, 0, 0)
        assert stats.create_failures == len(face.events.of("create_failed")) >= 1
        await face.give(pool, await face.take(pool))

    @both
    async def test_create_that_hangs(self, face):
        pool = face.make("create", max_size=1)
        with pytest.raises(PoolTimeout):
            await face.take(pool, timeout=0.05)
        stats = pool.stats()
        assert (stats.opening, stats.size, stats.waiting) == (1, 0, 0)
        (call,) = face.factory.calls("create")
        call.end()
        await until(lambda: pool.stats().available == 1)

    @both
    @pytest.mark.parametrize("where", ["borrowed", "idle"])
    async def test_create_that_returns_the_same_object_twice(self, face, where):
        """One is out, and another borrower must never get the same."""
        same = ["the only one"]
        gone = []
        pool = face.own(lambda: same, destroy=gone.append, max_size=3)
        held = await face.take(pool)
        assert held is same
        if where == "borrowed":
            with pytest.raises(PoolTimeout) as caught:
                await face.take(pool, timeout=0.1)
            assert isinstance(caught.value.__cause__, Exception)
            assert len(str(caught.value.__cause__)) > 10
        stats = pool.stats()
        assert (stats.size, stats.borrowed, stats.created) == (1, 1, 1)
        assert gone == [], "what is lent was destroyed"
        await face.give(pool, held)
        assert await face.take(pool) is same
        await face.give(pool, same, discard=True)
        await until(lambda: len(gone) == 1)
        # Now it is no longer the pool's.
        assert await face.take(pool) is same
        await face.give(pool, same)

    @both
    async def test_functions_with_the_wrong_arguments(self, face, caplog):
        pool = face.own(lambda needless: [], max_size=1)
        with pytest.raises(PoolTimeout) as caught:
            await face.take(pool, timeout=0.1)
        assert isinstance(caught.value.__cause__, TypeError)
        pool = face.own(
            list, destroy=lambda: None, reset=lambda: None, validate=lambda: True, validate_after_idle=0, max_size=1
        )
        for _ in range(3):
            await face.give(pool, await face.take(pool))
        await until(lambda: pool.stats().size == 0)
        assert pool.stats().created == 3

    @both
    async def test_a_verdict_that_can_not_be_told(self, face):
        """`validate` returns something that raises when it is asked for its truth."""
        pool = face.make(validate=True, validate_after_idle=0, max_size=1)
        (bad,) = await face.filled(pool, 1)
        face.factory.plan["validate"].append(Exploding())
        good = await face.take(pool)
        assert good is not bad
        assert pool.stats().validation_failures == 1
        await face.give(pool, good)

    @for_tasks
    async def test_awaitables_that_misbehave(self, face):
        class Wrong:
            def __await__(self):
                return 5

        class Raising:
            def __await__(self):
                raise Broken("in __await__")

        class Yielding:
            def __await__(self):
                yield "not a future"

        loop = asyncio.get_running_loop()
        foreign = asyncio.new_event_loop()
        future = foreign.create_future()
        cancelled = loop.create_future()
        cancelled.cancel()
        attempts = [Wrong(), Raising(), Yielding(), future, cancelled, ["at last"]]
        left = list(attempts)
        pool = AsyncPool(lambda: left.pop(0), min_size=0, idle_timeout=None)
        assert await pool.acquire(timeout=PATIENCE) == ["at last"]
        assert pool.stats().create_failures == 5
        foreign.close()
        pool.release(attempts[-1])
        assert await pool.close() is True

    @both
    async def test_a_foreign_release_among_many(self, face):
        pool = face.make(max_size=20)
        held = [await face.take(pool) for _ in range(20)]
        before = pool.stats()
        for wrong in (object(), 5, None, held, tuple(held), pool, pool.release, type(held[0])):
            with pytest.raises(NotBorrowed):
                pool.release(wrong)
        assert pool.stats() == before
        for resource in held:
            await face.give(pool, resource)

    @both
    async def test_after_all_of_that_it_still_works(self, face):
        pool = face.make(max_size=1, validate=True, reset=True, validate_after_idle=LONG)
        resource = await face.take(pool)
        for use in (
            lambda: pool.resize(0, 0),
            lambda: pool.acquire(timeout=-1),
            lambda: pool.release(None),
            lambda: pool.connection("soon"),
        ):
            refused(use)
        await face.give(pool, resource)
        assert await face.take(pool, timeout=0) is resource
        await face.give(pool, resource)
        face.factory.check(pool)
