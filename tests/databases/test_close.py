"""Closing, and what happens where nobody closes: nothing is lost, nothing stays open, nothing hangs."""

import asyncio
import gc
import os
import sqlite3
import threading
import time
import weakref

import pytest

from khronos_fast import KhronosError, PoolClosed
from khronos_fast.databases import AsyncDatabase, Database, sqlite
from khronos_fast.databases.engine import engine_for
from khronos_fast.databases.sqlite_connection import SQLiteConnection

from .support import FILE, PATIENCE, SHARED, Task, borrowed, held_statement, needs_proc, open_files, opened, runs, when


@runs
async def test_closed_is_closed(face, backend):
    database = opened(face, backend.url)
    await database.execute(backend.table())
    assert await database.close() is True
    assert await database.close() is True
    calls = [
        lambda: database.query("SELECT 1"),
        lambda: database.execute("SELECT 1"),
        lambda: database.executemany("SELECT 1", [()]),
        lambda: database.transaction().__aenter__(),
        lambda: database.connection().__aenter__(),
        lambda: database.connection(readonly=True).__aenter__(),
    ]
    for call in calls:
        with pytest.raises(PoolClosed) as raised:
            await call()
        assert isinstance(raised.value, KhronosError)
        assert isinstance(raised.value, RuntimeError)
    assert database.stats().pool.size == 0
    assert "closed" in repr(database)


@runs
async def test_closed_before_it_was_used(face, backend):
    database = opened(face, backend.url)
    assert await database.close() is True
    with pytest.raises(PoolClosed):
        await database.query("SELECT 1")
    assert database.stats().pool.created == 0


def test_as_a_context_manager(backend):
    with Database(backend.url) as database:
        assert isinstance(database, Database)
        assert database.query("SELECT 1 AS one") == [(1,)]
    with pytest.raises(PoolClosed):
        database.query("SELECT 1")
    with pytest.raises(ZeroDivisionError):
        with Database(backend.url) as database:
            1 / 0
    with pytest.raises(PoolClosed):
        database.query("SELECT 1")


@runs
async def test_as_an_asynchronous_context_manager(backend):
    async with AsyncDatabase(backend.url) as database:
        assert isinstance(database, AsyncDatabase)
        assert await database.query("SELECT 1 AS one") == [(1,)]
    with pytest.raises(PoolClosed):
        await database.query("SELECT 1")


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "5"])
@runs
async def test_time_outs_that_are_none(face, backend, wrong):
    database = opened(face, backend.url)
    with pytest.raises((ValueError, TypeError)):
        await database.close(timeout=wrong)
    assert await database.query("SELECT 1 AS one") == [(1,)]
    assert await database.close(timeout=None) is True


def test_those_who_wait_are_told_at_once(backend):
    database = Database(backend.url, min_size=0, max_size=1, acquire_timeout=PATIENCE)
    with held_statement(backend) as (sql, params, begun, end):
        running = Task(lambda: database.query(sql, params))
        when(begun)
        waiting = Task(lambda: database.query("SELECT 1"))
        when(lambda: database.stats().pool.waiting == 1)
        closing = Task(lambda: database.close(timeout=PATIENCE))
        _, error = waiting.outcome()
        assert isinstance(error, PoolClosed)
        end()
        assert running.result() == [(7,)]
        assert closing.result() is True
    assert database.stats().pool.size == 0


def test_a_close_that_runs_out_of_time(backend, caplog):
    database = Database(backend.url, min_size=0, max_size=1)
    with held_statement(backend) as (sql, params, begun, end):
        running = Task(lambda: database.query(sql, params))
        when(begun)
        assert database.close(timeout=0.05) is False
        warned = [record for record in caplog.records if record.levelname == "WARNING"]
        assert any(record.name.startswith("khronos_fast") for record in warned)
        end()
        # It had begun, so it has its answer; its connection is closed after it.
        assert running.result() == [(7,)]
    when(lambda: database.stats().pool.size == 0)


@SHARED
def test_a_transaction_that_is_open_while_it_is_closed(backend):
    """It may finish."""
    database = Database(backend.url)
    database.execute(backend.table())
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO t (name) VALUES ('Ada')")
        closing = Task(lambda: database.close(timeout=PATIENCE))
        when(lambda: "closed" in repr(database) or closing._outcome.qsize())
        transaction.execute("INSERT INTO t (name) VALUES ('Grace')")
        database.execute("INSERT INTO t (name) VALUES ('Alan')")
    assert closing.result() is True
    with Database(backend.url) as again:
        assert again.query("SELECT count(*) FROM t") == [(3,)]


@needs_proc
@FILE
@runs
async def test_nothing_of_a_file_stays_open(face, backend):
    database = opened(face, backend.url)
    await database.execute(backend.table())
    for _ in range(5):
        await database.query("SELECT * FROM t")
    assert open_files(backend.path) >= 1
    assert await database.close() is True
    assert open_files(backend.path) == 0
    # The last one that closes moves the log into the file: what is left is one file, as before.
    assert not os.path.exists(f"{backend.path}-wal")
    assert not os.path.exists(f"{backend.path}-shm")
    plain = sqlite3.connect(backend.path)
    assert plain.execute("SELECT count(*) FROM t").fetchone() == (0,)
    plain.close()


@runs
async def test_no_log_stays(face, tmp_path):
    """Whichever connection is the last one. Without an order among them it stays in one of thirty cases or so."""
    left = []
    for number in range(200):
        path = tmp_path / f"{number}.db"
        database = opened(face, f"sqlite:///{path}", max_size=2)
        await database.execute("CREATE TABLE t (id INTEGER)")
        await asyncio.gather(*(database.query("SELECT * FROM t") for _ in range(10)))
        assert await database.close() is True
        left += [each.name for each in tmp_path.iterdir() if each.name != path.name]
        path.unlink()
    assert left == []


def test_one_connection_closes_at_a_time(tmp_path, monkeypatch):
    engine = engine_for(f"sqlite:///{tmp_path}/file.db")
    sessions = [engine.open_reader() for _ in range(4)]
    inside, most = [], []

    def close(connection):
        inside.append(connection)
        most.append(len(inside))
        time.sleep(0.02)
        inside.remove(connection)
        sqlite3.Connection.close(connection)

    monkeypatch.setattr(SQLiteConnection, "close", close, raising=False)
    for task in [Task(lambda session=session: engine.close(session)) for session in sessions]:
        task.result()
    assert most == [1] * 4


def test_one_that_can_not_be_closed_yet_does_not_hold_up_the_others_for_long(tmp_path, monkeypatch):
    engine = engine_for(f"sqlite:///{tmp_path}/file.db")
    hanging, other = engine.open_reader(), engine.open_reader()
    begun, go = threading.Event(), threading.Event()

    def close(connection):
        if connection is hanging.connection:
            begun.set()
            assert go.wait(PATIENCE)
        sqlite3.Connection.close(connection)

    monkeypatch.setattr(SQLiteConnection, "close", close, raising=False)
    monkeypatch.setattr(sqlite, "BUSY", 0.05)
    closing = Task(lambda: engine.close(hanging))
    try:
        assert begun.wait(PATIENCE)
        engine.close(other)
        with pytest.raises(sqlite3.ProgrammingError):
            other.check()
        hanging.check()
    finally:
        go.set()
        closing.result()


@needs_proc
@FILE
@runs
async def test_nothing_of_a_file_stays_open_after_a_lent_one(face, backend):
    database = opened(face, backend.url)
    await database.execute(backend.table())
    async with database.connection(), database.connection(readonly=True):
        pass
    with pytest.raises(ZeroDivisionError):
        async with database.connection():
            1 / 0
    assert await database.close() is True
    assert open_files(backend.path) == 0


@SHARED
@runs
async def test_no_session_is_left_on_the_server(face, backend):
    if backend.sqlite:
        return
    database = opened(face, backend.url, max_size=3)
    assert await database.query("SELECT 1 AS one") == [(1,)]
    assert len(backend.server.sessions(backend.url)) >= 1
    assert await database.close() is True
    when(lambda: backend.server.sessions(backend.url) == {})


@runs
async def test_no_thread_is_left(backend):
    before = set(threading.enumerate())
    database = opened("async", backend.url, max_size=3)
    await asyncio.gather(*[database.query("SELECT 1") for _ in range(10)])
    assert await database.close() is True
    when(lambda: set(threading.enumerate()) <= before, "threads of a closed database go on")


def test_no_thread_of_a_plain_one_is_left(backend):
    before = set(threading.enumerate())
    with Database(backend.url, max_size=3, idle_timeout=0.05) as database:
        database.query("SELECT 1")
    when(lambda: set(threading.enumerate()) <= before, "threads of a closed database go on")


@needs_proc
@FILE
def test_one_that_is_dropped_without_closing(backend):
    database = Database(backend.url)
    database.execute(backend.table())
    database.query("SELECT * FROM t")
    assert open_files(backend.path)
    reference = weakref.ref(database)
    del database
    gc.collect()
    assert reference() is None
    when(lambda: open_files(backend.path) == 0)


@needs_proc
@FILE
def test_an_asynchronous_one_that_is_dropped_without_closing(backend):
    before = set(threading.enumerate())

    async def use():
        database = AsyncDatabase(backend.url)
        await database.execute(backend.table())
        await database.query("SELECT * FROM t")
        return weakref.ref(database)

    reference = asyncio.run(use())

    def gone():
        gc.collect()
        return reference() is None and open_files(backend.path) == 0 and set(threading.enumerate()) <= before

    when(gone)


@needs_proc
@FILE
def test_one_whose_loop_is_gone_is_dropped(backend):
    before = set(threading.enumerate())
    database = AsyncDatabase(backend.url)
    for _ in range(3):
        asyncio.run(database.query("SELECT 1"))
    del database

    def gone():
        gc.collect()
        return open_files(backend.path) == 0 and set(threading.enumerate()) <= before

    when(gone)


def test_closing_in_several_threads(backend):
    database = Database(backend.url)
    database.query("SELECT 1")
    tasks = [Task(database.close) for _ in range(6)]
    assert [task.result() for task in tasks] == [True] * 6


def test_closing_while_others_ask(backend):
    """Each is answered or told that it is closed, and nothing else."""
    for attempt in range(5):
        database = Database(backend.url, max_size=3, acquire_timeout=PATIENCE)
        database.query("SELECT 1")
        ends = []

        def ask(database=database, ends=ends):
            try:
                while True:
                    assert database.query("SELECT 5 AS five") == [(5,)]
            except PoolClosed:
                ends.append("closed")

        tasks = [Task(ask) for _ in range(4)]
        time.sleep(0.01 * attempt)
        assert database.close(timeout=PATIENCE) is True
        for task in tasks:
            task.result()
        assert ends == ["closed"] * 4
        assert borrowed(database) == 0
        assert database.stats().pool.size == 0
