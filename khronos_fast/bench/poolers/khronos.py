"""Our own pools."""

from typing import Any

from khronos_fast.bench.connections import Connector
from khronos_fast.bench.pooler import PATIENCE, Face, Pooler, Size


def _build(module: Any, connector: Connector, size: Size) -> Any:
    return module.Pool(connector.plain, min_size=size.least, max_size=size.most, acquire_timeout=PATIENCE)


async def _build_for_tasks(module: Any, connector: Connector, size: Size) -> Any:
    return module.AsyncPool(connector.plain_later, min_size=size.least, max_size=size.most, acquire_timeout=PATIENCE)


POOL = Pooler(
    name="khronos_fast Pool",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build,
    cycle="resource = acquire()\n{held}\nrelease(resource)",
    block="with connection() as resource:\n    {held}",
    methods=("acquire", "release", "connection"),
    close=lambda pool: pool.close(),
    ours=True,
    requires="Pool",
    remark="first come, first served",
)

ASYNC_POOL = Pooler(
    name="khronos_fast AsyncPool",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build_for_tasks,
    cycle="resource = await acquire()\n{held}\nrelease(resource)",
    block="async with connection() as resource:\n    {held}",
    methods=("acquire", "release", "connection"),
    face=Face.TASKS,
    close=lambda pool: pool.close(),
    ours=True,
    requires="AsyncPool",
    remark="first come, first served",
)

POOLERS = (POOL, ASYNC_POOL)
