"""psycopg's pools (Python), with connections of a class of our own, which they take.

The pool reads a connection's transaction status as it comes back, which for psycopg's own connections asks libpq. And
its `connection()` is the connection's context manager as well, which for those commits or rolls back.
"""

import importlib
from types import SimpleNamespace
from typing import Any, Self

from khronos_fast.bench.connections import Connector
from khronos_fast.bench.pooler import PATIENCE, Face, Pooler, Size


class _Connection:
    """What the pool asks of a connection, done at once."""

    def __init__(self, status: object) -> None:
        self.pgconn = SimpleNamespace(transaction_status=status)

    @classmethod
    def connect(cls, _conninfo: str, *, connector: Connector, status: object) -> Self:
        return connector.connect(lambda: cls(status))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


class _AsyncConnection:
    """The same with coroutines."""

    def __init__(self, status: object) -> None:
        self.pgconn = SimpleNamespace(transaction_status=status)

    @classmethod
    async def connect(cls, _conninfo: str, *, connector: Connector, status: object) -> Self:
        return await connector.connect_later(lambda: cls(status))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def close(self) -> None:
        pass


def _options(connector: Connector, size: Size) -> dict[str, Any]:
    idle = importlib.import_module("psycopg.pq").TransactionStatus.IDLE
    return {
        "kwargs": {"connector": connector, "status": idle},
        "min_size": size.least,
        "max_size": size.most,
        "timeout": PATIENCE,
        "open": False,
    }


def _build(module: Any, connector: Connector, size: Size) -> Any:
    pool = module.ConnectionPool(connection_class=_Connection, **_options(connector, size))
    pool.open()
    return pool


async def _build_for_tasks(module: Any, connector: Connector, size: Size) -> Any:
    pool = module.AsyncConnectionPool(connection_class=_AsyncConnection, **_options(connector, size))
    await pool.open()
    return pool


CONNECTION_POOL = Pooler(
    name="psycopg ConnectionPool",
    module="psycopg_pool",
    distribution="psycopg-pool",
    build=_build,
    cycle="resource = getconn()\n{held}\nputconn(resource)",
    block="with connection() as resource:\n    {held}",
    methods=("getconn", "putconn", "connection"),
    close=lambda pool: pool.close(),
    requires="ConnectionPool",
    remark="first come, first served; grows by one at a time",
)

ASYNC_CONNECTION_POOL = Pooler(
    name="psycopg AsyncConnectionPool",
    module="psycopg_pool",
    distribution="psycopg-pool",
    build=_build_for_tasks,
    cycle="resource = await getconn()\n{held}\nawait putconn(resource)",
    block="async with connection() as resource:\n    {held}",
    methods=("getconn", "putconn", "connection"),
    face=Face.TASKS,
    close=lambda pool: pool.close(),
    requires="AsyncConnectionPool",
    remark="first come, first served; grows by one at a time",
)

POOLERS = (CONNECTION_POOL, ASYNC_CONNECTION_POOL)
