"""Databases: SQLite, and PostgreSQL where there is one."""

import asyncio
import copy
import pickle

from khronos_fast import AsyncDatabase, Database, DatabaseURLError, PoolClosed, Row, TransactionError
from khronos_fast.databases import AsyncTransaction, Transaction

from .exercises import exercises
from .worlds import Refused, World, fails, fails_later, until


class Databases(World):
    """A plain database and an asynchronous one."""

    kinds = ("file", "postgres")

    def open(self):
        options = {"min_size": 0, "max_size": 1, "acquire_timeout": 30, "idle_timeout": None, "name": "leaks"}
        if self.url.startswith("sqlite"):
            self.fewest = 250  # its driver notes every cursor, and forgets those that are gone once there were 200
            self.mark = "?"
            self.endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        else:
            self.mark, self.endless = "%s", "SELECT pg_sleep(300)"
        self.database = Database(self.url, **options)
        self.async_database = AsyncDatabase(self.url, **options)
        for each in (self.database.execute, lambda sql: self.run(self.async_database.execute(sql))):
            each("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT)")
        self.insert = f"INSERT INTO t VALUES ({self.mark}, {self.mark})"
        self.row = self.database.query("SELECT 1 AS a, 'x' AS b, NULL AS c")[0]

    def close(self):
        self.database.execute("DELETE FROM t")
        self.database.close()
        self.run(self.async_database.close())

    def settle(self):
        until(lambda: self.run(idle(self.async_database)))


async def idle(database):
    await asyncio.sleep(0)
    stats = database.stats()
    return not any(pool.borrowed or pool.opening for pool in (stats.pool, stats.writer) if pool is not None)


@exercises(Databases, "Database: query execute executemany joined")
def statements(w):
    database = w.database
    database.query("SELECT 1"), database.query(f"SELECT {w.mark} AS a", ("x",)), database.joined()
    database.execute(w.insert, (1, "x")), database.executemany(w.insert, [(2, "y"), (3, "z")])
    database.query("DELETE FROM t WHERE id < 3 RETURNING id"), database.execute("DELETE FROM t")
    for wrong in ("SELEC", "SELECT * FROM nowhere", f"SELECT {w.mark}"):
        fails(lambda wrong=wrong: database.query(wrong), Exception)
        fails(lambda wrong=wrong: database.execute(wrong), Exception)
    fails(lambda: database.executemany(w.insert, [(1, "x"), (1, "x")]), Exception)
    fails(lambda: database.execute("BEGIN"), TransactionError)


@exercises(
    Databases,
    "Transaction",
    "Database.transaction",
    "Transaction: __init__ __enter__ __exit__ __repr__ query execute executemany transaction",
    "Transaction: belongs_here run_many",
)
def transactions(w):
    with w.database.transaction() as outer:
        outer.query("SELECT 1"), outer.execute(w.insert, (1, "x")), outer.executemany(w.insert, [(2, "y")])
        repr(outer), outer.belongs_here(), outer.run_many(w.insert, [(3, "z")])
        with outer.transaction():
            w.database.query("SELECT 1")
    try:
        with w.database.transaction():
            w.database.execute("DELETE FROM t")
            raise Refused
    except Refused:
        pass
    w.database.execute("DELETE FROM t")
    fails(lambda: outer.query("SELECT 1"), TransactionError)
    repr(Transaction(w.database))


@exercises(
    Databases,
    "Database.connection",
    "Database.refuse_to_lend",
    "Lent",
    "Lent: __init__ __enter__ __exit__ __repr__",
)
def lending(w):
    with w.database.connection() as connection:
        connection.execute("SELECT 1").fetchone()
    lent = w.database.connection(readonly=True)
    repr(lent)
    try:
        with lent as connection:
            raise Refused
    except Refused:
        pass
    w.database.refuse_to_lend(False, None)
    if w.url.startswith("sqlite"):  # which has one connection that writes
        with w.database.transaction():
            fails(w.database.connection, TransactionError)


@exercises(Databases, "Database: stats name __repr__")
def looking(w):
    w.database.stats().as_dict(), w.database.name, repr(w.database)


@exercises(Databases, "Database", "Database: __init__ __enter__ __exit__ close")
def whole_databases(w):
    with Database(w.url, min_size=0, max_size=1) as database:
        database.query("SELECT 1")
    fails(lambda: database.query("SELECT 1"), PoolClosed)
    assert database.close()
    for wrong in ("nonsense", "sqlite:////no such folder/x.db", "ftp://a/b"):
        fails(lambda wrong=wrong: Database(wrong), DatabaseURLError)
    fails(lambda: Database(w.url, max_size=0), ValueError)


@exercises(Databases, "AsyncDatabase: query execute executemany joined")
async def statements_in_tasks(w):
    database = w.async_database
    await database.query("SELECT 1"), await database.query(f"SELECT {w.mark} AS a", ("x",)), database.joined()
    await database.execute(w.insert, (1, "x")), await database.executemany(w.insert, [(2, "y"), (3, "z")])
    await database.execute("DELETE FROM t")
    for wrong in ("SELEC", "SELECT * FROM nowhere", f"SELECT {w.mark}"):
        await fails_later(database.query(wrong), Exception)
        await fails_later(database.execute(wrong), Exception)
    await fails_later(database.executemany(w.insert, [(1, "x"), (1, "x")]), Exception)


@exercises(Databases, "AsyncDatabase.query")
async def cancelling(w):
    for sql, seconds in (("SELECT 1", 0), (w.endless, 0.001)):
        task = asyncio.ensure_future(w.async_database.query(sql))
        await asyncio.sleep(seconds)
        task.cancel()
        await fails_later(task, asyncio.CancelledError)
    while not await idle(w.async_database):
        await asyncio.sleep(0.0005)


@exercises(
    Databases,
    "AsyncTransaction",
    "AsyncDatabase.transaction",
    "AsyncTransaction: __init__ __aenter__ __aexit__ __repr__ query execute executemany",
    "AsyncTransaction: transaction belongs_here",
)
async def transactions_in_tasks(w):
    async with w.async_database.transaction() as outer:
        await outer.query("SELECT 1"), await outer.execute(w.insert, (1, "x"))
        await outer.executemany(w.insert, [(2, "y")])
        repr(outer), outer.belongs_here()
        async with outer.transaction():
            await w.async_database.query("SELECT 1")
    try:
        async with w.async_database.transaction() as outer:
            await outer.execute("DELETE FROM t")
            raise Refused
    except Refused:
        pass
    await w.async_database.execute("DELETE FROM t")
    await fails_later(outer.query("SELECT 1"), TransactionError)
    repr(AsyncTransaction(w.async_database))


@exercises(
    Databases,
    "AsyncDatabase.connection",
    "AsyncDatabase.refuse_to_lend",
    "AsyncLent",
    "AsyncLent: __init__ __aenter__ __aexit__ __repr__",
)
async def lending_in_tasks(w):
    async with w.async_database.connection() as connection:
        repr(connection)
    lent = w.async_database.connection(readonly=True)
    repr(lent)
    try:
        async with lent:
            raise Refused
    except Refused:
        pass
    w.async_database.refuse_to_lend(False, None)


@exercises(Databases, "AsyncDatabase: stats name __repr__")
def looking_at_the_asynchronous(w):
    w.async_database.stats().as_dict(), w.async_database.name, repr(w.async_database)


@exercises(Databases, "AsyncDatabase", "AsyncDatabase: __init__ __aenter__ __aexit__ close")
async def whole_databases_in_tasks(w):
    async with AsyncDatabase(w.url, min_size=0, max_size=1) as database:
        await database.query("SELECT 1")
    await fails_later(database.query("SELECT 1"), PoolClosed)
    assert await database.close()
    fails(lambda: AsyncDatabase("nonsense"), DatabaseURLError)


@exercises(
    Databases,
    "Row",
    "Row: __init__ __new__ __getitem__ __contains__ __iter__ __len__ __reversed__ keys",
    "Row: as_dict index count __hash__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__",
    "Row: __repr__ __copy__ __reduce__",
)
def rows(w):
    row = w.row
    row[0], row["a"], row[-1], row[:2], "x" in row, list(row), len(row), list(reversed(row)), row.keys(), row.as_dict()
    row.index("x"), row.count(1), hash(row), row == (1, "x", None), row != row, repr(row)
    copy.copy(row), pickle.loads(pickle.dumps(row)), row.__reduce__()
    for wrong in (9, "nothing", None, 1.5):
        fails(lambda wrong=wrong: row[wrong], IndexError, KeyError, TypeError)
    fails(lambda: row < row, TypeError)
    fails(lambda: row >= (0,), TypeError)
    fails(lambda: row.index("absent"), ValueError)
    fails(lambda: Row(5, 5), TypeError)
