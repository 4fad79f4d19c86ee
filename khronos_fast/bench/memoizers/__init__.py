"""The registry of memoizing decorators: one module per package, one line here."""

from khronos_fast.bench.memoizer import Memoizer
from khronos_fast.bench.memoizers import aiocache, async_lru, cachebox, cachetools, floor, khronos, moka, theine

FLOOR = floor.LRU_CACHE.name
FLOOR_OF_COROUTINES = floor.EMPTY_COROUTINE.name

ALL: tuple[Memoizer, ...] = (
    *floor.MEMOIZERS,
    *khronos.MEMOIZERS,
    *cachebox.MEMOIZERS,
    *moka.MEMOIZERS,
    *cachetools.MEMOIZERS,
    *theine.MEMOIZERS,
    *async_lru.MEMOIZERS,
    *aiocache.MEMOIZERS,
)
