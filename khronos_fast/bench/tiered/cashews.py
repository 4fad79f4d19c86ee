"""cashews (Python), for coroutines only: in memory, in Redis, or in memory in front of Redis by its `client_side`.

What it does besides is switched off where it can be: the task that looks for expired entries in memory, calling `repr`
on what it decodes, silencing errors, and waiting for calls that overlap in its decorator.
"""

from typing import Any

from khronos_fast.bench.pooler import Face
from khronos_fast.bench.tiering import Spot, Tier, Tiered


async def _build(module: Any, spot: Spot) -> Any:
    cache = module.Cache()
    if spot.url is None:
        cache.setup("mem://", size=spot.entries, check_interval=0)
    else:
        cache.setup(spot.url, suppress=False, check_repr=False)
    await cache.init()
    return cache


async def _build_client_side(module: Any, spot: Spot) -> Any:
    memory = type(module.Cache().setup("mem://"))(size=spot.entries, check_interval=0)
    cache = module.Cache()
    cache.setup(
        spot.url,
        client_side=True,
        client_side_prefix=f"{spot.namespace}:",
        local_cache=memory,
        suppress=False,
        check_repr=False,
    )
    await cache.init()
    return cache


CACHE = Tiered(
    name="cashews",
    module="cashews",
    distribution="cashews",
    build=_build,
    read="value = await get_or_set(key, load, ttl)",
    read_many="values = await get_many(*keys)",
    decorator="cache(ttl=ttl, key='user:{number}:profile', protected=False)",
    methods=("get_or_set", "get_many"),
    face=Face.TASKS,
    close=lambda cache: cache.close(),
    stands_in=True,
    lifetimes="ttl per entry",
    remark="LRU; pickles",
)

CLIENT_SIDE = Tiered(
    name="cashews client_side",
    module="cashews",
    distribution="cashews",
    build=_build_client_side,
    read="value = await get_or_set(key, load, ttl)",
    read_many="values = await get_many(*keys)",
    decorator="cache(ttl=ttl, key='user:{number}:profile', protected=False)",
    methods=("get_or_set", "get_many"),
    face=Face.TASKS,
    tiers=frozenset({Tier.MEMORY}),
    close=lambda cache: cache.close(),
    stands_in=True,
    redis_behind=True,
    namespaces=True,
    lifetimes="ttl per entry",
    remark="LRU; memory in front of Redis, by tracking",
)

TIERED = (CACHE, CLIENT_SIDE)
