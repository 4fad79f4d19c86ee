"""Pools that nobody has any more while functions of their users still run for them: what these open is closed."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from khronos_fast import AsyncPool, Pool, PoolTimeout

from .support import PATIENCE, drive, until, until_true


class Connection:
    pass


@pytest.mark.parametrize("outcome", ["closed", "not closed", "nobody closes", "not opened"])
def test_an_opening_by_a_thread(outcome, caplog):
    begun, go, ended, closed = threading.Event(), threading.Event(), threading.Event(), []

    def create():
        begun.set()
        go.wait(PATIENCE)
        ended.set()
        if outcome == "not opened":
            raise ConnectionError
        return Connection()

    def destroy(connection):
        closed.append(connection)
        if outcome == "not closed":
            raise ConnectionError("said no goodbye")

    pool = Pool(create, min_size=1, max_size=1, destroy=None if outcome == "nobody closes" else destroy)
    with contextlib.suppress(PoolTimeout):
        pool.acquire(timeout=0.01)
    assert begun.wait(PATIENCE)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    go.set()
    assert ended.wait(PATIENCE)
    expected = 1 if "closed" in outcome else 0
    until_true(lambda: len(closed) == expected)
    if outcome == "not closed":
        until_true(lambda: "said no goodbye" in caplog.text)


@pytest.mark.parametrize("outcome", ["closed", "not closed", "nobody closes", "not opened"])
def test_an_opening_by_a_task(outcome, caplog):
    async def main():
        begun, go, closed = asyncio.Event(), asyncio.Event(), []

        async def create():
            begun.set()
            await go.wait()
            if outcome == "not opened":
                raise ConnectionError
            return Connection()

        async def destroy(connection):
            closed.append(connection)
            if outcome == "not closed":
                raise ConnectionError("said no goodbye")

        pool = AsyncPool(create, min_size=1, max_size=1, destroy=None if outcome == "nobody closes" else destroy)
        borrower = asyncio.create_task(pool.acquire())
        await begun.wait()
        borrower.cancel()
        await asyncio.wait([borrower])
        del borrower
        gone = weakref.ref(pool)
        del pool
        gc.collect()
        assert gone() is None
        go.set()
        expected = 1 if "closed" in outcome else 0
        await until(lambda: len(closed) == expected)
        if outcome == "not closed":
            await until(lambda: "said no goodbye" in caplog.text)

    drive(main)
