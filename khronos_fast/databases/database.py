"""`Database`: SQLite or PostgreSQL for threads, on pools of connections."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self, Unpack

from khronos_fast._core.pool import Pool
from khronos_fast.databases.face import Face
from khronos_fast.databases.lent import Lent
from khronos_fast.databases.options import PoolOptions, in_seconds
from khronos_fast.databases.session import Session
from khronos_fast.databases.statement import Statement
from khronos_fast.databases.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from types import EllipsisType, TracebackType

    from khronos_fast._core.row import Row
    from khronos_fast.databases.engine import Engine
    from khronos_fast.databases.result import Result
    from khronos_fast.databases.statement import Parameters

READ = Statement.READ


class Database(Face[Pool[Session]]):
    """A database: SQLite, or PostgreSQL through psycopg 3 (`pip install khronos-fast[postgres]`).

    Each statement borrows a connection for as long as it runs and no longer; those that belong together go into the
    block of `transaction()`. Placeholders and errors are the driver's (`sqlite3`, `psycopg`). Threads may share it.

    An SQLite file has as many connections that read as the pool may have, and one that writes, for which writers wait
    in a line; it is opened in WAL mode, so that neither side waits for the other, with foreign keys enforced. A `query`
    that writes goes to the writer by itself. `sqlite:///:memory:` is one database on one connection, for all threads,
    and gone when this is closed.

    What a statement changes of its session (PRAGMA, SET, ATTACH, CREATE TEMP ...) holds for that statement, or up to
    the end of its transaction: the next one starts afresh, on whichever connection. Functions that change the session
    in a SELECT (`set_config`, `pg_advisory_lock`) are not seen: they are for the block of a `connection()`.

    A query of one row by its key costs SQLite's own time and some 0.5 us.

    A child process, after `fork`, opens connections of its own (fork while no other thread is in the midst of a
    statement of SQLite's, whose locks are copied as they are); a database in memory stays with the parent, and the
    child has an empty one.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///:memory:` or
            `postgresql://user:password@host:5432/database`, with percent-encoding; without it, the environment's
            `DATABASE_URL`; without that, `sqlite:///state.db`. A relative path means where the process is now.
        pool_options: as `Pool` has them: min_size, max_size, acquire_timeout, idle_timeout, max_lifetime, max_waiting,
            validate_after_idle, on_event, name. Times are seconds. What events are about has a `connection`, the
            driver's.

    Raises:
        DatabaseURLError: the URL is not one, or names a directory that does not exist. The password is not in it.
        DriverMissing: an ImportError; psycopg is not there.
        TypeError, ValueError: an option is not what it must be.

    It opens nothing yet. What a server or a file objects to is the `__cause__` of the `PoolTimeout` that a statement
    raises when it has waited for `acquire_timeout`.

    >>> with Database("sqlite:///:memory:") as database:
    ...     _ = database.execute("CREATE TABLE planet (id INTEGER PRIMARY KEY, name TEXT)")
    ...     database.executemany("INSERT INTO planet (name) VALUES (?)", [("Venus",), ("Mars",)]).rowcount
    ...     [row] = database.query("SELECT * FROM planet WHERE name = ?", ["Mars"])
    ...     row["id"], row[1], row.as_dict()
    2
    (2, 'Mars', {'id': 2, 'name': 'Mars'})
    """

    def __init__(self, url: str | None = None, **pool_options: Unpack[PoolOptions]) -> None:
        self._open_pools(url, pool_options, new_pool)
        # Whose block is open: threads, each with the outermost of its transactions. Mostly empty.
        self.transactions: dict[threading.Thread, Transaction] = {}
        self._known = self.engine.known_statement
        self._acquire_reader = self.readers.acquire
        self._release_reader = self.readers.release

    def query(self, sql: str, params: Parameters = ()) -> list[Row]:
        """Run a statement and return all its rows; of a statement that has none, an empty list.

        In the block of a `transaction()` that this thread has entered, it is run there.

        Args:
            sql: one statement, with the driver's placeholders (`?` or `:name`; with psycopg `%s` or `%(name)s`).
            params: what they stand for: a sequence, or a mapping where they have names.

        Raises the driver's errors; PoolTimeout, PoolExhausted, PoolClosed where no connection can be had.

        >>> with Database("sqlite://") as database:
        ...     database.query("SELECT ? AS answer", (42,))
        [Row(answer=42)]
        """
        if self.transactions:
            inside = self.joined()
            if inside is not None:
                return inside.query(sql, params)
        if self._known(sql) is not READ:
            return self._query(sql, params)
        session = self._acquire_reader()
        try:
            rows = session.query(sql, params)
        except BaseException as error:
            refused = session.fail(error)
            self._release_reader(session, discard=not session.usable)
            if not refused or self.writer is self.readers:
                raise
        else:
            self._release_reader(session)
            return rows
        return self._query_on(self.writer, sql, params, self.engine.writes_after_all(sql, READ))

    def _query(self, sql: str, params: Parameters) -> list[Row]:
        """The long way: a statement that is not known yet, or is no plain SELECT."""
        statement = self.engine.statement(sql)
        if not statement.reads or self.writer is self.readers:
            return self._query_on(self.writer, sql, params, statement)
        try:
            return self._query_on(self.readers, sql, params, statement)
        except Exception as error:
            if not self.engine.is_refusal(error):
                raise
        return self._query_on(self.writer, sql, params, self.engine.writes_after_all(sql, statement))

    def _query_on(self, pool: Pool[Session], sql: str, params: Parameters, statement: Statement) -> list[Row]:
        session = pool.acquire()
        try:
            return session.query_alone(sql, params, statement)
        finally:
            pool.release(session, discard=not session.usable)

    def execute(self, sql: str, params: Parameters = ()) -> Result:
        """Run a statement that changes something. It is committed when this returns.

        In the block of a `transaction()` that this thread has entered, it is run there.

        Returns a `Result`: the count of rows, and with SQLite the id of the row that was inserted last. Arguments and
        errors are those of `query`; and TransactionError for a statement such as BEGIN.

        >>> with Database("sqlite://") as database:
        ...     _ = database.execute("CREATE TABLE planet (id INTEGER PRIMARY KEY, name TEXT)")
        ...     database.execute("INSERT INTO planet (name) VALUES (:name)", {"name": "Venus"})
        Result(rowcount=1, lastrowid=1)
        """
        if self.transactions:
            inside = self.joined()
            if inside is not None:
                return inside.execute(sql, params)
        statement = self.engine.statement(sql)
        session = self.writer.acquire()
        try:
            return session.execute_alone(sql, params, statement)
        finally:
            self.writer.release(session, discard=not session.usable)

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, in one transaction: all or none.

        `rows` may be any iterable; it is read as the statements run, some hundreds at a time. In the block of a
        `transaction()` that this thread has entered, it is run there, and taken back as a whole where it fails. Returns
        a `Result` with the count of all rows.

        >>> with Database("sqlite://") as database:
        ...     _ = database.execute("CREATE TABLE square (number INTEGER, square INTEGER)")
        ...     database.executemany("INSERT INTO square VALUES (?, ?)", ((n, n * n) for n in range(1000)))
        Result(rowcount=1000, lastrowid=None)
        """
        rows = iter(rows)
        if self.transactions:
            inside = self.joined()
            if inside is not None:
                return inside.executemany(sql, rows)
        with Transaction(self, counted=False) as transaction:
            return transaction.run_many(sql, rows)

    def transaction(self) -> Transaction:
        """Return a transaction for a `with` block: committed at its end, rolled back if it raises anything.

        What this thread does with the database in the block is in the transaction, and so is what any thread does with
        the object that the block gets. Another `transaction()` in the block is a savepoint: it can be taken back by
        itself. SQLite: it is the only one that writes, from its beginning (BEGIN IMMEDIATE); others go on reading what
        was before.

        Raises TransactionError at the end of a block that has nothing to commit, as the database has rolled it back
        or a statement has ended it; and what `query` raises.

        >>> database = Database("sqlite://")
        >>> _ = database.execute("CREATE TABLE planet (name TEXT)")
        >>> with database.transaction():
        ...     _ = database.execute("INSERT INTO planet VALUES ('Venus')")
        ...     try:
        ...         with database.transaction():
        ...             _ = database.execute("INSERT INTO planet VALUES ('Pluto')")
        ...             raise ValueError("no planet")
        ...     except ValueError:
        ...         pass
        >>> database.query("SELECT name FROM planet"), database.close()
        ([Row(name='Venus')], True)
        """
        return Transaction(self)

    def connection(
        self, readonly: bool = False, timeout: float | timedelta | EllipsisType | None = ...
    ) -> AbstractContextManager[Any, None]:
        """Return a context manager that lends the driver's own connection to its block, in autocommit mode.

        It may be used in any way. At the end it is put back into the state in which it was lent: what is not committed
        is rolled back, open cursors are closed, settings and attributes are restored; where that can't be done
        (functions that were registered with SQLite, say), another connection takes its place. Takes some 50 us with
        SQLite, a round trip with PostgreSQL. What is left on a PostgreSQL connection: prepared statements, and
        psycopg's adapters and handlers.

        Args:
            readonly: lend one that can't write. An SQLite file has one alone that can: it is the writer, for which the
                others wait meanwhile.
            timeout: seconds to wait for it; 0: take what is ready; None: no limit; left out: `acquire_timeout`.

        >>> with Database("sqlite://") as database, database.connection() as connection:
        ...     type(connection).__mro__[1], connection.execute("SELECT 1").fetchone()
        (<class 'sqlite3.Connection'>, (1,))
        """
        pool = self.readers if readonly else self.writer
        limit: Any = timeout
        pool.connection(limit)  # which looks at the time-out
        self.refuse_to_lend(readonly, self.joined())
        return Lent(pool, readonly, limit)

    def joined(self) -> Transaction | None:
        """The outermost transaction in whose block this thread is."""
        inside = self.transactions.get(threading.current_thread())
        # A forked child is not in its parent's.
        return inside if inside is not None and inside.belongs_here() else None

    def close(self, timeout: float | timedelta | None = 5.0) -> bool:
        """Close the database: refuse new statements, send away those who wait, and close all connections.

        Returns True when all are closed; False, with a warning in the log, after `timeout` seconds (None: no limit):
        what is under way then may end, and its connection is closed after it. May be called again.
        """
        seconds = in_seconds(timeout)
        self._is_closed = True
        if self.writer is self.readers:
            return self.readers.close(seconds)
        # Both at once: neither goes on serving while the other is waited for.
        begun = time.monotonic()
        closed: list[bool] = []
        thread = threading.Thread(
            target=lambda: closed.append(self.writer.close(seconds)), name="khronos_fast close", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # At the end of the interpreter no thread can be had any more.
            closed.append(self.writer.close(seconds))
            if seconds is not None:
                seconds = max(0.001, seconds - (time.monotonic() - begun))
            return self.readers.close(seconds) and closed[0]
        all_read = self.readers.close(seconds)
        thread.join()
        return all_read and closed == [True]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def new_pool(engine: Engine, readonly: bool, options: PoolOptions) -> Pool[Session]:
    """A pool of an engine's sessions."""
    return Pool(
        engine.open_reader if readonly else engine.open_writer,
        destroy=engine.close,
        validate=engine.validate if engine.validates else None,
        **options,
    )
