"""The registry of caches in tiers: one module per package, one line here."""

from khronos_fast.bench.tiered import aiocache, cashews, dogpile, floor, khronos, redis_client_side
from khronos_fast.bench.tiering import Tier, Tiered

FLOOR = {Tier.MEMORY: floor.MEMORY_CACHE.name, Tier.REDIS: floor.PIPELINE.name}
FLOOR_OF_TASKS = {Tier.MEMORY: floor.MEMORY_CACHE_FOR_TASKS.name, Tier.REDIS: floor.ASYNC_PIPELINE.name}
FLOOR_OF_COROUTINES = floor.EMPTY_COROUTINE.name
"""Of what is awaited, though it is in memory."""

ALL: tuple[Tiered, ...] = (
    *floor.TIERED,
    *khronos.TIERED,
    *dogpile.TIERED,
    *redis_client_side.TIERED,
    *cashews.TIERED,
    *aiocache.TIERED,
)
