"""What `AsyncPool.acquire` returns is a coroutine, like those of functions, for those who drive it by hand, too."""

import asyncio
import contextlib
import functools
import inspect

import pytest

from khronos_fast import AsyncPool

from .support import PATIENCE, drive


class Refused(Exception):
    pass


def runs(test):
    return functools.wraps(test)(lambda: drive(test))


@contextlib.asynccontextmanager
async def full_pool():
    """A pool and its only resource, which is lent, and given back in the end; then nothing holds up the pool's end."""
    pool = AsyncPool(object, min_size=0, max_size=1)
    first = await pool.acquire()
    yield pool, first
    pool.release(first)
    assert await pool.close() is True


def step_by_step(coroutine):
    """Return what it ends with, where nothing is waited for."""
    with pytest.raises(StopIteration) as end:
        next(coroutine)
    return end.value.value


@runs
async def test_what_is_free_is_there_at_the_first_step():
    async with full_pool() as (pool, first):
        pool.release(first)
        for steps in (step_by_step, lambda coroutine: step_by_step(iter(coroutine))):
            assert steps(pool.acquire()) is first
            pool.release(first)
        with pytest.raises(StopIteration) as end:
            pool.acquire().send(None)
        assert end.value.value is first


@runs
async def test_who_waits_can_be_sent_on_by_hand():
    async with full_pool() as (pool, first):
        coroutine = pool.acquire()
        waits_for = next(coroutine)
        assert isinstance(waits_for, asyncio.Future)
        assert pool.stats().waiting == 1
        pool.release(first)
        await asyncio.wait([waits_for], timeout=PATIENCE)
        assert step_by_step(coroutine) is first


@runs
async def test_an_error_that_is_thrown_in_ends_it():
    async with full_pool() as (pool, _):
        waiting = pool.acquire()
        waiting.send(None)
        for coroutine in (pool.acquire(), waiting):  # before its beginning, and where it waits
            with pytest.raises(Refused):
                coroutine.throw(Refused())
            for go_on in (lambda over: over.send(None), lambda over: over.throw(Refused()), next):
                with pytest.raises(RuntimeError, match="already awaited"):
                    go_on(coroutine)
            coroutine.close()
        assert pool.stats().waiting == 0


@runs
async def test_a_closed_one_waits_no_more():
    async with full_pool() as (pool, _):
        coroutine = pool.acquire()
        coroutine.send(None)
        coroutine.close()
        coroutine.close()
        assert pool.stats().waiting == 0
        with pytest.raises(RuntimeError, match="already awaited"):
            await coroutine


@runs
async def test_it_is_awaited_once():
    async with full_pool() as (pool, _):
        coroutine = pool.acquire()
        coroutine.send(None)
        with pytest.raises(RuntimeError, match="being awaited already"):
            await coroutine
        coroutine.close()
        just_made = pool.acquire()
        with pytest.raises(TypeError, match="just-started"):
            just_made.send(1)
        just_made.close()


@runs
async def test_its_names_are_those_of_the_method():
    async with full_pool() as (pool, _):
        coroutine = pool.acquire()
        assert (coroutine.__name__, coroutine.__qualname__) == ("acquire", "AsyncPool.acquire")
        assert repr(coroutine).startswith("<coroutine object AsyncPool.acquire at 0x")
        assert inspect.isawaitable(coroutine)
        coroutine.close()
        with pytest.warns(RuntimeWarning, match=r"AsyncPool.acquire.* never awaited"):
            pool.acquire()
