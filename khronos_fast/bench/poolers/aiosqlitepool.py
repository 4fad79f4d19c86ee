"""aiosqlitepool (Python), which lends by its context manager alone.

It asks each connection for a `SELECT 1` before it lends it, and rolls it back after: neither can be switched off.
"""

from typing import Any

from khronos_fast.bench.connections import AsyncConnection, Connector
from khronos_fast.bench.pooler import Face, Pooler, Size


async def _build(module: Any, connector: Connector, size: Size) -> Any:
    async def connect() -> AsyncConnection:
        return await connector.connect_later(AsyncConnection)

    return module.SQLiteConnectionPool(connect, pool_size=size.most)


SQLITE_CONNECTION_POOL = Pooler(
    name="aiosqlitepool",
    module="aiosqlitepool",
    distribution="aiosqlitepool",
    build=_build,
    cycle="async with connection() as resource:\n    {held}",
    block="async with connection() as resource:\n    {held}",
    methods=("connection",),
    face=Face.TASKS,
    close=lambda pool: pool.close(),
    requires="SQLiteConnectionPool",
    remark="async with alone; opens under its lock",
)

POOLERS = (SQLITE_CONNECTION_POOL,)
