"""Processes: several that share a file, one that forks, one that ends with a statement under way."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import khronos_fast

from .support import FILE, SHARED, Backend, Task, needs_fork, run_script

WRITER = """
import sys
from khronos_fast.databases import Database

with Database(sys.argv[1], acquire_timeout=60) as database:
    database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, writer TEXT, n INTEGER)")
    for number in range(60):
        with database.transaction() as transaction:
            [[last]] = transaction.query("SELECT coalesce(max(n), 0) FROM t WHERE writer = ?", (sys.argv[2],))
            assert last == number, (last, number)
            transaction.execute("INSERT INTO t (writer, n) VALUES (?, ?)", (sys.argv[2], number + 1))
        database.query("INSERT INTO t (writer, n) VALUES ('returning', 0) RETURNING id")
        assert database.query("SELECT max(n) FROM t WHERE writer = ?", (sys.argv[2],)) == [(number + 1,)]
"""


@FILE
def test_several_processes_write_one_file(backend):
    """Which does not exist when they begin."""
    tasks = [Task(lambda name=name: run_script(WRITER, backend.url, name)) for name in "abc"]
    for task in tasks:
        task.result(120)
    rows = run_script(
        """
import sys
from khronos_fast.databases import Database
with Database(sys.argv[1]) as database:
    print([tuple(row) for row in database.query("SELECT writer, count(*) FROM t GROUP BY writer ORDER BY writer")])
    print([tuple(row) for row in database.query("PRAGMA integrity_check")])
""",
        backend.url,
    ).stdout.splitlines()
    assert rows == ["[('a', 60), ('b', 60), ('c', 60), ('returning', 180)]", "[('ok',)]"]


# Each `check` in a child tells by its exit status how it went.
FORK = """
import asyncio, os, sys, threading, time, traceback, warnings
# That there are threads is what these tests are about.
warnings.simplefilter("ignore", DeprecationWarning)
from khronos_fast.databases import AsyncDatabase, Database

url = sys.argv[1]

def forked(check):
    pid = os.fork()
    if pid:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                assert status == 0, status
                return
            time.sleep(0.01)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise AssertionError("the child hangs")
    try:
        check()
        sys.stderr.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
"""

FORKS = {
    "both work": """
with Database(url, max_size=3) as database:
    database.execute("CREATE TABLE t (id INTEGER, name TEXT)")
    database.query("SELECT 1")
    created = database.stats().pool.created

    def check():
        stats = database.stats()
        assert stats.pool.size == stats.pool.borrowed == 0, stats
        database.execute("INSERT INTO t VALUES (1, 'child')")
        assert len(database.query("SELECT * FROM t")) >= 1
        with database.transaction():
            database.execute("INSERT INTO t VALUES (2, 'child')")
        with database.connection(readonly=True) as connection:
            connection.execute("SELECT * FROM t").fetchall()
        assert database.close() is True

    for turn in range(3):
        forked(check)
        assert database.query("SELECT count(*) FROM t") == [(2 * turn + 2,)]
        database.execute("UPDATE t SET name = 'parent'")
    assert database.stats().pool.created == created
    assert database.stats().pool.borrowed == 0
""",
    "children of children": """
with Database(url) as database:
    database.execute("CREATE TABLE t (id INTEGER, name TEXT)")

    def grandchild():
        database.execute("INSERT INTO t VALUES (2, 'grandchild')")

    def child():
        database.execute("INSERT INTO t VALUES (1, 'child')")
        forked(grandchild)
        assert database.query("SELECT count(*) FROM t") == [(2,)]

    forked(child)
    assert database.query("SELECT count(*) FROM t") == [(2,)]
""",
    "a child that does nothing": """
with Database(url) as database:
    database.execute("CREATE TABLE t (id INTEGER, name TEXT)")
    forked(lambda: None)
    # What a child leaves behind when it ends as a program does: its interpreter collects everything.
    pid = os.fork()
    if not pid:
        import gc
        del database
        gc.collect()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    database.execute("INSERT INTO t VALUES (1, 'parent')")
    assert database.query("SELECT count(*) FROM t") == [(1,)]
""",
    "in the midst of a transaction": """
with Database(url) as database:
    database.execute("CREATE TABLE t (id INTEGER, name TEXT)")

    def check():
        # The child is not in it: it is the parent's, and so is its connection.
        assert database.query("SELECT count(*) FROM t") == [(0,)]

    with database.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (1, 'parent')")
        forked(check)
        transaction.execute("INSERT INTO t VALUES (2, 'parent')")
        assert database.query("SELECT count(*) FROM t") == [(2,)]
    assert database.query("SELECT count(*) FROM t") == [(2,)]
""",
    "a child that leaves its parent's transaction": """
with Database(url) as database:
    database.execute("CREATE TABLE t (id INTEGER, name TEXT)")
    pid = None
    try:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO t VALUES (1, 'parent')")
            pid = os.fork()
            if not pid:
                raise ZeroDivisionError
            assert os.waitpid(pid, 0)[1] == 0
            transaction.execute("INSERT INTO t VALUES (2, 'parent')")
    except BaseException as error:
        if pid == 0:
            os._exit(0 if isinstance(error, ZeroDivisionError) else 1)
        raise
    assert database.query("SELECT count(*) FROM t") == [(2,)]
""",
    # It waits, and does not compute: it could then hold a lock of SQLite's own when it is forked, and so for ever
    # in the child, which nobody can help.
    "with a statement under way": """
with Database(url, max_size=2) as database:
    database.execute("CREATE TABLE t (id INTEGER, name TEXT)")
    answers = []
    if url.startswith("sqlite"):
        import sqlite3
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        wait = lambda: answers.append(database.execute("INSERT INTO t VALUES (1, 'parent')").rowcount)
        count = 1
    else:
        wait = lambda: answers.append(len(database.query("SELECT 1 FROM pg_sleep(1)")))
        count = 0
    thread = threading.Thread(target=wait)
    thread.start()
    while not (database.stats().writer or database.stats().pool).borrowed:
        time.sleep(0.001)
    time.sleep(0.05)

    def check():
        assert (database.stats().writer or database.stats().pool).borrowed == 0
        assert database.query("SELECT count(*) FROM t") == [(0,)]
        assert database.close() is True

    forked(check)
    if count:
        other.rollback()
        other.close()
    thread.join()
    assert answers == [1]
    assert database.query("SELECT count(*) FROM t") == [(count,)]
""",
    "asynchronous": """
database = AsyncDatabase(url, max_size=2)

async def child():
    await database.execute("INSERT INTO t VALUES (1, 'child')")
    assert len(await database.query("SELECT * FROM t")) >= 1
    assert await database.close() is True

async def main():
    await database.execute("CREATE TABLE t (id INTEGER, name TEXT)")
    await database.query("SELECT 1")
    for turn in range(2):
        forked(outside)
        assert await database.query("SELECT count(*) FROM t") == [(turn + 1,)]
    assert await database.close() is True

def outside():
    # The parent's loop is running in this thread, as far as it knows.
    asyncio._set_running_loop(None)
    asyncio.run(child())

asyncio.run(main())
""",
    "asynchronous, between two loops": """
database = AsyncDatabase(url, max_size=2)

async def use(count):
    await database.execute("INSERT INTO t VALUES (1, 'somebody')")
    assert await database.query("SELECT count(*) FROM t") == [(count,)]

async def begin():
    await database.execute("CREATE TABLE t (id INTEGER, name TEXT)")

asyncio.run(begin())
forked(lambda: asyncio.run(use(1)))
asyncio.run(use(2))
forked(lambda: asyncio.run(use(3)))
asyncio.run(database.close())
""",
}


@needs_fork
@SHARED
@pytest.mark.parametrize("name", FORKS)
def test_fork(backend, name):
    run_script(FORK + FORKS[name], backend.url)


@needs_fork
@FILE
def test_fork_while_a_connection_closes(backend):
    """The child does not wait for a thread that it hasn't."""
    script = """
with Database(url) as database:
    database.execute("CREATE TABLE t (id INTEGER)")
    closing, go = threading.Event(), threading.Event()

    def close():
        with database.engine.closing:
            closing.set()
            go.wait(60)

    thread = threading.Thread(target=close)
    thread.start()
    closing.wait(60)

    def check():
        from khronos_fast.databases import sqlite
        sqlite.BUSY = 30
        began = time.monotonic()
        assert database.query("SELECT count(*) FROM t") == [(0,)]
        # From this very thread: a new one may have the identity of the one that is missing.
        database.engine.close(database.engine.open_reader())
        assert database.close() is True
        assert time.monotonic() - began < 20

    forked(check)
    go.set()
    thread.join()
"""
    run_script(FORK + script, backend.url)


@needs_fork
def test_fork_in_memory():
    """The child has one of its own: the parent's is out of reach, and stays as it is."""
    script = """
with Database("sqlite://") as database:
    database.execute("CREATE TABLE t (id INTEGER)")

    def check():
        database.execute("CREATE TABLE mine (id INTEGER)")
        assert database.query("SELECT count(*) FROM mine") == [(0,)]

    forked(check)
    assert database.query("SELECT count(*) FROM t") == [(0,)]
    try:
        database.query("SELECT * FROM mine")
    except Exception:
        pass
    else:
        raise AssertionError("the child wrote to the parent's memory")
"""
    run_script(FORK + script, "")


EXITS = {
    "threads": """
with_thread = threading.Thread(target=lambda: database.query(endless), daemon=True)
with_thread.start()
""",
    "in a transaction": """
def run():
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (1)")
        transaction.query(endless)
threading.Thread(target=run, daemon=True).start()
""",
    "an open transaction": """
block = database.transaction()
block.__enter__().execute("INSERT INTO t VALUES (1)")
""",
    "a lent connection": """
block = database.connection()
connection = block.__enter__()
connection.execute("BEGIN")
connection.execute("INSERT INTO t VALUES (1)")
cursor = connection.execute("SELECT 1 UNION SELECT 2")
cursor.fetchone()
""",
    "nothing": "",
}

EXIT = """
import sys, threading, time
from khronos_fast.databases import Database
url, endless = sys.argv[1:]
database = Database(url, max_size=2)
database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)")
database.query("SELECT 1")
{}
time.sleep(0.1)
print("the end", flush=True)
"""

ASYNC_EXITS = {
    "the loop is run to its end": """
async def main():
    await begin()
    asyncio.create_task(database.query(endless))
    asyncio.create_task(database.execute(endless))
    await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "the loop stands still": """
loop = asyncio.new_event_loop()
loop.run_until_complete(begin())
tasks = [loop.create_task(database.query(endless)), loop.create_task(database.execute(endless))]
loop.run_until_complete(asyncio.sleep(0.1))
for task in tasks:
    # That they are pending is known.
    task._log_destroy_pending = False
""",
    "a transaction": """
loop = asyncio.new_event_loop()
loop.run_until_complete(begin())
async def run():
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO t VALUES (1)")
        await transaction.query(endless)
task = loop.create_task(run())
task._log_destroy_pending = False
loop.run_until_complete(asyncio.sleep(0.1))
""",
    "a thread's loop": """
def run():
    async def main():
        await begin()
        await database.query(endless)
    asyncio.run(main())
threading.Thread(target=run, daemon=True).start()
time.sleep(0.3)
""",
    "nobody closed it": """
asyncio.run(begin())
""",
}

ASYNC_EXIT = """
import asyncio, sys, threading, time
from khronos_fast.databases import AsyncDatabase
url, endless = sys.argv[1:]
database = AsyncDatabase(url, max_size=2)
async def begin():
    await database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)")
    await database.query("SELECT 1")
{}
print("the end", flush=True)
"""


def ends(script, backend: Backend, *, quiet=True):
    """The program comes to its end though a statement of minutes is under way, and says nothing about it."""
    begun = time.monotonic()
    done = run_script(script, backend.url, backend.endless, timeout=60)
    assert done.stdout == "the end\n"
    assert time.monotonic() - begun < 60
    if quiet:
        assert done.stderr == ""
    rows = "import sys; from khronos_fast.databases import Database; d = Database(sys.argv[1]); "
    rows += "print(d.query('SELECT count(*) FROM t')[0][0]); d.close()"
    assert run_script(rows, backend.url).stdout == "0\n"


@SHARED
@pytest.mark.parametrize("name", EXITS)
def test_exit(backend, name):
    ends(EXIT.format(EXITS[name]), backend)


@SHARED
@pytest.mark.parametrize("name", ASYNC_EXITS)
def test_exit_asynchronous(backend, name):
    # A loop that was never closed, and coroutines nobody finished, are the interpreter's to complain about.
    quiet = name in ("the loop is run to its end", "nobody closed it")
    ends(ASYNC_EXIT.format(ASYNC_EXITS[name]), backend, quiet=quiet)


@FILE
def test_a_process_that_is_killed_while_it_writes(backend):
    """What it had not committed was never there, and the others go on at once."""
    script = EXIT.format(EXITS["in a transaction"]) + "\ntime.sleep(600)\n"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script, backend.url, backend.endless],
        env=os.environ | {"PYTHONPATH": str(Path(khronos_fast.__file__).resolve().parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "the end\n"
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()
    rows = "import sys; from khronos_fast.databases import Database; d = Database(sys.argv[1]); "
    rows += "d.execute('INSERT INTO t VALUES (7)'); print(d.query('SELECT id FROM t')[0][0]); d.close()"
    assert run_script(rows, backend.url).stdout == "7\n"
