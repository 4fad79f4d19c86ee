"""aiocache (Python), for coroutines only: in memory or in Redis, without a call that does both reading and loading.

By default it gives every operation a time-out of five seconds, and with it a task. `timeout=0` spares it both. Its
memory has no bound, and a timer in the event loop for each entry. A serializer of one's own is what it asks for.
"""

from importlib import import_module
from typing import Any

from khronos_fast.bench.pooler import Face
from khronos_fast.bench.tiering import TTL, Spot, Tiered


async def _build(module: Any, spot: Spot) -> Any:
    if spot.url is None:
        return module.Cache(module.Cache.MEMORY, timeout=0, ttl=TTL)
    orjson = import_module("orjson")

    class Serializer(import_module("aiocache.serializers").BaseSerializer):  # type: ignore[misc]  # found at run time
        DEFAULT_ENCODING = None

        def dumps(self, value: object) -> bytes:
            return orjson.dumps(value)  # type: ignore[no-any-return]

        def loads(self, value: bytes | None) -> Any:
            return None if value is None else orjson.loads(value)

    def pool(**_: object) -> Any:
        return import_module("redis.asyncio").ConnectionPool.from_url(spot.url)

    return module.Cache(module.Cache.REDIS, serializer=Serializer(), timeout=0, ttl=TTL, connection_pool_class=pool)


async def _close(cache: Any) -> None:
    client = getattr(cache, "client", None)
    if client is not None:
        await client.aclose(close_connection_pool=True)


CACHE = Tiered(
    name="aiocache",
    module="aiocache",
    distribution="aiocache",
    build=_build,
    read="value = await get(key)\nif value is None:\n    value = await load()\n    await set(key, value)",
    read_many="values = await multi_get(keys)",
    decorator="aiocache.cached(ttl=ttl, timeout=0, key_builder=lambda _, number: f'user:{number}:profile')",
    methods=("get", "set", "multi_get"),
    face=Face.TASKS,
    close=_close,
    stands_in=True,
    needs=("redis", "orjson"),
    lifetimes="ttl per entry",
    remark="never evicts; overlapping calls all load",
)

TIERED = (CACHE,)
