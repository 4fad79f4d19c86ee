"""`AsyncTransaction`: the block of an `AsyncDatabase` in which everything is kept, or nothing."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Self

from khronos_fast.databases.errors import TransactionError
from khronos_fast.databases.transaction import describe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from khronos_fast._core.row import Row
    from khronos_fast.databases.async_database import AsyncDatabase
    from khronos_fast.databases.result import Result
    from khronos_fast.databases.statement import Parameters
    from khronos_fast.databases.worker import Worker


class AsyncTransaction:
    """A transaction, or a savepoint in one: what `AsyncDatabase.transaction` returns, and its `async with` block gets.

    Other tasks may use the object as well; their statements take turns. A statement that is cancelled is interrupted;
    if the block goes on, SQLite has taken back the statement or the whole transaction (then what follows raises
    TransactionError), and PostgreSQL wants the nested transaction, or the whole one, to end.

    >>> import asyncio
    >>> from khronos_fast.databases import AsyncDatabase
    >>> async def main():
    ...     async with AsyncDatabase("sqlite://") as database:
    ...         async with database.transaction() as transaction:
    ...             await transaction.execute("CREATE TABLE planet (name TEXT)")
    ...             await transaction.execute("INSERT INTO planet VALUES (?)", ("Venus",))
    ...             return await transaction.query("SELECT name FROM planet")
    >>> asyncio.run(main())
    [Row(name='Venus')]
    """

    def __init__(self, database: AsyncDatabase, outer: AsyncTransaction | None = None) -> None:
        self._database = database
        self._outer = outer
        self._worker: Worker | None = None
        self._entered = False
        self._savepoint: str | None = None
        # Whose statements through the database itself are in it.
        self._owner: asyncio.Task[Any] | None = None

    async def query(self, sql: str, params: Parameters = ()) -> list[Row]:
        """Run a statement in the transaction and return its rows. As `AsyncDatabase.query`."""
        statement = self._database.engine.statement(sql)
        worker = self._open()
        return await worker.run(worker.session.query_within, sql, params, statement)

    async def execute(self, sql: str, params: Parameters = ()) -> Result:
        """Run a statement in the transaction. As `AsyncDatabase.execute`."""
        statement = self._database.engine.statement(sql)
        worker = self._open()
        return await worker.run(worker.session.execute_within, sql, params, statement)

    async def executemany(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, all or none. As `AsyncDatabase.executemany`."""
        rows = iter(rows)
        worker = self._open()
        return await worker.run(worker.session.executemany_within, sql, rows)

    def transaction(self) -> AsyncTransaction:
        """Return a transaction in this one, for an `async with` block: what it does can be taken back by itself."""
        return AsyncTransaction(self._database, self)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise TransactionError("this transaction has been entered before; call transaction() for each block")
        self._entered = True
        outer = self._outer or self._database.joined()
        if outer is None:
            await self._begin()
        else:
            await self._begin_nested(outer._open())
        return self

    async def _begin(self) -> None:
        pool = self._database.writer
        worker = await pool.acquire()
        try:
            await worker.run(worker.session.begin, stubborn=True)
        except BaseException:
            # Jobs are done in their order: this one when the other has ended.
            worker.post(worker.session.abandon, back_to=pool)
            raise
        self._worker = worker
        self._owner = asyncio.current_task()
        if self._owner is not None:
            self._database.transactions[self._owner] = self

    async def _begin_nested(self, worker: Worker) -> None:
        session = worker.session
        savepoint = session.next_savepoint()
        try:
            await worker.run(session.begin_nested, savepoint, stubborn=True)
        except BaseException:
            worker.post(session.abandon_nested, savepoint)
            raise
        self._worker, self._savepoint = worker, savepoint

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if self._owner is not None:
            self._database.transactions.pop(self._owner, None)
        session = worker.session
        if session.process != os.getpid():
            return
        pool = None if self._savepoint else self._database.writer
        if kind is None:
            end, arguments = (session.end_nested, (self._savepoint,)) if self._savepoint else (session.end, ())
            await worker.run(end, *arguments, back_to=pool, stubborn=True)
            return
        abandon, arguments = (session.abandon_nested, (self._savepoint,)) if self._savepoint else (session.abandon, ())
        if issubclass(kind, Exception):
            await worker.run(abandon, *arguments, back_to=pool, stubborn=True)
        else:
            # Cancelled, mostly: nobody waits. What comes next on this connection comes after it.
            worker.post(abandon, *arguments, back_to=pool)

    def belongs_here(self) -> bool:
        """Whether it is of this process, and not of the one that has forked it."""
        return self._worker is not None and self._worker.session.process == os.getpid()

    def _open(self) -> Worker:
        worker = self._worker
        if worker is None:
            raise TransactionError(
                "this transaction is over: use it in its block only"
                if self._entered
                else "this transaction has not begun: use it in an async with block"
            )
        if worker.session.process != os.getpid():
            raise TransactionError("this transaction belongs to the process that began it, not to its forked child")
        return worker

    def __repr__(self) -> str:
        return f"<AsyncTransaction of {self._database!r}: {describe(self._entered, self._worker)}>"
