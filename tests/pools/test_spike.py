"""A spike of borrowers is served by the few connections that are enough, not by one each."""

import asyncio
import threading
import time

import pytest

from khronos_fast import AsyncPool, Pool

from .support import PATIENCE, drive, together

BORROWERS = 50
CONNECT = 0.15
WORK = 0.002
# HikariCP ends at 5 or 6 where rivals end at 45; by then all have been served by the first few, several times over.
ENOUGH = 10


@pytest.mark.parametrize("warm", [False, True])
def test_threads(warm):
    opened = []

    def connect():
        time.sleep(CONNECT)
        opened.append([])
        return opened[-1]

    barrier = threading.Barrier(BORROWERS)

    def borrow():
        barrier.wait(PATIENCE)
        with pool.connection():
            time.sleep(WORK)

    with Pool(connect, min_size=5, max_size=50, acquire_timeout=PATIENCE) as pool:
        if warm:
            pool.warm()
        together(*[borrow] * BORROWERS)
        stats = pool.stats()
    assert stats.acquired == BORROWERS
    assert len(opened) <= ENOUGH


@pytest.mark.parametrize("warm", [False, True])
def test_tasks(warm):
    opened = []

    async def connect():
        await asyncio.sleep(CONNECT)
        opened.append([])
        return opened[-1]

    async def main():
        async def borrow():
            async with pool.connection():
                await asyncio.sleep(WORK)

        async with AsyncPool(connect, min_size=5, max_size=50, acquire_timeout=PATIENCE) as pool:
            if warm:
                await pool.warm()
            await asyncio.gather(*[borrow() for _ in range(BORROWERS)])
            stats = pool.stats()
        assert stats.acquired == BORROWERS

    drive(main)
    assert len(opened) <= ENOUGH


def test_a_pool_that_is_too_small_for_the_work_does_grow():
    """Holding back must not become starving: long work gets as many as are allowed."""
    opened = []

    def connect():
        opened.append([])
        return opened[-1]

    barrier = threading.Barrier(8)

    def borrow():
        with pool.connection():
            # Ends only when all eight have one.
            barrier.wait(PATIENCE)

    with Pool(connect, min_size=0, max_size=8, acquire_timeout=PATIENCE) as pool:
        together(*[borrow] * 8)
    assert len(opened) == 8


def test_tasks_that_need_all_there_are():
    async def main():
        barrier = asyncio.Event()
        inside = []

        async def borrow():
            async with pool.connection():
                inside.append(None)
                if len(inside) == 8:
                    barrier.set()
                await barrier.wait()

        async with AsyncPool(list, min_size=0, max_size=8, acquire_timeout=PATIENCE) as pool:
            await asyncio.gather(*[borrow() for _ in range(8)])
            assert pool.stats().created == 8

    drive(main)
