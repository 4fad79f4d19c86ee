"""Everything that a database does, over and over: no file, no thread, no block of memory and no object stays behind."""

import asyncio
import gc
import sys
import threading
import weakref

import pytest

from khronos_fast.databases import AsyncDatabase, Database

from .support import FREE_THREADED, PATIENCE, descriptors, drive, fails, finished, idle, needs_proc, until, when

EXERCISES = {}


def exercises(function):
    EXERCISES[function.__name__] = function
    return function


class Refused(Exception):
    pass


@exercises
def queries(database, backend):
    database.query("SELECT id, name FROM t")
    database.query(backend.sql("SELECT ? AS a"), ("x",))


@exercises
def writing(database, backend):
    database.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), ("x",))
    database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), [("x",)] * 3)
    database.query("DELETE FROM t WHERE id > 5 RETURNING id")


@exercises
def failing(database, backend):
    for sql, params in (("SELEC", ()), ("SELECT * FROM nowhere", ()), (backend.sql("SELECT ?, ?"), (1,))):
        for method in (database.query, database.execute):
            with pytest.raises(backend.driver.Error):
                method(sql, params)
    with pytest.raises(backend.driver.Error):
        database.executemany(backend.sql("INSERT INTO t (id, name) VALUES (?, ?)"), [(1, "x"), (1, "x")])
    with pytest.raises(Exception, match="transaction"):
        database.execute("BEGIN")


@exercises
def transactions(database, backend):
    with database.transaction() as outer:
        outer.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), ("x",))
        with outer.transaction():
            database.query("SELECT 1")
    with fails(Refused):
        with database.transaction():
            with pytest.raises(Refused):
                with database.transaction():
                    raise Refused
            database.execute("DELETE FROM t")
            raise Refused
    database.execute("DELETE FROM t WHERE id > 5")


@exercises
def lending(database, backend):
    with database.connection() as connection:
        connection.execute("SELECT 1").fetchone()
    with database.connection(readonly=True) as connection:
        cursor = connection.execute("SELECT 1 UNION SELECT 2")
        cursor.fetchone()
    with fails(Refused):
        with database.connection() as connection:
            connection.execute("BEGIN")
            raise Refused


@exercises
def looking(database, backend):
    database.stats().as_dict(), repr(database), str(database)


# SQLite's driver notes every cursor, weakly, and forgets those that are gone once there have been 200 of them.
ROUNDS, SWEEP = 450, 250


def grown(run, rounds):
    """How many blocks there are more after so many rounds, some having gone before."""
    for _ in range(rounds // 4):
        run()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(rounds):
        run()
    gc.collect()
    return sys.getallocatedblocks() - before


@pytest.mark.skipif(FREE_THREADED or not sys.getallocatedblocks(), reason="the allocator's figures are not exact")
@pytest.mark.parametrize("name", EXERCISES)
def test_no_block_is_left(backend, name):
    with Database(backend.url, min_size=0, max_size=1) as database:
        database.execute(backend.table())
        database.executemany(backend.sql("INSERT INTO t (id, name) VALUES (?, ?)"), [(-1, "Ada"), (-2, "Grace")])
        more = grown(lambda: EXERCISES[name](database, backend), ROUNDS)
        assert more < SWEEP, f"{more} blocks more after {ROUNDS} rounds"


@pytest.mark.skipif(FREE_THREADED or not sys.getallocatedblocks(), reason="the allocator's figures are not exact")
def test_a_leak_would_be_seen(backend):
    kept = []
    with Database(backend.url, min_size=0, max_size=1) as database:
        assert grown(lambda: kept.append(database.query("SELECT 1")), ROUNDS) >= ROUNDS


@pytest.mark.skipif(FREE_THREADED or not sys.getallocatedblocks(), reason="the allocator's figures are not exact")
def test_no_block_is_left_by_tasks(backend):
    async def main():
        async with AsyncDatabase(backend.url, min_size=0, max_size=1, acquire_timeout=PATIENCE) as database:
            await database.execute(backend.table())

            async def one():
                await database.query("SELECT * FROM t")
                with pytest.raises(backend.driver.Error):
                    await database.execute("SELEC")
                async with database.transaction() as transaction:
                    await transaction.query("SELECT 1")
                task = asyncio.create_task(database.query("SELECT 1"))
                await asyncio.sleep(0)
                task.cancel()
                await finished(task)
                task = asyncio.create_task(database.query(backend.endless))
                await asyncio.sleep(0.002)
                task.cancel()
                await finished(task)
                await until(lambda: idle(database))

            for _ in range(20):
                await one()
            gc.collect()
            before = sys.getallocatedblocks()
            for _ in range(60):
                await one()
            gc.collect()
            return sys.getallocatedblocks() - before

    more = drive(main)
    # 60 rounds of five statements each.
    assert more < SWEEP, f"{more} blocks more after 60 rounds"


@needs_proc
def test_no_file_is_left(backend):
    """By databases that come and go, closed or dropped."""

    def plain():
        with Database(backend.url, max_size=2) as database:
            database.query("SELECT 1")

    def dropped():
        database = Database(backend.url, max_size=2)
        database.query("SELECT 1")

    def asynchronous():
        async def main():
            async with AsyncDatabase(backend.url, max_size=2) as database:
                await asyncio.gather(database.query("SELECT 1"), database.query("SELECT 1"))

        asyncio.run(main())

    def failing():
        with Database(backend.url, max_size=2) as database:
            with pytest.raises(backend.driver.Error):
                database.query("SELECT * FROM nowhere")
            with pytest.raises(Refused):
                with database.connection():
                    raise Refused

    for run in (plain, dropped, asynchronous, failing):
        run()
    gc.collect()
    before, threads = len(descriptors()), threading.active_count()
    for _ in range(8):
        for run in (plain, dropped, asynchronous, failing):
            run()

    def gone():
        gc.collect()
        return len(descriptors()) <= before and threading.active_count() <= threads

    when(gone, "files or threads are left")


def test_databases_are_collected(backend):
    references = []
    for close in (True, False):
        database = Database(backend.url)
        database.execute(backend.table(f"t{close}"))
        with database.transaction() as transaction:
            database.query("SELECT 1")
        references += [weakref.ref(database), weakref.ref(transaction)]
        if close:
            database.close()
        # A cycle through it is no obstacle.
        database_in_itself = [database]
        database_in_itself.append(database_in_itself)
        del database, transaction, database_in_itself

    def gone():
        gc.collect()
        return [reference() for reference in references] == [None] * len(references)

    when(gone)


def test_what_was_asked_for_is_not_kept(backend):
    """Neither parameters nor results nor exceptions, once the statement is over."""

    class Text(str):
        __slots__ = ("__weakref__",)

    with Database(backend.url, min_size=0, max_size=1) as database:
        text = Text("x")
        reference = weakref.ref(text)
        if backend.sqlite:
            database.query("SELECT ? AS a", (str(text),))
        rows = database.query("SELECT 1 AS one")
        assert rows
        failure = None
        try:
            database.query("SELECT * FROM nowhere", ())
        except backend.driver.Error as error:
            failure = weakref.ref(error)
        del text, rows

        def gone():
            gc.collect()
            return reference() is None and failure() is None

        when(gone)


@pytest.mark.parametrize("end", ["value", "error", "cancelled"])
def test_what_was_awaited_is_not_kept(backend, end):
    class Token:
        pass

    async def main():
        async with AsyncDatabase(backend.url, min_size=0, max_size=1) as database:
            token = Token()

            async def ask(token):
                sql = {"value": "SELECT 1", "error": "SELECT * FROM nowhere", "cancelled": backend.endless}[end]
                return await database.query(sql)

            task = asyncio.create_task(ask(token))
            references = [weakref.ref(token), weakref.ref(task)]
            if end == "cancelled":
                await asyncio.sleep(0.02)
                task.cancel()
            await finished(task)
            if not task.cancelled():
                task.exception()
            await until(lambda: idle(database))
            del token, task

            def gone():
                gc.collect()
                return [reference() for reference in references] == [None, None]

            await until(gone)

    drive(main)
