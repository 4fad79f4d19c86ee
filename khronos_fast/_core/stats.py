"""What a cache counted, as an immutable record."""

from typing import Any, NamedTuple

from khronos_fast._core.records import as_dict


class CacheStats(NamedTuple):
    """The counters of a `MemoryCache` since it was made, and what it holds now.

    >>> CacheStats(hits=3, misses=1).hit_ratio
    0.75
    >>> CacheStats().hit_ratio is None
    True
    """

    hits: int = 0
    """Look-ups that found a live entry (`get`, `[]`, `get_many`, `setdefault`, `get_or_compute`)."""
    misses: int = 0
    """The same look-ups, where they found none."""
    inserts: int = 0
    """Entries stored under a key that was absent."""
    updates: int = 0
    """Entries whose value was replaced."""
    evictions: int = 0
    """Entries that went because the cache was full."""
    expirations: int = 0
    """Entries that went because their time to live was over."""
    invalidations: int = 0
    """Entries that went because their key matched a pattern."""
    loads: int = 0
    """Calls of a loader that ended, well or badly."""
    load_failures: int = 0
    """Calls of a loader that raised."""
    load_seconds: float = 0.0
    """Seconds spent in loaders, all together."""
    size: int = 0
    """Live entries."""
    maxsize: int = 0
    """The most entries it may hold."""
    weight: int | None = None
    """The weight of all live entries; None for a cache without a weigher."""
    max_weight: int | None = None
    """The most weight it may hold; None for a cache without a weigher."""

    @property
    def hit_ratio(self) -> float | None:
        """Hits per look-up, from 0 to 1; None before the first."""
        requests = self.hits + self.misses
        return self.hits / requests if requests else None

    @property
    def usage(self) -> float:
        """How full it is, from 0 to 1, by entries or by weight, whichever is fuller."""
        by_size = self.size / self.maxsize if self.maxsize else 0.0
        return max(by_size, self.weight / self.max_weight) if self.weight and self.max_weight else by_size

    def as_dict(self) -> dict[str, Any]:
        """Return every figure by name, ready for JSON."""
        figures = as_dict(self)
        figures["hit_ratio"] = self.hit_ratio
        figures["usage"] = self.usage
        return figures


class CacheInfo(NamedTuple):
    """What `cache_info()` of a memoized function returns, as in `functools`."""

    hits: int
    """Calls that were answered from memory."""
    misses: int
    """Calls that were not."""
    maxsize: int | None
    """The most results it remembers; None for no limit."""
    currsize: int
    """The results it remembers now."""
