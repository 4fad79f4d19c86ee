"""Pools, for threads and for tasks."""

import asyncio

from khronos_fast import AsyncPool, NotBorrowed, Pool, PoolClosed, PoolExhausted, PoolTimeout, WrongLoop

from .exercises import exercises
from .worlds import Refused, World, fails, fails_later, refused, turns, until


class Resource:
    """What a pool lends."""


class Pools(World):
    def open(self):
        self.error = None
        self.destroyed = []

        def create():
            if self.error is not None:
                raise self.error
            return Resource()

        async def create_async():
            return create()

        self.create, self.create_async = create, create_async
        self.pool = Pool(create, min_size=0, max_size=2, idle_timeout=None, max_waiting=1)
        self.async_pool = AsyncPool(create_async, min_size=0, max_size=2, idle_timeout=None, max_waiting=1)
        self.made = []

    def close(self):
        self.pool.close()
        self.run(self.async_pool.close())

    def settle(self):
        self.run(turns(10))
        until(lambda: self.pool.stats().opening == 0)


@exercises(Pools, "Pool: acquire release connection", "Lease", "Lease: __new__ __enter__ __exit__ __repr__")
def borrowing(w):
    pool = w.pool
    pool.release(pool.acquire()), pool.release(pool.acquire(timeout=5))
    with pool.connection() as resource:
        repr(resource)
    lease = pool.connection(timeout=5)
    repr(lease)
    with refused(Refused), lease:
        raise Refused
    fails(type(lease)().__enter__, RuntimeError)
    for wrong in (-1, float("nan"), "soon"):
        fails(lambda wrong=wrong: pool.acquire(timeout=wrong), TypeError, ValueError)
        fails(lambda wrong=wrong: pool.connection(timeout=wrong), TypeError, ValueError)
    fails(lambda: pool.release(Resource()), NotBorrowed)
    fails(lambda: pool.release(None), NotBorrowed)
    held = [pool.acquire(), pool.acquire()]
    fails(lambda: pool.acquire(timeout=0), PoolTimeout)
    fails(lambda: pool.acquire(timeout=1e-6), PoolTimeout)
    for resource in held:
        pool.release(resource, discard=resource is held[0])


@exercises(
    Pools,
    "Pool: stats name min_size max_size is_closed __repr__ __class_getitem__ resize drain",
    "Pool: warm",
)
def looking_and_resizing(w):
    pool = w.pool
    pool.stats().as_dict(), pool.name, pool.min_size, pool.max_size, pool.is_closed, repr(pool), Pool[int]
    pool.resize(1, 2), pool.warm(), pool.drain(), pool.resize(0, 2)
    for wrong in ((3, 2), (-1, 2), ("one", 2), (0, 0)):
        fails(lambda wrong=wrong: pool.resize(*wrong), TypeError, ValueError)
    fails(lambda: pool.warm(timeout=-1), ValueError)


@exercises(Pools, "Pool", "Pool: __init__ __new__ __enter__ __exit__ __del__ close acquire")
def whole_pools(w):
    with Pool(w.create, destroy=lambda resource: None, min_size=1, max_size=1, name="whole") as pool:
        pool.warm()
        held = pool.acquire()
        assert pool.close(timeout=1e-6) is False
        pool.release(held)
    fails(pool.acquire, PoolClosed)
    pool = Pool(w.create, min_size=0)
    pool.release(pool.acquire())
    del pool
    for wrong in ({"min_size": 3, "max_size": 2}, {"destroy": 5}, {"acquire_timeout": -1}, {"name": 5}):
        fails(lambda wrong=wrong: Pool(w.create, **wrong), TypeError, ValueError)
    fails(lambda: Pool(5), TypeError)


@exercises(Pools, "Pool: acquire close")
def failing_factories(w):
    def hook(event):
        raise Refused

    pool = Pool(w.create, reset=hook, destroy=hook, validate=hook, on_event=hook, min_size=0, validate_after_idle=0)
    pool.release(pool.acquire())
    w.error = Refused("no")
    fails(lambda: pool.acquire(timeout=0.001), PoolTimeout)
    w.error = None
    assert pool.close()


@exercises(
    Pools,
    "AsyncPool: acquire release connection",
    "Borrowing",
    "AsyncLease",
    "AsyncLease: __new__ __aenter__ __aexit__ __repr__",
    "Borrowing: __new__ __await__ __iter__ __next__ send throw close __repr__",
)
async def borrowing_in_tasks(w):
    pool = w.async_pool
    pool.release(await pool.acquire()), pool.release(await pool.acquire(timeout=5))
    async with pool.connection() as resource:
        repr(resource)
    lease = pool.connection(timeout=5)
    repr(lease)
    try:
        async with lease:
            raise Refused
    except Refused:
        pass
    held = [await pool.acquire(), await pool.acquire()]
    await fails_later(pool.acquire(timeout=0), PoolTimeout)
    await fails_later(pool.acquire(timeout=1e-6), PoolTimeout)
    waiting = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)
    await fails_later(pool.acquire(), PoolExhausted)
    waiting.cancel()
    await fails_later(waiting, asyncio.CancelledError)
    begun = pool.acquire()
    repr(begun), begun.send(None), begun.close()
    begun = pool.acquire()
    begun.send(None)
    fails(lambda: begun.throw(asyncio.CancelledError()), asyncio.CancelledError)
    begun = iter(pool.acquire().__await__())
    next(begun), begun.close(), type(begun)().close()
    fails(type(lease)().__aenter__, RuntimeError)
    for resource in held:
        pool.release(resource)
    fails(lambda: pool.release(Resource()), NotBorrowed)
    for wrong in (-1, float("nan"), "soon"):
        fails(lambda wrong=wrong: pool.acquire(timeout=wrong), TypeError, ValueError)
        fails(lambda wrong=wrong: pool.connection(timeout=wrong), TypeError, ValueError)


@exercises(
    Pools,
    "AsyncPool: stats name min_size max_size is_closed __repr__ __class_getitem__ resize",
    "AsyncPool: drain warm",
)
async def looking_and_resizing_in_tasks(w):
    pool = w.async_pool
    pool.stats().as_dict(), pool.name, pool.min_size, pool.max_size, pool.is_closed, repr(pool), AsyncPool[int]
    await pool.resize(1, 2)
    await pool.warm()
    await pool.drain()
    pool.resize(0, 2), pool.drain()
    for wrong in ((3, 2), (-1, 2), ("one", 2)):
        fails(lambda wrong=wrong: pool.resize(*wrong), TypeError, ValueError)
    await turns(5)


@exercises(
    Pools,
    "AsyncPool",
    "WrongLoop",
    "AsyncPool: __init__ __new__ __aenter__ __aexit__ __del__ close",
)
async def whole_pools_in_tasks(w):
    async with AsyncPool(w.create_async, destroy=lambda resource: None, min_size=1, max_size=1, name="whole") as pool:
        await pool.warm()
        held = await pool.acquire()
        assert await pool.close(timeout=1e-6) is False
        pool.release(held)
    await fails_later(pool.acquire(), PoolClosed)
    pool = AsyncPool(w.create_async, min_size=0)
    pool.release(await pool.acquire())
    del pool
    for wrong in ({"min_size": 3, "max_size": 2}, {"destroy": 5}, {"acquire_timeout": -1}, {"name": 5}):
        fails(lambda wrong=wrong: AsyncPool(w.create_async, **wrong), TypeError, ValueError)
    await turns(5)


@exercises(Pools, "AsyncPool.acquire", "WrongLoop")
def the_wrong_loop(w):
    w.async_pool.release(w.run(w.async_pool.acquire()))
    loop = asyncio.new_event_loop()
    fails(lambda: loop.run_until_complete(fails_not(w.async_pool)), WrongLoop)
    loop.close()


async def fails_not(pool):
    await pool.acquire()
