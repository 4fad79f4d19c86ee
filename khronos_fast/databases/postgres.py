"""PostgreSQL, through psycopg 3: its plain connections, in autocommit mode, with BEGIN and SAVEPOINT as plain SQL."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from khronos_fast._core.row import rows_of
from khronos_fast.databases.engine import Engine
from khronos_fast.databases.errors import DatabaseURLError, TransactionError
from khronos_fast.databases.result import Result
from khronos_fast.databases.session import Session
from khronos_fast.databases.url import without_secrets

if TYPE_CHECKING:
    from khronos_fast._core.row import Row
    from khronos_fast.databases.statement import Parameters, Statement
    from khronos_fast.databases.url import PostgresURL

CONNECT_TIMEOUT = "10"
"""Seconds, where neither the URL nor the environment says: else a host that never answers is waited for two minutes."""
CANCEL_TIMEOUT = 5.0
"""Seconds that the server may take to be asked to cancel a statement."""
RELEASE_TIMEOUT = 0.5
"""Seconds that a thread may take to notice that its statement was cancelled."""

# What DISCARD ALL does, but for prepared statements: psycopg keeps those, and knows which there are.
RESTORE = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *;"
    " SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)
OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class PostgresEngine(Engine):
    """A PostgreSQL database."""

    kind = "postgresql"
    batches = True
    validates = True
    separate_writer = False
    single = False

    def __init__(self, place: PostgresURL) -> None:
        super().__init__(place.shown)
        self._parameters: dict[str, Any] = {
            "connect_timeout": os.environ.get("PGCONNECT_TIMEOUT") or CONNECT_TIMEOUT,
            "fallback_application_name": "khronos_fast",
            **place.parameters,
        }
        self._secrets = place.secrets
        complaint = ""
        try:
            make_conninfo(**self._parameters)
        except psycopg.Error as error:
            complaint = str(without_secrets(error, self._secrets)).strip()
        if complaint:
            raise DatabaseURLError(
                f"{place.source} is no URL that PostgreSQL's library understands ({complaint}); wanted is"
                " postgresql://user:password@host:5432/database?name=value"
            )

    def connect(self, readonly: bool) -> Session:
        """Connect to the server. The driver's error has no password in it."""
        del readonly  # all connections may write
        try:
            return PostgresSession(self, psycopg.connect(**self._parameters, autocommit=True))
        except Exception as error:
            failure = without_secrets(error, self._secrets)
        # Out here, so that the original one is no part of it.
        raise failure

    def is_refusal(self, error: BaseException) -> bool:
        """Whether it is the refusal of a session that only reads to write: there is none of those."""
        del error
        return False

    def validate(self, session: Session) -> bool:
        """Whether the server still answers."""
        session.command("SELECT 1")
        return True


class PostgresSession(Session):
    """A connection to PostgreSQL."""

    beginning: ClassVar[str] = "BEGIN"
    prompt: ClassVar[bool] = False
    pause: ClassVar[float] = 0.02
    connection: psycopg.Connection[tuple[Any, ...]]

    def __init__(self, engine: PostgresEngine, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        super().__init__(engine, connection)
        self._prepare_threshold = connection.prepare_threshold
        self._prepared_max = connection.prepared_max

    def query(self, sql: str, params: Parameters) -> list[Row]:
        """Run a statement, fetch all rows, count it."""
        cursor = self._run(sql, params)
        description = cursor.description
        self.queries += 1
        return rows_of(description, cursor.fetchall()) if description is not None else []

    def execute(self, sql: str, params: Parameters, statement: Statement) -> Result:
        """Run a statement, count it."""
        del statement  # there is no last id to be had
        cursor = self._run(sql, params)
        self.executes += 1
        return Result(cursor.rowcount)

    def _run(self, sql: Any, params: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        # With parameters, even with none of them, psycopg takes each % for a placeholder.
        return self.connection.execute(sql, None if isinstance(params, (tuple, list, dict)) and not params else params)

    def command(self, sql: Any) -> None:
        """Run a statement of ours that returns nothing."""
        self.connection.execute(sql, prepare=False)

    def execute_chunk(self, sql: Any, rows: list[Parameters]) -> int:
        """Run a statement with each of a few parameters; return the count of rows."""
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, rows)
            return max(0, cursor.rowcount)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, perhaps one that has failed."""
        return self.connection.pgconn.transaction_status in OPEN

    def refuse_to_commit(self) -> None:
        """Raise TransactionError if there is nothing that a commit would keep."""
        status = self.connection.pgconn.transaction_status
        # A commit would roll back then, and say nothing.
        if status == TransactionStatus.INERROR:
            raise TransactionError(
                "nothing was committed at the end of the block: a statement had failed, after which PostgreSQL keeps"
                " nothing of a transaction; to go on after a failure, have it in a nested transaction()"
            )
        if status == TransactionStatus.IDLE:
            raise TransactionError(
                "nothing was committed at the end of the block: a statement of its own had ended the transaction"
            )

    def rollback(self) -> None:
        """End whatever transaction is open."""
        self.connection.rollback()

    def check(self) -> None:
        """Raise if the connection is closed, lost, or in the midst of something."""
        connection = self.connection
        if (
            connection.closed
            or connection.pgconn.transaction_status in (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)
            or connection.pgconn.pipeline_status != PipelineStatus.OFF
        ):
            raise psycopg.OperationalError("the connection can't be used any more")

    def lend(self, readonly: bool) -> None:
        """Make the connection ready for a borrower of its own."""
        if readonly:
            self.command("SET default_transaction_read_only = on")

    def restore(self) -> None:
        """Make the session what it was when it was opened."""
        connection = self.connection
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            # Another thread is still at it, or a stream was not read to its end: the latter will not let go by itself.
            self.interrupt_driver()
            if connection.lock.acquire(timeout=RELEASE_TIMEOUT):
                connection.lock.release()
        self.check()
        if self.in_transaction:
            connection.rollback()
        connection.autocommit = True
        connection.isolation_level = None
        connection.read_only = None
        connection.deferrable = None
        connection.row_factory = tuple_row
        connection.cursor_factory = psycopg.Cursor
        connection.server_cursor_factory = psycopg.ServerCursor
        connection.prepare_threshold = self._prepare_threshold
        connection.prepared_max = self._prepared_max
        self.command(RESTORE)
        self.check()

    def interrupt_driver(self) -> None:
        """From another thread: have the server cancel the statement that is running. Takes a connection of its own."""
        with contextlib.suppress(psycopg.Error):
            # What has not begun yet can't be cancelled; what has, is found out by asking again.
            if self.connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
                return
            self.connection.cancel_safe(timeout=CANCEL_TIMEOUT)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
