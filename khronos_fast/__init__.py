"""A compiled LRU + TTL memory cache that costs what a dict look-up costs."""

from khronos_fast._core.errors import KhronosError, LoaderCycle
from khronos_fast._core.memory import MemoryCache
from khronos_fast._core.removal import RemovalCause
from khronos_fast._core.stats import CacheStats
from khronos_fast._version import __version__

__all__ = [
    "CacheStats",
    "KhronosError",
    "LoaderCycle",
    "MemoryCache",
    "RemovalCause",
    "__version__",
]
