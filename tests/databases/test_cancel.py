"""Cancelling a statement of `AsyncDatabase` interrupts it, and it alone; the connection serves the next borrower."""

import asyncio
import random
import sqlite3
import threading
import time

import pytest

from khronos_fast import KhronosError, PoolClosed, PoolExhausted, PoolTimeout

from .support import (
    FILE,
    PATIENCE,
    PROMPT,
    SHARED,
    SQLITE,
    borrowed,
    fails,
    finished,
    held_statement,
    idle,
    opened,
    pools,
    runs,
    until,
)

NAMES = "SELECT name FROM t ORDER BY id"


def opened_with(backend, **options):
    return opened("async", backend.url, **{"min_size": 0, "max_size": 1, "acquire_timeout": PATIENCE} | options)


def busy(database):
    """Something has been lent, and soon does what it is meant to."""
    return borrowed(database) >= 1


@pytest.mark.parametrize("method", ["query", "execute", "transaction"])
@runs
async def test_a_running_statement_is_interrupted(backend, method):
    """At once for who waits, and soon for the connection, though by itself the statement takes minutes."""
    database = opened_with(backend)

    async def run():
        if method == "transaction":
            async with database.transaction() as transaction:
                await transaction.query(backend.endless)
        else:
            await getattr(database, method)(backend.endless)

    raised, freed = [], []
    for _ in range(3):
        task = asyncio.create_task(run())
        await until(lambda: busy(database))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        task.cancel()
        await finished(task)
        raised.append(time.monotonic() - begun)
        assert task.cancelled()
        # The next borrower of the very connection.
        await (database.query if method == "query" else database.execute)("SELECT 5 AS five")
        freed.append(time.monotonic() - begun)
    assert min(raised) < PROMPT
    assert min(freed) < PROMPT
    assert max(freed) < PATIENCE
    await until(lambda: idle(database))
    # It was interrupted, and not thrown away.
    assert sum(pool.destroyed for pool in pools(database)) == 0
    assert await database.close() is True


@runs
async def test_a_time_out(backend):
    database = opened_with(backend)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await database.query(backend.endless)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(database.query(backend.endless), 0.05)
        assert await database.query("SELECT 5 AS five") == [(5,)]
    assert await database.close() is True


@runs
async def test_who_waits_does_not_wait_for_the_statement(backend):
    """Where it can't be interrupted yet, the task is cancelled all the same; the connection comes back when it can."""
    database = opened_with(backend, acquire_timeout=0.1)
    with held_statement(backend) as (sql, params, begun, end):
        task = asyncio.create_task(database.query(sql, params))
        await until(begun)
        task.cancel()
        await finished(task)
        assert task.cancelled()
        if backend.sqlite:
            # The driver is still in the midst of it, so nobody else may have the connection.
            assert borrowed(database) == 1
            with pytest.raises(PoolTimeout):
                await database.query("SELECT 1")
        end()
    await until(lambda: idle(database))
    assert await database.query("SELECT 5 AS five") == [(5,)]
    assert await database.close() is True


@runs
async def test_cancelled_before_it_began(backend):
    database = opened_with(backend)
    await database.execute(backend.table())
    for _ in range(20):
        task = asyncio.create_task(database.execute("INSERT INTO t (name) VALUES ('lost')"))
        task.cancel()
        await finished(task)
        assert task.cancelled()
    assert await database.query(NAMES) == []
    assert borrowed(database) == 0
    assert await database.close() is True


@runs
async def test_cancelled_in_the_line(backend):
    """Those who wait for a connection go, and the others are served in their order."""
    database = opened_with(backend)
    await database.execute(backend.table())
    with held_statement(backend) as (sql, params, begun, end):
        first = asyncio.create_task(database.query(sql, params))
        await until(begun)
        order = []

        async def ask(number):
            [row] = await database.query(backend.sql("SELECT ? AS a"), (number,))
            order.append(row["a"])

        tasks = [asyncio.create_task(ask(number)) for number in range(10)]
        await until(lambda: database.stats().pool.waiting == 10)
        for number in (0, 3, 4, 9):
            tasks[number].cancel()
        await asyncio.sleep(0)
        end()
        await asyncio.wait(tasks)
        assert await first == [(7,)]
    assert order == [1, 2, 5, 6, 7, 8]
    assert [number for number, task in enumerate(tasks) if task.cancelled()] == [0, 3, 4, 9]
    assert borrowed(database) == 0
    assert await database.close() is True


@runs
async def test_cancelled_while_the_connection_is_opened(backend):
    for turns in range(6):
        database = opened_with(backend)
        task = asyncio.create_task(database.query("SELECT 1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await finished(task)
        assert await database.query("SELECT 5 AS five") == [(5,)]
        assert await database.close() is True


@runs
async def test_cancelled_twice(backend):
    database = opened_with(backend)
    task = asyncio.create_task(database.query(backend.endless))
    await until(lambda: busy(database))
    await asyncio.sleep(0.02)
    task.cancel()
    task.cancel()
    await finished(task)
    assert task.cancelled()
    assert await database.query("SELECT 5 AS five") == [(5,)]
    assert await database.close() is True


@pytest.mark.parametrize("what", ["statement", "many"])
@runs
async def test_a_cancelled_write_did_all_or_nothing(backend, what):
    database = opened_with(backend)
    await database.execute(backend.table())
    for _ in range(3):
        if what == "statement":
            task = asyncio.create_task(database.execute(backend.endless_insert))
        else:
            rows = ((str(number),) for number in range(100_000_000))
            task = asyncio.create_task(database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), rows))
        await until(lambda: busy(database))
        await asyncio.sleep(0.1)
        task.cancel()
        await finished(task)
        assert task.cancelled()
        assert await database.query("SELECT count(*) FROM t") == [(0,)]
        await database.execute("INSERT INTO t (name) VALUES ('after')")
        assert await database.query(NAMES) == [("after",)]
        await database.execute("DELETE FROM t")
    assert await database.close() is True


@SQLITE
@runs
async def test_an_interruption_that_meets_the_rollback(backend):
    """It is sent until the job has ended, so it may come when the statement has failed and is being undone."""
    database = opened_with(backend)
    await database.execute(backend.table())
    worker = await database.writer.acquire()
    connection = worker.connection
    database.writer.release(worker)
    late, cancelled = iter([connection.interrupt] * 3), threading.Event()

    def interrupt_rollbacks(sql):
        if sql == "ROLLBACK":
            next(late, bool)()

    def rows():
        for number in range(1000):
            yield (str(number),)
        # An interrupted INSERT would be rolled back by SQLite itself.
        cancelled.wait(PATIENCE)
        raise ZeroDivisionError

    # Past the connection's own method, which notes what was done to it.
    sqlite3.Connection.set_trace_callback(connection, interrupt_rollbacks)
    task = asyncio.create_task(database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), rows()))
    await until(lambda: busy(database))
    await asyncio.sleep(0.05)
    task.cancel()
    await finished(task)
    assert task.cancelled()
    cancelled.set()
    assert await database.query("SELECT count(*) FROM t") == [(0,)]
    await until(lambda: idle(database))
    assert next(late, None) is None
    assert database.stats().pool.destroyed == 0
    assert await database.close() is True


@pytest.mark.parametrize("size", [1, 3])
@runs
async def test_nobody_elses_statement_is_interrupted(backend, size):
    """The interruption is for one statement; the next one on the connection, and others, know nothing of it."""
    rng = random.Random(size)
    database = opened_with(backend, max_size=size)
    sql = backend.sql(backend.count_to)
    done, answered = asyncio.Event(), []

    async def ask():
        number = 0
        while not done.is_set():
            number = number % 5000 + 777
            assert await database.query(sql, (number,)) == [(number,)]
            answered.append(number)

    others = [asyncio.create_task(ask()) for _ in range(size + 1)]
    cancelled = 0
    for attempt in range(120):
        statement = (backend.endless,) if attempt % 2 else (sql, (20_000,))
        task = asyncio.create_task(database.query(*statement))
        await asyncio.sleep(rng.choice([0, 0, 0.0005, 0.002, 0.005]))
        task.cancel()
        await finished(task)
        cancelled += task.cancelled()
        # Right behind it, perhaps on the very connection.
        assert await database.query(sql, (1000 + attempt,)) == [(1000 + attempt,)]
    done.set()
    await asyncio.gather(*others)
    await until(lambda: idle(database))
    assert cancelled
    assert answered
    assert database.stats().pool.destroyed == 0
    assert await database.close() is True


@runs
async def test_a_statement_that_ends_as_it_is_cancelled(backend):
    """Whichever comes first: the answer or the cancellation, and never an error of the driver's."""
    rng = random.Random(5)
    database = opened_with(backend)
    sql, number, usual = backend.sql(backend.count_to), 5_000, 0.0
    await database.query("SELECT 1")
    # A loop's clock is not finer than a millisecond or two.
    while usual < 0.008:
        number *= 2
        begun = time.perf_counter()
        await database.query(sql, (number,))
        usual = time.perf_counter() - begun
    ends = set()
    for _ in range(80):
        task = asyncio.create_task(database.query(sql, (number,)))
        await asyncio.sleep(usual * rng.uniform(0.2, 1.5))
        task.cancel()
        await finished(task)
        ends.add("cancelled" if task.cancelled() else "answered")
        if not task.cancelled():
            assert task.result() == [(number,)]
    assert "cancelled" in ends
    assert await database.query(sql, (number,)) == [(number,)]
    assert await database.close() is True


@runs
async def test_whoever_swallows_the_cancellation_goes_on(backend):
    database = opened_with(backend)
    there = asyncio.Event()

    async def stubborn():
        try:
            there.set()
            await database.query(backend.endless)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
        return await database.query("SELECT 6 AS six")

    task = asyncio.create_task(stubborn())
    await there.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    await finished(task)
    assert task.result() == [(6,)]
    assert await database.close() is True


@runs
async def test_many_cancelled_at_once(backend):
    database = opened_with(backend, max_size=4)
    for _ in range(3):
        tasks = [asyncio.create_task(database.query(backend.endless)) for _ in range(10)]
        await until(lambda: busy(database))
        await asyncio.sleep(0.03)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert await asyncio.gather(*[database.query("SELECT 5 AS five") for _ in range(10)]) == [[(5,)]] * 10
    await until(lambda: idle(database))
    assert await database.close() is True


@runs
async def test_a_task_group_that_fails(backend):
    """What people have: one fails, and the others are cancelled with it."""
    database = opened_with(backend, max_size=3)
    with fails(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            group.create_task(database.query(backend.endless))
            group.create_task(database.query(backend.endless))
            await asyncio.sleep(0.05)
            group.create_task(database.query("SELECT * FROM nowhere"))
            if backend.kind == "memory":
                # Where the third has no connection to fail on.
                raise ZeroDivisionError
    kind = ZeroDivisionError if backend.kind == "memory" else backend.driver.Error
    assert raised.group_contains(kind)
    assert await database.query("SELECT 5 AS five") == [(5,)]
    assert await database.close() is True


@runs
async def test_cancelled_with_a_lent_connection(connect, face, backend):
    if face == "plain":
        pytest.skip("is for tasks")
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        there = asyncio.Event()

        async def borrow():
            async with database.connection():
                there.set()
                await asyncio.Event().wait()

        for _ in range(3):
            there.clear()
            task = asyncio.create_task(borrow())
            await there.wait()
            task.cancel()
            await finished(task)
            assert task.cancelled()
            assert await database.query(NAMES) == []


@runs
async def test_an_interrupted_statement_is_not_a_failure_of_the_loop(backend):
    """`drive`, which runs this, fails if the loop complains of anything: of exceptions nobody fetched, above all."""
    database = opened_with(backend, max_size=2)
    for delay in (0, 0.001, 0.02):
        task = asyncio.create_task(database.query(backend.endless))
        await asyncio.sleep(delay)
        task.cancel()
        del task
        await asyncio.sleep(0)
    await until(lambda: idle(database))
    assert await database.close() is True


@runs
async def test_closing_with_a_statement_under_way(backend):
    """It has the time that `close` is given; whoever waits in the line is told at once."""
    database = opened_with(backend)
    with held_statement(backend) as (sql, params, begun, end):
        running = asyncio.create_task(database.query(sql, params))
        await until(begun)
        waiting = asyncio.create_task(database.query("SELECT 1"))
        await until(lambda: database.stats().pool.waiting == 1)
        closing = asyncio.create_task(database.close(timeout=PATIENCE))
        await finished(waiting)
        assert isinstance(waiting.exception(), PoolClosed)
        with pytest.raises(PoolClosed):
            await database.query("SELECT 1")
        assert not closing.done()
        end()
        assert await running == [(7,)]
        assert await closing is True


@runs
async def test_closing_and_cancelling(backend):
    """Cancelled while it closes: the connection is closed as soon as the statement has been interrupted."""
    database = opened_with(backend)
    running = asyncio.create_task(database.query(backend.endless))
    await until(lambda: busy(database))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(database.close(timeout=PATIENCE))
    await asyncio.sleep(0.02)
    running.cancel()
    await finished(running)
    assert running.cancelled()
    assert await closing is True
    assert database.stats().pool.size == 0


@runs
async def test_a_close_that_runs_out_of_time(backend, caplog):
    database = opened_with(backend)
    running = asyncio.create_task(database.query(backend.endless))
    await until(lambda: busy(database))
    await asyncio.sleep(0.05)
    assert await database.close(timeout=0.05) is False
    assert any(record.name.startswith("khronos_fast") and record.levelname == "WARNING" for record in caplog.records)
    running.cancel()
    await finished(running)
    assert running.cancelled()
    await until(lambda: database.stats().pool.size == 0)


@runs
async def test_a_cancelled_close(backend):
    """It is closed for borrowers, and may be closed again."""
    database = opened_with(backend)
    with held_statement(backend) as (sql, params, begun, end):
        running = asyncio.create_task(database.query(sql, params))
        await until(begun)
        closing = asyncio.create_task(database.close(timeout=PATIENCE))
        await asyncio.sleep(0.02)
        closing.cancel()
        await finished(closing)
        with pytest.raises(PoolClosed):
            await database.query("SELECT 1")
        end()
        assert await running == [(7,)]
    assert await database.close() is True


@runs
async def test_the_loop_is_free_while_a_statement_runs(backend):
    """A statement is in a thread, and so is everything that waits for the disk or the network."""
    database = opened_with(backend)
    task = asyncio.create_task(database.query(backend.endless))
    await until(lambda: busy(database))
    turns = 0
    begun = time.monotonic()
    while time.monotonic() - begun < 0.2:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 20
    task.cancel()
    await finished(task)
    assert await database.close() is True


@FILE
@runs
async def test_one_hop_a_statement(backend):
    """Results come from the connection's own thread: no more threads than connections, whatever is asked."""
    database = opened_with(backend, max_size=3)
    await database.execute(backend.table())
    before = threading.active_count()
    await asyncio.gather(*[database.query("SELECT 1") for _ in range(50)])
    # Three readers, and what the pool has for its own.
    assert threading.active_count() <= before + 3 + 2
    assert await database.close() is True


@SQLITE
def test_a_loop_that_ends_with_a_statement_under_way(backend):
    """`asyncio.run` cancels what is left; nothing hangs, and the database works in the next loop."""
    database = opened_with(backend)

    async def leave():
        task = asyncio.create_task(database.query(backend.endless))
        await until(lambda: busy(database))
        await asyncio.sleep(0.02)
        return task

    begun = time.monotonic()
    task = asyncio.run(leave())
    assert task.cancelled()

    async def again():
        assert await database.query("SELECT 5 AS five") == [(5,)]
        return await database.close()

    assert asyncio.run(again()) is True
    assert time.monotonic() - begun < PATIENCE


def test_a_loop_that_ends_with_the_database_open(backend):
    """A web server's tests do that: a new loop each time, and one database."""
    database = opened_with(backend)
    for number in range(4):

        async def use(number=number):
            assert await database.query(f"SELECT {number} AS a") == [(number,)]

        asyncio.run(use())

    async def end():
        return await database.close()

    assert asyncio.run(end()) is True


@SQLITE
@runs
async def test_a_statement_that_returns_ever_more_rows(backend):
    """Cancelled in the midst of its rows, which go."""
    database = opened_with(backend)
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    for delay in (0.001, 0.05):
        task = asyncio.create_task(database.query(sql))
        await until(lambda: busy(database))
        await asyncio.sleep(delay)
        task.cancel()
        await finished(task)
        assert task.cancelled()
        assert await database.query("SELECT 5 AS five") == [(5,)]
    assert await database.close() is True


@SHARED
@runs
async def test_two_loops_at_once(backend):
    """A database belongs to one of them; the other is told, and nothing is lost."""
    database = opened_with(backend)
    assert await database.query("SELECT 5 AS five") == [(5,)]

    def elsewhere():
        with pytest.raises(RuntimeError) as raised:
            asyncio.run(database.query("SELECT 1"))
        assert isinstance(raised.value, KhronosError)

    await asyncio.to_thread(elsewhere)
    assert await database.query("SELECT 5 AS five") == [(5,)]
    assert borrowed(database) == 0
    assert await database.close() is True


@runs
async def test_too_many_wait(backend):
    database = opened_with(backend, max_waiting=2)
    with held_statement(backend) as (sql, params, begun, end):
        running = asyncio.create_task(database.query(sql, params))
        await until(begun)
        waiting = [asyncio.create_task(database.query("SELECT 5 AS five")) for _ in range(2)]
        await until(lambda: database.stats().pool.waiting == 2)
        with pytest.raises(PoolExhausted):
            await database.query("SELECT 1")
        end()
        assert await asyncio.gather(running, *waiting) == [[(7,)], [(5,)], [(5,)]]
    assert await database.close() is True


@runs
async def test_cancelled_while_it_is_put_in_order(backend):
    """The end of a block takes a moment too, and a cancellation then loses nothing."""
    database = opened_with(backend)
    await database.execute(backend.table())

    async def lend():
        async with database.connection() as connection:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t (name) VALUES ('lost')")

    async def write():
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t (name) VALUES ('kept')")

    for number in range(60):
        task = asyncio.create_task(lend() if number % 2 else write())
        for _ in range(number // 4):
            await asyncio.sleep(0)
        task.cancel()
        await finished(task)
    rows = await database.query("SELECT DISTINCT name FROM t")
    assert rows in ([], [("kept",)])
    await until(lambda: idle(database))
    assert await database.close() is True
