"""A compiled LRU + TTL cache, memoizers and a connection pool, for the hottest path of a program."""

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
from khronos_fast._core.pool import Pool
from khronos_fast._core.pool_events import PoolEvent
from khronos_fast._core.pool_stats import PoolStats
from khronos_fast._core.removal import RemovalCause
from khronos_fast._core.stats import CacheInfo, CacheStats
from khronos_fast._version import __version__

if TYPE_CHECKING:
    from khronos_fast._core.async_pool import AsyncPool
    from khronos_fast._core.row import Row
    from khronos_fast.databases import (
        AsyncDatabase,
        Database,
        DatabaseStats,
        DatabaseURLError,
        Result,
        TransactionError,
    )

__all__ = [
    "AsyncDatabase",
    "AsyncPool",
    "CacheInfo",
    "CacheStats",
    "Database",
    "DatabaseStats",
    "DatabaseURLError",
    "Glob",
    "KhronosError",
    "LoaderCycle",
    "MemoryCache",
    "NotBorrowed",
    "Pool",
    "PoolClosed",
    "PoolEvent",
    "PoolExhausted",
    "PoolStats",
    "PoolTimeout",
    "RemovalCause",
    "Result",
    "Row",
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
    "Row": "khronos_fast._core.row",
    "AsyncDatabase": "khronos_fast.databases",
    "Database": "khronos_fast.databases",
    "DatabaseStats": "khronos_fast.databases",
    "DatabaseURLError": "khronos_fast.databases",
    "Result": "khronos_fast.databases",
    "TransactionError": "khronos_fast.databases",
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
