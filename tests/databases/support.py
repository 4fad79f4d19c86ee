"""What the tests of databases share: what differs between the kinds of database, and one face for both classes.

What the tests of the memory cache and of memoizing have for threads and event loops is used from there. How test
folders see each other depends on how pytest imports them, so those files are loaded by their paths.
"""

import asyncio
import contextlib
import functools
import importlib.util
import os
import sqlite3
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

from khronos_fast.databases import AsyncDatabase, Database

_path = Path(__file__).resolve().parents[1] / "memo" / "support.py"
_spec = importlib.util.spec_from_file_location(f"{__package__}._memo_support", _path)
_memo = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _memo
_spec.loader.exec_module(_memo)

FREE_THREADED = _memo.FREE_THREADED
PATIENCE = _memo.PATIENCE
LoopThread = _memo.LoopThread
Task = _memo.Task
drive = _memo.drive
outcome = _memo.outcome
run_script = _memo.run_script
settle = _memo.settle
together = _memo.together
until = _memo.until
wait = _memo.wait

# What is promised to happen at once must be seen within this, once in a few attempts: others use the machine too.
PROMPT = 1.0

FILE = pytest.mark.parametrize("backend", ["file"], indirect=True)
MEMORY = pytest.mark.parametrize("backend", ["memory"], indirect=True)
POSTGRES = pytest.mark.parametrize("backend", ["postgres"], indirect=True)
SQLITE = pytest.mark.parametrize("backend", ["file", "memory"], indirect=True)
# More than one connection, so that one does not see what another has not committed.
SHARED = pytest.mark.parametrize("backend", ["file", "postgres"], indirect=True)

# For a block of more than one statement that fails as a whole: what comes before its failure is a part of the matter.
fails = pytest.raises

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


class Backend:
    """A database of some kind that is empty and nobody else's, and how it is spoken to."""

    def __init__(self, kind, url, path=None, server=None):
        self.kind, self.url, self.path, self.server = kind, url, path, server
        self.sqlite = kind != "postgres"
        if self.sqlite:
            self.driver = sqlite3
            self.key = "INTEGER PRIMARY KEY"
            # About 5 minutes, were nobody to stop it.
            self.endless = (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000000)"
                " SELECT max(i) AS top FROM n"
            )
            self.endless_insert = (
                "INSERT INTO t (name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                " WHERE i < 3000000000) SELECT 'many' FROM n WHERE i < 1000 OR i > 2999999999"
            )
            self.count_to = (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " SELECT max(i) AS top FROM n"
            )
        else:
            import psycopg

            self.driver = psycopg
            self.key = "SERIAL PRIMARY KEY"
            self.endless = "SELECT pg_sleep(300)"
            self.endless_insert = "INSERT INTO t (name) SELECT 'many' || pg_sleep(300)::text FROM generate_series(1, 9)"
            self.count_to = "SELECT count(*)::int AS top FROM generate_series(1, %s)"

    def sql(self, text):
        """SQL with the driver's placeholders, written with question marks."""
        return text if self.sqlite else text.replace("?", "%s")

    def table(self, name="t"):
        return f"CREATE TABLE {name} (id {self.key}, name TEXT)"

    def __repr__(self):
        return self.kind


class Held:
    """A parameter that SQLite's driver has to wait for: the statement has begun, and ends when the test says so."""

    def __init__(self, value=1):
        self.value = value
        self.begun, self.go = threading.Event(), threading.Event()

    def __conform__(self, protocol):
        self.begun.set()
        wait(self.go)
        return self.value


@contextlib.contextmanager
def held_statement(backend, expected=7):
    """(sql, params, begun, end) of a statement that runs until `end()`, and returns one row with `expected`."""
    if backend.sqlite:
        held = Held(expected)
        try:
            yield "SELECT ? AS held", (held,), lambda: held.begun.is_set(), held.go.set
        finally:
            held.go.set()
        return
    with backend.driver.connect(backend.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(42)")

        def begun():
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return holder.execute(query).fetchone()[0] == 1

        sql = "WITH waited AS MATERIALIZED (SELECT pg_advisory_xact_lock(42)) SELECT %s::int AS held FROM waited"
        yield sql, (expected,), begun, lambda: holder.execute("SELECT pg_advisory_unlock_all()")


class Plain:
    """A `Database`, or a transaction of one, worn as its asynchronous sister: so that one test can be for both."""

    def __init__(self, plain):
        self.plain = plain

    async def query(self, *args, **kwargs):
        return self.plain.query(*args, **kwargs)

    async def execute(self, *args, **kwargs):
        return self.plain.execute(*args, **kwargs)

    async def executemany(self, *args, **kwargs):
        return self.plain.executemany(*args, **kwargs)

    @contextlib.asynccontextmanager
    async def transaction(self):
        with self.plain.transaction() as transaction:
            yield Plain(transaction)

    @contextlib.asynccontextmanager
    async def connection(self, **kwargs):
        with self.plain.connection(**kwargs) as connection:
            yield connection

    async def close(self, *args, **kwargs):
        return self.plain.close(*args, **kwargs)

    def stats(self):
        return self.plain.stats()

    def __repr__(self):
        return repr(self.plain)


def opened(face, url, **options):
    """A database of that face, to be closed by whoever asked."""
    return AsyncDatabase(url, **options) if face == "async" else Plain(Database(url, **options))


def pools(database):
    stats = database.stats()
    return [pool for pool in (stats.pool, stats.writer) if pool is not None]


def borrowed(database):
    """How many connections are out, of whichever pool."""
    return sum(pool.borrowed for pool in pools(database))


def idle(database):
    return all(pool.borrowed == 0 and pool.waiting == 0 for pool in pools(database))


def when(condition, what="what had to come did not"):
    """Wait, without hanging, for what another thread brings about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def runs(test):
    """Run an `async def` test in a loop of its own, which must not hang, complain, or be left with tasks."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        drive(lambda: test(*args, **kwargs))

    return run


def chain(error):
    """An exception and all that came before it, those too that a traceback leaves out."""
    found, todo = [], [error]
    while todo:
        each = todo.pop()
        if each is not None and not any(each is other for other in found):
            found.append(each)
            todo += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return found


def told(error):
    """All that anybody could print of an exception."""
    texts = ["".join(traceback.format_exception(error))]
    for each in chain(error):
        texts += [str(each), repr(each), repr(each.args), repr(getattr(each, "__notes__", ""))]
        texts += ["".join(traceback.format_exception(each))]
    return "\n".join(texts)


def descriptors():
    """What the open files of this process are, those that belong to nobody in particular left out."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(found)


def open_files(path):
    """How often an SQLite file is open in this process."""
    return sum(name == str(path) for name in descriptors())


async def finished(task):
    """Wait for a task that may fail as it likes."""
    await asyncio.wait({task}, timeout=PATIENCE)
    assert task.done(), f"{task} is still not done"
