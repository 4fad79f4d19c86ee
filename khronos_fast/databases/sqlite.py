"""SQLite, through the standard library: a file with many readers and one writer, or memory with one connection for all.

A file is in WAL mode, so that readers and the writer don't wait for each other, and its writers wait in a line of ours,
first come, first served, rather than in SQLite's, where who asks most often wins.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import sqlite3
import sys
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from khronos_fast._core.row import rows_of
from khronos_fast.databases import sqlite_settings
from khronos_fast.databases.engine import Engine
from khronos_fast.databases.errors import DriverUnsafe, TransactionError
from khronos_fast.databases.result import Result
from khronos_fast.databases.session import Session
from khronos_fast.databases.sqlite_connection import SQLiteConnection
from khronos_fast.databases.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from khronos_fast._core.row import Row
    from khronos_fast.databases.sqlite_settings import Settings
    from khronos_fast.databases.statement import Parameters
    from khronos_fast.databases.url import SQLiteURL

BUSY = 5.0
"""Seconds that SQLite waits for other programs' locks."""

INSERT = Statement.INSERT
READ = Statement.READ


class SQLiteEngine(Engine):
    """An SQLite database."""

    kind = "sqlite"
    batches = False
    validates = False

    def __init__(self, place: SQLiteURL) -> None:
        # Otherwise it is compiled without its mutexes, and no two threads may ever use it, not even in turn.
        if sqlite3.threadsafety != 3:
            raise DriverUnsafe(
                "this Python's SQLite was compiled without support for threads"
                f" (sqlite3.threadsafety is {sqlite3.threadsafety}, not 3); use one that has it"
            )
        super().__init__(place.shown)
        self.path = place.path
        self.single = place.path is None
        self.separate_writer = place.path is not None
        self._settings: dict[bool, Settings] = {}
        self._warned = False

    def _begin_count(self) -> None:
        super()._begin_count()
        # The last connection that closes moves the log into the file; of two that close at once, each takes the other
        # one for the last, and the log stays. So one closes at a time, the one that has this lock. It is reentrant, as
        # a finalizer or a signal handler may come by; and the child of a fork has one of its own, like all that is
        # begun here.
        self.closing = threading.RLock()

    def connect(self, readonly: bool) -> Session:
        """Open a connection, and the file if it is the first."""
        connection = sqlite3.connect(
            ":memory:" if self.path is None else self.path,
            timeout=BUSY,
            isolation_level=None,
            check_same_thread=False,
            factory=SQLiteConnection,
        )
        try:
            cursor = connection.own_cursor()
            if self.path is not None:
                self._switch_to_wal(cursor)
                cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.execute("PRAGMA foreign_keys = ON")
            if readonly:
                cursor.execute("PRAGMA query_only = ON")
            if readonly not in self._settings:
                self._settings[readonly] = sqlite_settings.read(cursor)
            return SQLiteSession(self, connection, self._settings[readonly])
        except BaseException:
            connection.close()
            raise

    def _switch_to_wal(self, cursor: sqlite3.Cursor) -> None:
        # Where several do it at once, SQLite tells all but one, at once, that the file is locked.
        end = time.monotonic() + BUSY
        pause = 0.001
        while True:
            try:
                [mode] = cursor.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                code = _code_of(error)
                if code == sqlite3.SQLITE_READONLY:
                    # It may be read as it is; whoever writes is told.
                    return
                if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > end:
                    raise
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.05)
        if mode != "wal" and not self._warned:
            self._warned = True
            logging.getLogger("khronos_fast.databases").warning(
                "the file system of an SQLite file has no WAL mode, so readers and the writer will wait for each other"
            )

    def is_refusal(self, error: BaseException) -> bool:
        """Whether a reader has refused to write."""
        return isinstance(error, sqlite3.OperationalError) and _code_of(error) == sqlite3.SQLITE_READONLY

    def validate(self, session: Session) -> bool:
        """A file needs no validation."""
        del session
        return True


def _code_of(error: BaseException) -> int:
    """The primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SQLiteSession(Session):
    """A connection to SQLite."""

    beginning: ClassVar[str] = "BEGIN IMMEDIATE"
    prompt: ClassVar[bool] = True
    pause: ClassVar[float] = 0.001
    engine: SQLiteEngine
    connection: SQLiteConnection

    def __init__(self, engine: SQLiteEngine, connection: SQLiteConnection, settings: Settings) -> None:
        super().__init__(engine, connection)
        self._settings = settings
        self._single = engine.single
        self._occupied = False
        self._references = 0  # to the connection, when it was lent
        # One cursor for all statements: making one would take as long as a short statement. It holds nothing between
        # two of them, as all rows are fetched; after a failure it is replaced.
        self._cursor = connection.own_cursor()

    def query(self, sql: str, params: Parameters) -> list[Row]:
        """Run a statement, fetch all rows, count it."""
        cursor = self._cursor
        try:
            cursor.execute(sql, params)
            tuples = cursor.fetchall()
        except BaseException:
            self._replace_cursor()
            raise
        self.queries += 1
        return rows_of(cursor.description, tuples) if tuples else []

    def execute(self, sql: str, params: Parameters, statement: Statement) -> Result:
        """Run a statement to its end, count it."""
        cursor = self._cursor
        try:
            cursor.execute(sql, params)
            if statement is READ:
                # Nobody wants the rows.
                self._replace_cursor()
            elif cursor.description is not None:
                cursor.fetchall()
            count = cursor.rowcount
        except BaseException:
            self._replace_cursor()
            raise
        self.executes += 1
        return Result(count, cursor.lastrowid if statement is INSERT and count > 0 else None)

    def command(self, sql: str) -> None:
        """Run a statement of ours that returns nothing."""
        self._cursor.execute(sql)

    def execute_chunk(self, sql: str, rows: list[Parameters]) -> int:
        """Run a statement with each of a few parameters; return the count of rows."""
        cursor = self._cursor
        try:
            cursor.executemany(sql, rows)
        except BaseException:
            self._replace_cursor()
            raise
        return max(0, cursor.rowcount)

    def _replace_cursor(self) -> None:
        # Either the connection has been closed, or a parameter's own adapter has come back to us: it is in use.
        with contextlib.suppress(sqlite3.ProgrammingError):
            self._cursor.close()
        self._cursor = self.connection.own_cursor()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.connection.in_transaction

    def refuse_to_commit(self) -> None:
        """Raise TransactionError if there is nothing that a commit would keep."""
        if not self.connection.in_transaction:
            raise TransactionError(
                "nothing was committed at the end of the block: the transaction had ended before, by a statement of its"
                " own, or because SQLite rolled it back when a statement failed"
            )

    def rollback(self) -> None:
        """End whatever transaction is open."""
        self._cursor.execute("ROLLBACK")

    def check(self) -> None:
        """Raise if the connection has been closed."""
        self.connection.total_changes  # noqa: B018 - raises

    def lend(self, readonly: bool) -> None:
        """Make the connection ready for a borrower of its own."""
        if readonly and self._single:
            self._cursor.execute("PRAGMA query_only = ON")
        self._references = self.connection.count_references()

    def restore(self) -> None:
        """Make the session what it was when it was opened."""
        self.check()
        # The borrower's own variable is one more. Beyond that there may be a cursor that we don't know of.
        if self._references and self.connection.count_references() > self._references + 1:
            self.connection.note_strangers()
        self._references = 0
        connection = self.connection
        if not connection.close_handles(BUSY, self._cursor):
            # To close it under a thread that is in SQLite would crash; who holds it may let it go.
            self._occupied, self.usable = True, False
            return
        if sys.version_info >= (3, 12):
            connection.autocommit = sqlite3.LEGACY_TRANSACTION_CONTROL
        if connection.in_transaction:
            connection.rollback()
        connection.isolation_level = None
        connection.row_factory = None
        connection.text_factory = str
        if connection.marked and not self._single:
            self.usable = False
            return
        if connection.marked:
            connection.unmark()
        if sqlite_settings.differs(self._cursor, self._settings):
            if self._single:
                sqlite_settings.put_back(self._cursor, self._settings)
            else:
                self.usable = False

    def _insist(self, step: Callable[[], None]) -> None:
        super()._insist(functools.partial(self._through_interruptions, step))

    def _through_interruptions(self, step: Callable[[], None]) -> None:
        # Nobody waits for the statement any more, and it is interrupted again and again until its job has ended; that
        # may meet what undoes it. A database in memory can't be thrown away with its connection, so go on: the pauses
        # between interruptions grow.
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if _code_of(error) != sqlite3.SQLITE_INTERRUPT:
                    raise

    def _give_up(self) -> None:
        try:
            self.check()
        except sqlite3.Error:
            self.usable = False
        else:
            # What is in memory would be gone with it.
            self.usable = self._single

    def interrupt_driver(self) -> None:
        """From another thread: have the statement that is running fail soon."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        if self._occupied:
            return
        closing, mine = self.engine.closing, False
        try:
            # Not for longer: SQLite closes a connection only when no thread is at it any more, and one that was lent
            # may have been handed on. A log that stays does no harm; a close that hangs would.
            mine = closing.acquire(timeout=BUSY)
        finally:
            # Whoever is interrupted closes it all the same.
            try:
                self.connection.close()
            finally:
                if mine:
                    closing.release()
