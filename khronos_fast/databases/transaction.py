"""`Transaction`: the block of a `Database` in which everything is kept, or nothing."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Self

from khronos_fast.databases.errors import TransactionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from khronos_fast._core.row import Row
    from khronos_fast.databases.database import Database
    from khronos_fast.databases.result import Result
    from khronos_fast.databases.session import Session
    from khronos_fast.databases.statement import Parameters


class Transaction:
    """A transaction, or a savepoint in one: what `Database.transaction` returns, and its `with` block gets.

    Other threads may use the object as well; their statements take turns.

    >>> from khronos_fast.databases import Database
    >>> database = Database("sqlite://")
    >>> with database.transaction() as transaction:
    ...     _ = transaction.execute("CREATE TABLE planet (name TEXT)")
    ...     with transaction.transaction() as inner:
    ...         inner.execute("INSERT INTO planet VALUES (?)", ("Venus",)).rowcount
    ...     transaction.query("SELECT name FROM planet")
    1
    [Row(name='Venus')]
    >>> database.close()
    True
    """

    def __init__(self, database: Database, outer: Transaction | None = None, *, counted: bool = True) -> None:
        self._database = database
        self._outer = outer
        self._counted = counted
        self._session: Session | None = None
        self._entered = False
        self._savepoint = ""
        # Whose statements through the database itself are in it.
        self._owner: threading.Thread | None = None
        # Of all that are nested in one: the connection does one thing at a time.
        self._turn = threading.RLock()

    def query(self, sql: str, params: Parameters = ()) -> list[Row]:
        """Run a statement in the transaction and return its rows. As `Database.query`."""
        statement = self._database.engine.statement(sql)
        with self._turn:
            return self._open().query_within(sql, params, statement)

    def execute(self, sql: str, params: Parameters = ()) -> Result:
        """Run a statement in the transaction. As `Database.execute`."""
        statement = self._database.engine.statement(sql)
        with self._turn:
            return self._open().execute_within(sql, params, statement)

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, all or none. As `Database.executemany`."""
        rows = iter(rows)
        with self._turn:
            return self._open().executemany_within(sql, rows)

    def transaction(self) -> Transaction:
        """Return a transaction in this one, for a `with` block: what it does can be taken back by itself."""
        return Transaction(self._database, self)

    def __enter__(self) -> Self:
        if self._entered:
            raise TransactionError("this transaction has been entered before; call transaction() for each block")
        self._entered = True
        outer = self._outer or self._database.joined()
        if outer is None:
            self._begin()
        else:
            self._turn = outer._turn
            with self._turn:
                session = outer._open()
                self._savepoint = session.next_savepoint()
                session.begin_nested(self._savepoint)
                self._session = session
        return self

    def _begin(self) -> None:
        session = self._database.writer.acquire()
        try:
            session.begin(counted=self._counted)
        except BaseException:
            self._give_back(session)
            raise
        self._session = session
        self._owner = threading.current_thread()
        self._database.transactions[self._owner] = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session = self._session
        if session is None:
            return
        if self._owner is not None:
            self._database.transactions.pop(self._owner, None)
        if session.process != os.getpid():
            self._session = None
            return
        with self._turn:
            self._session = None
            if self._savepoint:
                self._end_nested(session, kind is None)
            else:
                self._end(session, kind is None)

    def _end_nested(self, session: Session, keep: bool) -> None:
        if keep:
            session.end_nested(self._savepoint)
        else:
            session.abandon_nested(self._savepoint)

    def _end(self, session: Session, keep: bool) -> None:
        try:
            if keep:
                session.end()
            else:
                session.abandon()
        finally:
            self._give_back(session)

    def _give_back(self, session: Session) -> None:
        self._database.writer.release(session, discard=not session.usable)

    def run_many(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run the statement that the transaction is there for: where it fails, nothing is to be kept."""
        with self._turn:
            return self._open().executemany(sql, rows)

    def belongs_here(self) -> bool:
        """Whether it is of this process, and not of the one that has forked it."""
        return self._session is not None and self._session.process == os.getpid()

    def _open(self) -> Session:
        session = self._session
        if session is None:
            raise TransactionError(
                "this transaction is over: use it in its block only"
                if self._entered
                else "this transaction has not begun: use it in a with block"
            )
        if session.process != os.getpid():
            raise TransactionError("this transaction belongs to the process that began it, not to its forked child")
        return session

    def __repr__(self) -> str:
        return f"<Transaction of {self._database!r}: {describe(self._entered, self._session)}>"


def describe(entered: bool, session: Any) -> str:
    """The state of a transaction, for people."""
    return "open" if session is not None else "over" if entered else "not begun"
