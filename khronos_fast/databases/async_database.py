"""`AsyncDatabase`: SQLite or PostgreSQL for tasks, on pools of connections of which each has a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, Unpack

from khronos_fast._core.async_pool import AsyncPool
from khronos_fast.databases.async_lent import AsyncLent
from khronos_fast.databases.async_transaction import AsyncTransaction
from khronos_fast.databases.face import Face
from khronos_fast.databases.options import PoolOptions, in_seconds
from khronos_fast.databases.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta
    from types import EllipsisType, TracebackType

    from khronos_fast._core.row import Row
    from khronos_fast.databases.engine import Engine
    from khronos_fast.databases.result import Result
    from khronos_fast.databases.statement import Parameters, Statement


class AsyncDatabase(Face[AsyncPool[Worker]]):
    """A database for tasks: `Database` with coroutines.

    The drivers run in threads, one for each connection: a statement costs one hop there and back, some 50 us, and never
    holds up the loop. A task that is cancelled while it waits for a statement goes on at once, with the CancelledError;
    in the background the statement is interrupted, undone, and only then the connection serves the next borrower.

    It belongs to the event loop in which it is first used. When that has been closed, it begins anew in the next one,
    with connections of its own; a database in memory is empty then.

    All arguments, and what is not said here, are as with `Database`.

    >>> import asyncio
    >>> async def main():
    ...     async with AsyncDatabase("sqlite:///:memory:") as database:
    ...         await database.execute("CREATE TABLE planet (id INTEGER PRIMARY KEY, name TEXT)")
    ...         await database.executemany("INSERT INTO planet (name) VALUES (?)", [("Venus",), ("Mars",)])
    ...         return await database.query("SELECT * FROM planet WHERE name = ?", ["Mars"])
    >>> asyncio.run(main())
    [Row(id=2, name='Mars')]
    """

    def __init__(self, url: str | None = None, **pool_options: Unpack[PoolOptions]) -> None:
        self._open_pools(url, pool_options, new_pool)
        # Whose block is open: tasks, each with the outermost of its transactions. Mostly empty.
        self.transactions: dict[asyncio.Task[Any], AsyncTransaction] = {}

    async def query(self, sql: str, params: Parameters = ()) -> list[Row]:
        """Run a statement and return all its rows. As `Database.query`.

        In the block of a `transaction()` that this task has entered, it is run there. (A task that was begun in the
        block, such as those of `asyncio.gather`, and of `asyncio.wait_for` up to Python 3.11, is another task.)

        >>> async def main():
        ...     async with AsyncDatabase("sqlite://") as database:
        ...         return await database.query("SELECT ? AS answer", (42,))
        >>> __import__("asyncio").run(main())
        [Row(answer=42)]
        """
        if self.transactions:
            inside = self.joined()
            if inside is not None:
                return await inside.query(sql, params)
        statement = self.engine.statement(sql)
        if not statement.reads or self.writer is self.readers:
            return await self._query_on(self.writer, sql, params, statement)
        try:
            return await self._query_on(self.readers, sql, params, statement)
        except Exception as error:
            if not self.engine.is_refusal(error):
                raise
        return await self._query_on(self.writer, sql, params, self.engine.writes_after_all(sql, statement))

    async def _query_on(self, pool: AsyncPool[Worker], sql: str, params: Parameters, statement: Statement) -> list[Row]:
        worker = await pool.acquire()
        return await worker.run(worker.session.query_alone, sql, params, statement, back_to=pool)

    async def execute(self, sql: str, params: Parameters = ()) -> Result:
        """Run a statement that changes something. It is committed when this returns. As `Database.execute`."""
        if self.transactions:
            inside = self.joined()
            if inside is not None:
                return await inside.execute(sql, params)
        statement = self.engine.statement(sql)
        worker = await self.writer.acquire()
        return await worker.run(worker.session.execute_alone, sql, params, statement, back_to=self.writer)

    async def executemany(self, sql: str, rows: Iterable[Parameters]) -> Result:
        """Run a statement with each of the parameters, in one transaction: all or none. As `Database.executemany`.

        `rows` may be any iterable, but not an asynchronous one. It is read in the connection's thread.
        """
        rows = iter(rows)
        if self.transactions:
            inside = self.joined()
            if inside is not None:
                return await inside.executemany(sql, rows)
        worker = await self.writer.acquire()
        return await worker.run(worker.session.executemany_alone, sql, rows, back_to=self.writer)

    def transaction(self) -> AsyncTransaction:
        """Return a transaction for an `async with` block: committed at its end, rolled back if it raises anything.

        What this task does with the database in the block is in the transaction, and so is what any task does with the
        object that the block gets. As `Database.transaction`. A block that is cancelled is left at once, and rolled
        back in the background; one that is cancelled while it commits may have been committed.
        """
        return AsyncTransaction(self)

    def connection(
        self, readonly: bool = False, timeout: float | timedelta | EllipsisType | None = ...
    ) -> AbstractAsyncContextManager[Any, None]:
        """Return an asynchronous context manager that lends the driver's own connection. As `Database.connection`.

        It is the driver's plain one, which blocks: where that may take long, have a thread use it, with `await
        asyncio.to_thread(function, connection)`. When the block is cancelled, what is still run on it is interrupted.
        """
        pool = self.readers if readonly else self.writer
        limit: Any = timeout
        pool.connection(limit)  # which looks at the time-out
        self.refuse_to_lend(readonly, self.joined())
        return AsyncLent(pool, readonly, limit)

    def joined(self) -> AsyncTransaction | None:
        """The outermost transaction in whose block this task is."""
        if not self.transactions:
            return None
        task = asyncio.current_task()
        inside = None if task is None else self.transactions.get(task)
        # A forked child is not in its parent's.
        return inside if inside is not None and inside.belongs_here() else None

    async def close(self, timeout: float | timedelta | None = 5.0) -> bool:
        """Close the database. As `Database.close`."""
        seconds = in_seconds(timeout)
        self._is_closed = True
        if self.writer is self.readers:
            return await self.readers.close(seconds)
        # Both at once: neither goes on serving while the other is waited for.
        return all(await asyncio.gather(self.readers.close(seconds), self.writer.close(seconds)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def new_pool(engine: Engine, readonly: bool, options: PoolOptions) -> AsyncPool[Worker]:
    """A pool of workers with an engine's sessions."""
    label = f"khronos_fast {options.get('name') or engine.kind}"

    async def create() -> Worker:
        worker = Worker(engine, label)
        await worker.open(readonly)
        return worker

    return AsyncPool(create, destroy=Worker.close, validate=Worker.validate if engine.validates else None, **options)
