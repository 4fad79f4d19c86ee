"""DBUtils (Python): PooledDB over a stub of a DB-API module.

By default it rolls back what it is given back and pings what it lends; both are switched off.
"""

import importlib
from typing import Any

from khronos_fast.bench.connections import Connection, Connector
from khronos_fast.bench.pooler import Pooler, Size


class _DatabaseModule:
    """What PooledDB asks of a DB-API module."""

    threadsafety = 1
    OperationalError = InterfaceError = InternalError = OSError

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def connect(self) -> Connection:
        return self._connector.plain()


def _build(_module: Any, connector: Connector, size: Size) -> Any:
    pooled_db = importlib.import_module("dbutils.pooled_db")
    return pooled_db.PooledDB(_DatabaseModule(connector), maxconnections=size.most, blocking=True, reset=False, ping=0)


POOLED_DB = Pooler(
    name="DBUtils PooledDB",
    module="dbutils",
    distribution="DBUtils",
    build=_build,
    cycle="resource = connection()\n{held}\nresource.close()",
    block="with connection() as resource:\n    {held}",
    methods=("connection",),
    close=lambda pool: pool.close(),
    remark="opens under its lock",
)

POOLERS = (POOLED_DB,)
