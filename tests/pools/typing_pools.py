"""What type checkers make of the pools: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

# ruff: noqa: F841

from datetime import timedelta
from typing import Any, assert_type

from khronos_fast import (
    AsyncPool,
    Histogram,
    KhronosError,
    NotBorrowed,
    Pool,
    PoolClosed,
    PoolEvent,
    PoolExhausted,
    PoolStats,
    PoolTimeout,
    WrongLoop,
)


class Link:
    """What the pools of this file lend."""

    def send(self) -> int:
        return 1


async def open_link() -> Link:
    return Link()


async def close_link(link: Link) -> None: ...


def hook(event: PoolEvent) -> None:
    assert_type(event.kind, str)
    assert_type(event.pool, str | None)
    assert_type(event.error, BaseException | None)
    assert_type(event.seconds, float)


def takes_text(text: str) -> None: ...


def construction() -> None:
    assert_type(Pool(Link), Pool[Link])
    assert_type(Pool[Link](Link, min_size=0, max_size=5, name="n", on_event=hook), Pool[Link])
    assert_type(AsyncPool(open_link), AsyncPool[Link])
    assert_type(AsyncPool(open_link, destroy=close_link, max_lifetime=timedelta(hours=1)), AsyncPool[Link])
    patient = Pool(Link, acquire_timeout=None, idle_timeout=None, max_waiting=5, validate=lambda link: link.send() == 1)
    Pool()  # type: ignore[call-arg]
    Pool(Link, 5)  # type: ignore[arg-type, call-arg]
    Pool(Link, max_size="5")  # type: ignore[arg-type]
    Pool(Link, destroy=takes_text)  # type: ignore[misc]
    Pool(Link, validate_after_idle=None)  # type: ignore[arg-type]
    AsyncPool(Link)  # type: ignore[arg-type]


def borrowing(pool: Pool[Link]) -> None:
    assert_type(pool.acquire(), Link)
    assert_type(pool.acquire(timeout=0), Link)
    with pool.connection() as link:
        assert_type(link, Link)
    with pool.connection(timeout=timedelta(seconds=1)) as link:
        assert_type(link.send(), int)
    with pool as entered:
        assert_type(entered, Pool[Link])
    pool.release(Link(), discard=True)
    pool.release("link")  # type: ignore[arg-type]
    pool.acquire("5")  # type: ignore[arg-type]


def tending(pool: Pool[Link]) -> None:
    pool.warm(timeout=1)
    pool.resize(1, 2)
    pool.drain()
    assert_type(pool.close(), bool)
    assert_type(pool.close(timeout=None), bool)
    assert_type(pool.is_closed, bool)
    assert_type(pool.name, str | None)
    assert_type(pool.max_size, int)
    pool.resize(1)  # type: ignore[call-arg]


async def awaited(pool: AsyncPool[Link]) -> None:
    assert_type(await pool.acquire(), Link)
    async with pool.connection(timeout=1) as link:
        assert_type(link, Link)
    async with pool as entered:
        assert_type(entered, AsyncPool[Link])
    pool.release(Link())
    await pool.warm()
    await pool.resize(1, 2)
    await pool.drain()
    assert_type(await pool.close(), bool)
    await pool.release(Link())  # type: ignore[func-returns-value, misc]
    pool.release("link")  # type: ignore[arg-type]
    with pool.connection():  # type: ignore[attr-defined]
        pass


def figures(pool: Pool[Link], asynchronous: AsyncPool[Link]) -> None:
    stats = pool.stats()
    assert_type(stats, PoolStats)
    assert_type(asynchronous.stats(), PoolStats)
    assert_type(stats.size, int)
    assert_type(stats.wait_seconds, float)
    assert_type(stats.usage, float)
    assert_type(stats.as_dict(), dict[str, Any])
    assert_type(stats.wait_times, Histogram)
    assert_type(stats.wait_times.quantile(0.5), float | None)
    assert_type(stats.wait_times.counts, tuple[int, ...])
    stats.size = 5  # type: ignore[misc]


def errors() -> None:
    ours: list[type[KhronosError]] = [NotBorrowed, PoolClosed, PoolExhausted, PoolTimeout, WrongLoop]
    time_out: type[TimeoutError] = PoolTimeout
    value: type[ValueError] = NotBorrowed
    runtime: list[type[RuntimeError]] = [PoolClosed, PoolExhausted, WrongLoop]
    wrong: type[ValueError] = PoolTimeout  # type: ignore[assignment]
