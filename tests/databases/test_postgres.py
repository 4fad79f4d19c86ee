"""What only a server can do to us: end, restart, throw us out, refuse, and be full."""

import asyncio
import time

import pytest

from khronos_fast import PoolTimeout
from khronos_fast.databases import AsyncDatabase, Database

from .support import PATIENCE, POSTGRES, Task, borrowed, fails, finished, opened, runs, until, when

pytestmark = POSTGRES


async def served(database, sql="SELECT 5 AS five"):
    """The answer as soon as there is one; how many were told of lost connections before."""
    failures = 0
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return await database.query(sql), failures
        except Exception:
            failures += 1
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


@runs
async def test_idle_connections_that_were_lost(connect, backend):
    """What sat idle is looked at before it is lent: nobody is told of what happened meanwhile."""
    async with connect(max_size=3, validate_after_idle=0) as database:
        await database.execute(backend.table())
        for _ in range(3):
            backend.server.terminate(backend.url)
            assert await database.query("SELECT 5 AS five") == [(5,)]
            async with database.transaction():
                await database.execute("INSERT INTO t (name) VALUES ('x')")
        assert await database.query("SELECT count(*) FROM t") == [(3,)]
        stats = database.stats().pool
        assert stats.created == stats.destroyed + stats.size


@runs
async def test_fresh_connections_that_were_lost(connect, backend):
    """Lent unseen, they cost a borrower his statement, each at most one; then it's as before."""
    async with connect(min_size=0, max_size=1, validate_after_idle=60) as database:
        assert await database.query("SELECT 5 AS five") == [(5,)]
        backend.server.terminate(backend.url)
        rows, failures = await served(database)
        assert rows == [(5,)]
        assert failures <= 1
        assert borrowed(database) == 0


@runs
async def test_a_connection_lost_in_a_transaction(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        with fails(backend.driver.OperationalError):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t (name) VALUES ('lost')")
                backend.server.terminate(backend.url)
                await transaction.execute("INSERT INTO t (name) VALUES ('lost')")
        assert await database.query("SELECT count(*) FROM t") == [(0,)]
        # Lost between the last statement and the end: then it is the commit that fails, and nobody is told otherwise.
        with fails(backend.driver.OperationalError):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t (name) VALUES ('lost')")
                backend.server.terminate(backend.url)
        assert await database.query("SELECT count(*) FROM t") == [(0,)]
        assert borrowed(database) == 0


@runs
async def test_a_connection_lost_in_a_transaction_that_fails_anyway(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        with fails(ZeroDivisionError):
            async with database.transaction():
                backend.server.terminate(backend.url)
                1 / 0
        assert await database.query("SELECT 5 AS five") == [(5,)]


@runs
async def test_a_lent_connection_that_was_lost(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        async with database.connection():
            backend.server.terminate(backend.url)
        assert await database.query("SELECT 5 AS five") == [(5,)]


@runs
async def test_a_connection_lost_while_a_statement_runs(backend):
    database = opened("async", backend.url, min_size=0, max_size=1)
    task = asyncio.create_task(database.query(backend.endless))
    await until(lambda: "active" in backend.server.sessions(backend.url).values())
    backend.server.terminate(backend.url)
    await finished(task)
    assert isinstance(task.exception(), backend.driver.OperationalError)
    assert await database.query("SELECT 5 AS five") == [(5,)]
    assert await database.close() is True


@runs
async def test_a_connection_lost_while_its_statement_is_cancelled(backend):
    database = opened("async", backend.url, min_size=0, max_size=1, acquire_timeout=PATIENCE)
    for _ in range(3):
        task = asyncio.create_task(database.query(backend.endless))
        await until(lambda: "active" in backend.server.sessions(backend.url).values())
        task.cancel()
        await asyncio.to_thread(backend.server.terminate, backend.url)
        await finished(task)
        assert task.cancelled()
        rows, _ = await served(database)
        assert rows == [(5,)]
    assert await database.close() is True


def test_many_threads_and_a_server_that_throws_everybody_out(backend):
    """Errors for those whose connection it was, and right answers for all others."""
    with Database(backend.url, max_size=4, acquire_timeout=PATIENCE, validate_after_idle=0) as database:
        stop = []

        def work():
            failures = answers = 0
            while not stop:
                try:
                    assert database.query("SELECT 5 AS five") == [(5,)]
                    answers += 1
                except (backend.driver.OperationalError, backend.driver.InterfaceError):
                    failures += 1
            return failures, answers

        tasks = [Task(work) for _ in range(6)]
        for _ in range(5):
            time.sleep(0.1)
            backend.server.terminate(backend.url)
        time.sleep(0.1)
        stop.append(True)
        results = [task.result() for task in tasks]
        assert sum(failures for failures, _ in results) <= 5 * 4
        assert all(answers for _, answers in results)
        assert database.query("SELECT 5 AS five") == [(5,)]
        assert borrowed(database) == 0


@runs
async def test_a_server_that_restarts(connect, backend, own_server):
    async with connect(min_size=2, max_size=4, validate_after_idle=0) as database:
        await database.execute(backend.table())
        for _ in range(2):
            own_server.restart()
            rows, failures = await served(database)
            assert rows == [(5,)]
            assert failures <= 1
            await database.execute("INSERT INTO t (name) VALUES ('x')")
        assert await database.query("SELECT count(*) FROM t") == [(2,)]


@runs
async def test_a_server_that_is_down_for_a_while(backend, own_server):
    """Who asks meanwhile waits, and is served when it is back; who can't wait is told why."""
    database = opened("async", backend.url, min_size=0, max_size=2, acquire_timeout=0.3, validate_after_idle=0)
    assert await database.query("SELECT 5 AS five") == [(5,)]
    await asyncio.to_thread(own_server.stop)
    try:
        with pytest.raises(PoolTimeout) as raised:
            await database.query("SELECT 5 AS five")
        assert isinstance(raised.value.__cause__, backend.driver.OperationalError)
        assert database.stats().pool.create_failures >= 1
        assert borrowed(database) == 0

        async def patient():
            async with database.connection(timeout=PATIENCE):
                return True

        waiting = asyncio.create_task(patient())
        await asyncio.sleep(0.2)
        assert not waiting.done()
    finally:
        await asyncio.to_thread(own_server.start)
    await finished(waiting)
    assert waiting.result()
    rows, _ = await served(database)
    assert rows == [(5,)]
    assert await database.close() is True


def test_closing_while_the_server_is_down(backend, own_server):
    database = Database(backend.url, min_size=0, max_size=2)
    database.query("SELECT 1")
    own_server.stop()
    try:
        assert database.close() is True
    finally:
        own_server.start()


def test_a_server_that_is_full(backend):
    """It refuses the ninth, though we might have ten: the others go round."""
    with backend.driver.connect(backend.url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 2")
        try:
            from urllib.parse import urlsplit

            parts = urlsplit(backend.url)
            url = parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl()
            with Database(url, min_size=0, max_size=10, acquire_timeout=PATIENCE) as database:
                tasks = [Task(lambda: database.query("SELECT 5 AS five FROM pg_sleep(0.02)")) for _ in range(20)]
                assert [task.result() for task in tasks] == [[(5,)]] * 20
                assert database.stats().pool.size <= 2
            when(lambda: "idle" not in backend.server.sessions(url).values() or len(backend.server.sessions(url)) <= 1)
        finally:
            connection.execute(f"DROP ROLE {name}")


@runs
async def test_a_statement_time_out_of_the_servers(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        with fails(backend.driver.errors.QueryCanceled):
            async with database.transaction() as transaction:
                await transaction.execute("SET LOCAL statement_timeout = 20")
                await transaction.query(backend.endless)
        assert await database.query("SELECT 5 AS five") == [(5,)]
        assert database.stats().pool.destroyed == 0


@runs
async def test_a_deadlock(backend):
    """The server chooses who loses; he has the server's error, and the other his way."""
    database = opened("async", backend.url, max_size=2)
    await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
    await database.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
    both = asyncio.Barrier(2)

    async def work(first, second):
        async with database.transaction() as transaction:
            await transaction.execute("UPDATE t SET n = n + 1 WHERE id = %s", (first,))
            await both.wait()
            await transaction.execute("UPDATE t SET n = n + 1 WHERE id = %s", (second,))

    ends = await asyncio.gather(work(1, 2), work(2, 1), return_exceptions=True)
    [error] = [end for end in ends if end is not None]
    assert isinstance(error, backend.driver.errors.DeadlockDetected)
    assert await database.query("SELECT n FROM t ORDER BY id") == [(1,), (1,)]
    assert borrowed(database) == 0
    assert await database.close() is True


@runs
async def test_notices_and_nothing_printed(connect, backend, capfd):
    async with connect() as database:
        await database.execute("DO $$ BEGIN RAISE NOTICE 'a word'; RAISE WARNING 'another'; END $$")
        await database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)")
        await database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)")
    assert capfd.readouterr() == ("", "")


@runs
async def test_copy_leaves_nothing_hanging(connect, backend):
    """COPY needs more than a cursor: it is refused or does nothing, and the connection serves on."""
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        for sql in ("COPY t TO STDOUT", "COPY t FROM STDIN"):
            for method in (database.query, database.execute):
                try:
                    await asyncio.wait_for(method(sql), PATIENCE)
                except TimeoutError:
                    pytest.fail("it hangs")
                except Exception:
                    pass
                assert await database.query("SELECT 5 AS five") == [(5,)]
        assert borrowed(database) == 0


@runs
async def test_sessions_are_no_more_than_they_may_be(backend):
    async with AsyncDatabase(backend.url, min_size=0, max_size=3, acquire_timeout=PATIENCE) as database:
        await asyncio.gather(*[database.query("SELECT pg_sleep(0.005)") for _ in range(60)])
        assert len(backend.server.sessions(backend.url)) <= 3
    await until(lambda: backend.server.sessions(backend.url) == {})
