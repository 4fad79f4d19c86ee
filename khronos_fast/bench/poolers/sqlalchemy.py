"""SQLAlchemy (Python): the pool of its engines, which can be used without one.

By default it rolls back what it is given back; that is switched off. It keeps `pool_size` connections and closes those
beyond: here it may keep all. Its pool for tasks is one for greenlets, and is used through an engine only.
"""

from typing import Any

from khronos_fast.bench.connections import Connector
from khronos_fast.bench.pooler import PATIENCE, Pooler, Size


def _build(module: Any, connector: Connector, size: Size) -> Any:
    return module.QueuePool(
        connector.plain, pool_size=size.most, max_overflow=0, timeout=PATIENCE, reset_on_return=None
    )


QUEUE_POOL = Pooler(
    name="SQLAlchemy QueuePool",
    module="sqlalchemy",
    distribution="SQLAlchemy",
    build=_build,
    cycle="connection = connect()\n{held}\nconnection.close()",
    block="with connect() as connection:\n    {held}",
    methods=("connect",),
    close=lambda pool: pool.dispose(),
    requires="QueuePool",
    remark="opens for whoever finds none idle",
)

POOLERS = (QUEUE_POOL,)
