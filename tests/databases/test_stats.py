"""What a database tells about itself."""

import asyncio
import json
import time

import pytest

from khronos_fast import PoolStats, PoolTimeout
from khronos_fast.databases import Database, DatabaseStats

from .support import Task, opened, pools, runs, until


@runs
async def test_counters(connect, backend):
    async with connect() as database:
        stats = database.stats()
        assert isinstance(stats, DatabaseStats)
        assert (stats.queries, stats.executes, stats.failures, stats.transactions) == (0, 0, 0, 0)
        await database.execute(backend.table())
        await database.execute("INSERT INTO t (name) VALUES ('Ada')")
        for _ in range(3):
            await database.query("SELECT * FROM t")
        stats = database.stats()
        assert (stats.queries, stats.executes, stats.failures, stats.transactions) == (3, 2, 0, 0)
        async with database.transaction():
            pass
        assert database.stats().transactions == 1
        with pytest.raises(backend.driver.Error):
            await database.query("SELECT * FROM nowhere")
        assert database.stats().failures == 1
        with pytest.raises(backend.driver.Error):
            await database.execute("INSERT INTO nowhere VALUES (1)")
        assert database.stats().failures == 2


@runs
async def test_counters_of_what_is_in_a_transaction(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        before = database.stats()
        async with database.transaction() as transaction:
            await transaction.query("SELECT * FROM t")
            await database.query("SELECT * FROM t")
            await transaction.execute("INSERT INTO t (name) VALUES ('a')")
        after = database.stats()
        assert after.queries - before.queries == 2
        assert after.executes - before.executes == 1
        assert after.transactions - before.transactions == 1


@runs
async def test_a_query_that_writes_is_one_query_and_no_failure(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        for number in range(2):
            await database.query("INSERT INTO t (name) VALUES ('Ada') RETURNING id")
            stats = database.stats()
            assert (stats.queries, stats.failures) == (number + 1, 0)


@runs
async def test_a_record_that_does_not_change(connect, backend):
    async with connect() as database:
        stats = database.stats()
        await database.query("SELECT 1")
        assert stats.queries == 0
        with pytest.raises(AttributeError):
            stats.queries = 5
        assert isinstance(stats.pool, PoolStats)
        assert stats == stats._replace()


@runs
async def test_as_a_dict(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        await database.query("SELECT * FROM t")
        stats = database.stats()
        told = stats.as_dict()
        assert set(told) == {"kind", "queries", "executes", "failures", "transactions", "pool", "writer"}
        assert told["pool"] == stats.pool.as_dict()
        assert told["writer"] == (stats.writer.as_dict() if backend.kind == "file" else None)
        assert (stats.writer is not None) == (backend.kind == "file")
        assert json.loads(json.dumps(told)) == told
        assert stats.kind in (("sqlite",) if backend.sqlite else ("postgres", "postgresql"))


@runs
async def test_pools(connect, backend):
    async with connect(min_size=0, max_size=4) as database:
        await database.execute(backend.table())
        for _ in range(5):
            await database.query("SELECT * FROM t")
        for pool in pools(database):
            assert pool.borrowed == pool.waiting == 0
            assert pool.created == pool.destroyed + pool.size == 1
            assert pool.available == 1
        assert sum(pool.acquired for pool in pools(database)) == 6
        async with database.transaction():
            assert sum(pool.borrowed for pool in pools(database)) == 1
        async with database.connection():
            assert sum(pool.borrowed for pool in pools(database)) == 1


def test_a_time_out_is_counted(backend):
    with Database(backend.url, min_size=0, max_size=1, acquire_timeout=0.05) as database:
        with database.connection():
            with pytest.raises(PoolTimeout):
                Task(lambda: database.execute("SELECT 1")).result()
        assert sum(pool.timeouts for pool in pools(database)) == 1


@runs
async def test_they_can_be_had_at_any_time(face, backend):
    database = opened(face, backend.url)
    before = database.stats()
    assert before.pool.size == 0
    await database.query("SELECT 1")
    await database.close()
    after = database.stats()
    assert after.queries == 1
    assert after.pool.size == 0
    assert after.pool.created == after.pool.destroyed


@runs
async def test_repr(connect, backend, face):
    async with connect(name="orders") as database:
        text = repr(database)
        assert ("AsyncDatabase" in text) == (face == "async")
        assert "orders" in text
        assert ("test.db" if backend.kind == "file" else "memory" if backend.sqlite else "postgres") in text


@runs
async def test_names(face, backend):
    database = opened(face, backend.url)
    assert getattr(database, "plain", database).name is None or isinstance(
        getattr(database, "plain", database).name, str
    )
    await database.close()


@runs
async def test_nothing_is_forgotten_with_a_connection(connect, backend):
    """What was counted on one that is closed by now has been counted all the same."""
    if backend.kind == "memory":
        pytest.skip("has one for ever")
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        for number in range(3):
            await database.query("SELECT 1")
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t (name) VALUES ('Ada')")
            with pytest.raises(backend.driver.Error):
                await database.query("SELECT * FROM nowhere")
            for readonly in (True, False):
                async with database.connection(readonly=readonly) as connection:
                    connection.close()
            stats = database.stats()
            found = stats.queries, stats.executes, stats.failures, stats.transactions
            assert found == (number + 1, number + 2, number + 1, number + 1)
        await until(lambda: sum(pool.destroyed for pool in pools(database)) >= 3)


@runs
async def test_they_are_right_whoever_asks_meanwhile(connect, backend):
    """Asked for again and again by another thread, while connections come and go."""
    async with connect(min_size=0, max_size=2, idle_timeout=0.02) as database:
        seen, stop = [], []

        def look():
            while not stop:
                seen.append(database.stats().queries)
                time.sleep(0.0005)

        watching = Task(look)
        for number in range(60):
            await database.query("SELECT 1")
            if number % 30 == 0:
                await asyncio.sleep(0.05)
        stop.append(True)
        watching.result()
        assert seen == sorted(seen)
        assert database.stats().queries == 60
