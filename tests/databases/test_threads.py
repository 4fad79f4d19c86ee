"""Threads: nobody's statement meets another's, readers and the writer don't wait for each other, nothing is lost."""

import random
import sqlite3
import threading
import time

import pytest

from khronos_fast import PoolTimeout
from khronos_fast.databases import Database

from .support import (
    FILE,
    MEMORY,
    PATIENCE,
    SHARED,
    Task,
    borrowed,
    fails,
    held_statement,
    needs_proc,
    open_files,
    together,
    when,
)

NAMES = "SELECT name FROM t ORDER BY id"


def test_a_connection_goes_back_only_when_its_statement_has_ended(backend):
    """The bug that this package began with: until then nobody else may have the connection."""
    with Database(backend.url, min_size=0, max_size=1, acquire_timeout=0.1) as database:
        with held_statement(backend, 7) as (sql, params, begun, end):
            running = Task(lambda: database.query(sql, params))
            when(begun, "the statement has not begun")
            for _ in range(3):
                with pytest.raises(PoolTimeout):
                    database.query("SELECT 1")
                assert database.stats().pool.borrowed == 1
                assert database.stats().pool.available == 0
            end()
            assert running.result() == [(7,)]
        assert database.query("SELECT 1") == [(1,)]
        assert database.stats().pool.borrowed == 0


def test_a_long_statement_keeps_its_connection_too(backend):
    """One that computes, for a while that nobody knows: who asks meanwhile gets none, or the answer was there."""
    with Database(backend.url, min_size=0, max_size=1, acquire_timeout=PATIENCE) as database:
        ended = threading.Event()
        number = 3_000_000 if backend.sqlite else 1_000_000

        def run():
            rows = database.query(backend.sql(backend.count_to), (number,))
            ended.set()
            return rows

        running = Task(run)
        refused = 0
        while not ended.is_set():
            try:
                with database.connection(timeout=0, readonly=True) as connection:
                    # Nothing is under way on what was lent: the long one is over, or has not begun.
                    assert connection.execute("SELECT 1").fetchone()[0] == 1
            except PoolTimeout:
                refused += 1
            time.sleep(0.001)
        assert running.result() == [(number,)]
        assert refused


@FILE
def test_a_thousand_queries_in_8_threads_are_never_locked(backend):
    """With a writer that never stops."""
    with Database(backend.url, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        database.executemany("INSERT INTO t (name) VALUES (?)", [(f"name {number}",) for number in range(500)])
        done = threading.Event()

        def write():
            count = 0
            while not done.is_set():
                with database.transaction() as transaction:
                    transaction.execute("INSERT INTO t (name) VALUES ('more')")
                    transaction.execute("UPDATE t SET name = name || '.' WHERE id = ?", (count % 500 + 1,))
                count += 1
            return count

        def read(seed):
            rng = random.Random(seed)
            last = 0
            for _ in range(125):
                number = rng.randrange(1, 501)
                [row] = database.query("SELECT id, name, (SELECT count(*) FROM t) AS n FROM t WHERE id = ?", (number,))
                assert row["id"] == number
                assert row["name"].rstrip(".") == f"name {number - 1}"
                assert row["n"] >= last
                last = row["n"]

        writers = [Task(write) for _ in range(2)]
        try:
            together(*[lambda seed=seed: read(seed) for seed in range(8)], timeout=120)
        finally:
            done.set()
        written = sum(writer.result(120) for writer in writers)
        assert database.query("SELECT count(*) FROM t") == [(500 + written,)]
        stats = database.stats()
        assert stats.failures == 0
        assert stats.pool.timeouts == stats.writer.timeouts == 0


@FILE
def test_a_new_file_that_everybody_opens_at_once(backend):
    """Switching to WAL takes a lock that SQLite's own busy time-out knows nothing of."""
    for attempt in range(5):
        path = backend.path.with_name(f"new {attempt}.db")

        def use(path=path):
            with Database(f"sqlite:///{path}", min_size=0, acquire_timeout=PATIENCE) as database:
                database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT)")
                database.execute("INSERT INTO t (name) VALUES ('x')")
                return len(database.query(NAMES)) >= 1

        assert together(*[use] * 8, timeout=120) == [True] * 8
        with Database(f"sqlite:///{path}") as database:
            assert len(database.query(NAMES)) == 8


@SHARED
def test_readers_and_the_writer_do_not_wait_for_each_other(backend):
    """A long read and a long write, at the same time, and others besides: nobody waits, nobody is locked out."""
    with Database(backend.url, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        database.execute("INSERT INTO t (name) VALUES ('before')")
        with database.connection(readonly=True) as reader:
            reader.execute("BEGIN" if backend.sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ")
            assert reader.execute(NAMES).fetchall() == [("before",)]
            with database.transaction() as transaction:
                transaction.execute("INSERT INTO t (name) VALUES ('written')")
                assert reader.execute(NAMES).fetchall() == [("before",)]
                assert Task(lambda: database.query(NAMES)).result() == [("before",)]
                assert transaction.query(NAMES) == [("before",), ("written",)]
            # Committed, though somebody still reads what was before.
            assert reader.execute(NAMES).fetchall() == [("before",)]
            assert Task(lambda: database.query(NAMES)).result() == [("before",), ("written",)]
            for number in range(5):
                database.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), (str(number),))
            assert reader.execute(NAMES).fetchall() == [("before",)]
        assert len(database.query(NAMES)) == 7


@FILE
def test_a_long_write_keeps_no_reader_waiting(backend):
    """Many readers, while the writer computes: each has its answer long before the writer is ready."""
    with Database(backend.url, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        with held_statement(backend, 7) as (_, params, begun, end):
            writer = Task(lambda: database.execute("INSERT INTO t (id, name) VALUES (?, 'late')", params))
            when(begun)
            rows = together(*[lambda: [database.query("SELECT count(*) FROM t") for _ in range(20)]] * 6)
            assert rows == [[[(0,)]] * 20] * 6
            end()
            assert writer.result().lastrowid == 7
        assert database.query(NAMES) == [("late",)]


@FILE
def test_a_long_read_keeps_no_writer_waiting(backend):
    with Database(backend.url, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        with held_statement(backend, 0) as (_, params, begun, end):
            reader = Task(lambda: database.query("SELECT count(*) FROM t WHERE id > ?", params))
            when(begun)
            for _ in range(20):
                database.execute("INSERT INTO t (name) VALUES ('x')")
            end()
            assert reader.result() == [(20,)]


@FILE
def test_another_program_that_writes_is_waited_for(backend):
    """That is what the busy time-out is for."""
    with Database(backend.url) as database:
        database.execute(backend.table())
        other = sqlite3.connect(backend.path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t (name) VALUES ('other')")
        writer = Task(lambda: database.execute("INSERT INTO t (name) VALUES ('ours')"))
        assert database.query(NAMES) == []
        time.sleep(0.2)
        other.execute("COMMIT")
        other.close()
        writer.result()
        assert database.query(NAMES) == [("other",), ("ours",)]


@FILE
def test_another_program_that_writes_for_too_long(backend):
    """Then it is SQLite's own error, and nothing is lost by it."""
    with Database(backend.url) as database:
        database.execute(backend.table())
        with database.connection() as connection:
            connection.execute("PRAGMA user_version")
        other = sqlite3.connect(backend.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            database.execute("INSERT INTO t (name) VALUES ('ours')")
        assert borrowed(database) == 0
        other.execute("ROLLBACK")
        other.close()
        with database.transaction():
            database.execute("INSERT INTO t (name) VALUES ('ours')")
        assert database.query(NAMES) == [("ours",)]


@MEMORY
def test_memory_is_one_database_for_all_threads(backend):
    with Database(backend.url, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())

        def work(name):
            for number in range(50):
                database.execute("INSERT INTO t (name) VALUES (?)", (f"{name} {number}",))
                assert (f"{name} {number}",) in database.query("SELECT name FROM t WHERE name LIKE ?", (f"{name} %",))

        together(*[lambda name=name: work(name) for name in "abcdefgh"])
        assert database.query("SELECT count(*) FROM t") == [(400,)]
        assert database.stats().pool.created == 1


@MEMORY
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory_outlives_any_idleness(backend, url):
    """It has no other place to live in than its connection."""
    options = {"min_size": 0, "idle_timeout": 0.02, "max_lifetime": 0.02, "validate_after_idle": 0}
    with Database(url, **options) as database:
        database.execute(backend.table())
        database.execute("INSERT INTO t (name) VALUES ('Ada')")
        for _ in range(4):
            time.sleep(0.1)
            assert database.query(NAMES) == [("Ada",)]
        assert database.stats().pool.destroyed == 0


@MEMORY
def test_memory_is_not_shared_by_two(backend):
    with Database(backend.url) as one, Database(backend.url) as two:
        one.execute(backend.table())
        with pytest.raises(sqlite3.OperationalError):
            two.query(NAMES)


@needs_proc
@FILE
def test_idle_connections_go(backend):
    options = {"min_size": 0, "max_size": 5, "idle_timeout": 0.05, "acquire_timeout": PATIENCE}
    with Database(backend.url, **options) as database:
        database.execute(backend.table())
        together(*[lambda: [database.query("SELECT count(*) FROM t") for _ in range(20)]] * 5)
        when(lambda: database.stats().pool.size == 0 and open_files(backend.path) <= 1)
        assert database.query("SELECT count(*) FROM t") == [(0,)]


def test_more_threads_than_connections(backend):
    with Database(backend.url, min_size=0, max_size=2, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        sql = backend.sql("SELECT ? AS a, ? AS b")

        def work(name):
            for number in range(40):
                assert database.query(sql, (name, number)) == [(name, number)]

        together(*[lambda name=name: work(name) for name in "abcdefghijkl"])
        stats = database.stats()
        assert stats.queries == 480
        assert stats.pool.size <= 2
        assert stats.pool.borrowed == 0


def test_threads_doing_whatever_there_is(backend):
    """Each with failures in it: at the end every connection is back, and what was written is what was counted."""
    with Database(backend.url, min_size=0, max_size=3, acquire_timeout=PATIENCE) as database:
        database.execute(backend.table())
        insert = backend.sql("INSERT INTO t (name) VALUES (?)")
        counted = []

        def work(seed):
            rng = random.Random(seed)
            written = 0
            for _ in range(30):
                match rng.randrange(8):
                    case 0:
                        database.execute(insert, ("x",))
                        written += 1
                    case 1:
                        database.executemany(insert, [("x",), ("y",)])
                        written += 2
                    case 2:
                        with pytest.raises(backend.driver.Error):
                            database.execute("INSERT INTO nowhere VALUES (1)")
                    case 3:
                        with pytest.raises(backend.driver.Error):
                            database.query("SELECT * FROM nowhere")
                    case 4:
                        with fails(ZeroDivisionError):
                            with database.transaction():
                                database.execute(insert, ("lost",))
                                1 / 0
                    case 5:
                        with database.connection(readonly=True) as connection:
                            connection.execute("SELECT * FROM t").fetchone()
                    case 6:
                        assert len(database.query(backend.sql(insert + " RETURNING id"), ("x",))) == 1
                        written += 1
                    case 7:
                        assert database.query("SELECT count(*) FROM t")[0][0] >= written
            counted.append(written)

        together(*[lambda seed=seed: work(seed) for seed in range(6)], timeout=120)
        assert database.query("SELECT count(*) FROM t") == [(sum(counted),)]
        assert borrowed(database) == 0
