"""asyncpg's pool (Python), without a server: it takes a function that connects and a subclass of its connections.

The subclass is its own connection over a protocol that leads nowhere, so that all the pool does with one is done.
Resetting what is given back is a function of ours that does nothing, and the timer that closes idle connections, which
costs a sixth of a cycle, is switched off.
"""

from types import SimpleNamespace
from typing import Any

from khronos_fast.bench.connections import Connector
from khronos_fast.bench.pooler import Face, Pooler, Size


class _Protocol:
    """What connection and pool ask of the protocol, done at once."""

    queries_count = 0

    def __init__(self) -> None:
        self._connected = True

    def get_settings(self) -> SimpleNamespace:
        return SimpleNamespace(server_version="18.0")

    def is_connected(self) -> bool:
        return self._connected

    def is_in_transaction(self) -> bool:
        return False

    def _is_cancelling(self) -> bool:
        return False

    async def close(self, _timeout: float | None) -> None:
        self._connected = False

    def abort(self) -> None:
        self._connected = False


_CONFIGURATION = SimpleNamespace(statement_cache_size=0, max_cached_statement_lifetime=0)


async def _do_nothing(_connection: object) -> None:
    pass


async def _build(module: Any, connector: Connector, size: Size) -> Any:
    class Connection(module.Connection):  # type: ignore[misc]  # the package is found at run time
        def __init__(self, loop: object) -> None:
            super().__init__(_Protocol(), None, loop, ("nowhere", 0), _CONFIGURATION, None)

    async def connect(*_: object, loop: object, **__: object) -> Connection:
        return await connector.connect_later(lambda: Connection(loop))

    return await module.create_pool(
        min_size=size.least,
        max_size=size.most,
        connect=connect,
        connection_class=Connection,
        reset=_do_nothing,
        max_inactive_connection_lifetime=0,
    )


POOL = Pooler(
    name="asyncpg Pool",
    module="asyncpg",
    distribution="asyncpg",
    build=_build,
    cycle="connection = await acquire()\n{held}\nawait release(connection)",
    block="async with acquire() as connection:\n    {held}",
    methods=("acquire", "release"),
    face=Face.TASKS,
    close=lambda pool: pool.close(),
    can_start_cold=False,
    requires="create_pool",
    remark="opens for whoever finds none idle",
)

POOLERS = (POOL,)
