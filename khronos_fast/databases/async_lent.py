"""What `AsyncDatabase.connection` returns: the driver's own connection, for the time of an `async with` block."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from khronos_fast._core.async_pool import AsyncPool
    from khronos_fast.databases.worker import Worker


class AsyncLent:
    """A connection that is lent and put in order afterwards."""

    def __init__(self, pool: AsyncPool[Worker], readonly: bool, timeout: float | timedelta | None) -> None:
        self._pool = pool
        self._readonly = readonly
        self._timeout = timeout
        self._worker: Worker | None = None

    async def __aenter__(self) -> Any:
        if self._worker is not None:
            raise RuntimeError("this context manager is in use; call connection() for each block")
        worker = await self._pool.acquire(self._timeout)
        try:
            await worker.run(worker.session.lend, self._readonly, stubborn=True)
        except BaseException:
            worker.post(worker.session.take_back, back_to=self._pool)
            raise
        self._worker = worker
        return worker.connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        worker, self._worker = self._worker, None
        if worker is None or worker.session.process != os.getpid():
            return
        if kind is None or issubclass(kind, Exception):
            await worker.run(worker.session.take_back, back_to=self._pool, stubborn=True)
        else:
            # Cancelled, mostly: nobody waits, and a thread that was given the connection may still be at it.
            worker.post(worker.session.take_back_soon, back_to=self._pool)

    def __repr__(self) -> str:
        return f"<connection of {self._pool!r}>"
