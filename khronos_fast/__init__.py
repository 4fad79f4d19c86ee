"""A compiled LRU + TTL cache, memoizers and a connection pool, and caches in three tiers, for the hottest path of a
program.
"""

from typing import TYPE_CHECKING, Any

from khronos_fast._core.cached import cached
from khronos_fast._core.errors import (
    KhronosError,
    LoaderCycle,
    NotBorrowed,
    PoolClosed,
    PoolExhausted,
    PoolTimeout,
    WrongLoop,
)
from khronos_fast._core.glob import Glob
from khronos_fast._core.lru_cache import cache, lru_cache
from khronos_fast._core.memory import MemoryCache
from khronos_fast._core.removal import RemovalCause
from khronos_fast._core.stats import CacheInfo, CacheStats
from khronos_fast._version import __version__

if TYPE_CHECKING:
    from khronos_fast._core.async_pool import AsyncPool
    from khronos_fast._core.histogram import Histogram
    from khronos_fast._core.pool import Pool
    from khronos_fast._core.pool_events import PoolEvent
    from khronos_fast._core.pool_stats import PoolStats
    from khronos_fast._core.row import Row
    from khronos_fast.databases import (
        AsyncDatabase,
        Database,
        DatabaseStats,
        DatabaseURLError,
        Result,
        TransactionError,
    )
    from khronos_fast.health import HealthCollector
    from khronos_fast.tiers import (
        AsyncTieredCache,
        CacheClosed,
        Codec,
        CodecError,
        CoherenceStats,
        JSONCodec,
        LoaderTimeout,
        PickleCodec,
        RedisStats,
        RedisTier,
        RedisUnavailable,
        RedisURLError,
        TieredCache,
        TieredStats,
    )

__all__ = [
    "AsyncDatabase",
    "AsyncPool",
    "AsyncTieredCache",
    "CacheClosed",
    "CacheInfo",
    "CacheStats",
    "Codec",
    "CodecError",
    "CoherenceStats",
    "Database",
    "DatabaseStats",
    "DatabaseURLError",
    "Glob",
    "HealthCollector",
    "Histogram",
    "JSONCodec",
    "KhronosError",
    "LoaderCycle",
    "LoaderTimeout",
    "MemoryCache",
    "NotBorrowed",
    "PickleCodec",
    "Pool",
    "PoolClosed",
    "PoolEvent",
    "PoolExhausted",
    "PoolStats",
    "PoolTimeout",
    "RedisStats",
    "RedisTier",
    "RedisURLError",
    "RedisUnavailable",
    "RemovalCause",
    "Result",
    "Row",
    "TieredCache",
    "TieredStats",
    "TransactionError",
    "WrongLoop",
    "__version__",
    "cache",
    "cached",
    "lru_cache",
]

# What needs more of the standard library than the rest, and is imported when it is first asked for.
_LAZY = {
    "AsyncPool": "khronos_fast._core.async_pool",
    "Histogram": "khronos_fast._core.histogram",
    "Pool": "khronos_fast._core.pool",
    "PoolEvent": "khronos_fast._core.pool_events",
    "PoolStats": "khronos_fast._core.pool_stats",
    "Row": "khronos_fast._core.row",
    "AsyncDatabase": "khronos_fast.databases",
    "Database": "khronos_fast.databases",
    "DatabaseStats": "khronos_fast.databases",
    "DatabaseURLError": "khronos_fast.databases",
    "Result": "khronos_fast.databases",
    "TransactionError": "khronos_fast.databases",
    "HealthCollector": "khronos_fast.health",
    "AsyncTieredCache": "khronos_fast.tiers",
    "CacheClosed": "khronos_fast.tiers",
    "Codec": "khronos_fast.tiers",
    "CodecError": "khronos_fast.tiers",
    "CoherenceStats": "khronos_fast.tiers",
    "JSONCodec": "khronos_fast.tiers",
    "LoaderTimeout": "khronos_fast.tiers",
    "PickleCodec": "khronos_fast.tiers",
    "RedisStats": "khronos_fast.tiers",
    "RedisTier": "khronos_fast.tiers",
    "RedisURLError": "khronos_fast.tiers",
    "RedisUnavailable": "khronos_fast.tiers",
    "TieredCache": "khronos_fast.tiers",
    "TieredStats": "khronos_fast.tiers",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
