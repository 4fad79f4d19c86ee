"""Our own caches: memory alone, or Redis with a memory that has room for one entry; and memory in front of Redis."""

from dataclasses import replace
from typing import Any

from khronos_fast.bench.pooler import Face
from khronos_fast.bench.tiering import TTL, Spot, Tier, Tiered


def _options(spot: Spot) -> dict[str, Any]:
    return {"memory": spot.entries, "redis": spot.url, "namespace": spot.namespace, "ttl": TTL, "memory_ttl": TTL}


def _build(module: Any, spot: Spot) -> Any:
    return module.TieredCache(**_options(spot))


async def _build_for_tasks(module: Any, spot: Spot) -> Any:
    return module.AsyncTieredCache(**_options(spot))


TIERED_CACHE = Tiered(
    name="khronos_fast TieredCache",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build,
    read="value = get_or_compute(key, load)",
    read_many="values = get_many(keys)",
    decorator="cache.cached('user:{number}:profile')",
    methods=("get_or_compute", "get_many"),
    close=lambda cache: cache.close(),
    namespaces=True,
    ours=True,
    requires="TieredCache",
    lifetimes="ttl per entry",
    remark="loads once for calls that overlap; refills are fenced",
)

WITH_REDIS_BEHIND = replace(
    TIERED_CACHE,
    name="khronos_fast Tiered+Redis",
    tiers=frozenset({Tier.MEMORY}),
    redis_behind=True,
)

ASYNC_TIERED_CACHE = Tiered(
    name="khronos_fast AsyncTieredCache",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build_for_tasks,
    read="value = await get_or_compute(key, load)",
    read_many="values = await get_many(keys)",
    decorator="cache.cached('user:{number}:profile')",
    methods=("get_or_compute", "get_many"),
    face=Face.TASKS,
    close=lambda cache: cache.close(),
    namespaces=True,
    ours=True,
    requires="AsyncTieredCache",
    lifetimes="ttl per entry",
    remark="loads once for calls that overlap; refills are fenced",
)

ASYNC_WITH_REDIS_BEHIND = replace(
    ASYNC_TIERED_CACHE,
    name="khronos_fast AsyncTiered+Redis",
    tiers=frozenset({Tier.MEMORY}),
    redis_behind=True,
)

TIERED = (TIERED_CACHE, WITH_REDIS_BEHIND, ASYNC_TIERED_CACHE, ASYNC_WITH_REDIS_BEHIND)
