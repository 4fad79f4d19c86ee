"""A compiled LRU + TTL cache, and memoizers on it, that cost what a dict look-up costs."""

from khronos_fast._core.cached import cached
from khronos_fast._core.errors import KhronosError, LoaderCycle
from khronos_fast._core.glob import Glob
from khronos_fast._core.lru_cache import cache, lru_cache
from khronos_fast._core.memory import MemoryCache
from khronos_fast._core.removal import RemovalCause
from khronos_fast._core.stats import CacheInfo, CacheStats
from khronos_fast._version import __version__

__all__ = [
    "CacheInfo",
    "CacheStats",
    "Glob",
    "KhronosError",
    "LoaderCycle",
    "MemoryCache",
    "RemovalCause",
    "__version__",
    "cache",
    "cached",
    "lru_cache",
]
