"""What the tiers counted, as immutable records."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Literal, NamedTuple

from khronos_fast._core.records import as_dict
from khronos_fast._core.stats import CacheStats


class RedisStats(NamedTuple):
    """What a `RedisTier` counted since it was made, and how it stands now."""

    address: str
    """Where it is, without a password."""
    calls: int = 0
    """Round trips that were answered."""
    failures: int = 0
    """Round trips that were not: no connection, a time-out, a server that does not serve."""
    timeouts: int = 0
    """Those of the failures where the time was over."""
    refusals: int = 0
    """Commands that it refused: not permitted, out of memory, …"""
    breaker: Literal["closed", "open", "half_open"] = "closed"
    """Whether it is asked at all."""
    breaker_opened: int = 0
    """How often it was found to be gone."""
    deletions_remembered: int = 0
    """Keys and patterns that still have to be deleted there."""
    deletions_forgotten: int = 0
    """Those that found no room."""

    @property
    def connected(self) -> bool:
        """Whether it is asked."""
        return self.breaker == "closed"

    def as_dict(self) -> dict[str, Any]:
        """Return every figure by name, ready for JSON."""
        figures = as_dict(self)
        figures["connected"] = self.connected
        return figures


class CoherenceStats(NamedTuple):
    """How it stands with hearing of others' changes, and what was counted. The caches of a `RedisTier` share it."""

    mode: Literal["pubsub", "tracking"]
    """How others' changes are heard of."""
    state: Literal["up", "suspended", "down", "closed"]
    """`up`: memory is relied on. `suspended`: the latest sign of life is too old, so Redis is asked in its place.
    `down`: a connection is missing; memory was emptied, and an entry lives for a second. `closed`: nobody listens."""
    messages: int = 0
    """Changes of which was heard: announcements, or with `tracking` keys, one's own too."""
    published: int = 0
    """Announcements of one's own."""
    publish_failures: int = 0
    """Announcements that Redis refused."""
    undecodable: int = 0
    """Messages that were no announcements; all was forgotten for each."""
    lag: float | None = None
    """Seconds that the latest question for a sign of life took to be answered, and heard; None before the first."""
    resyncs: int = 0
    """How often everything was forgotten because a connection had been lost."""

    @property
    def connected(self) -> bool:
        """Whether memory is relied on."""
        return self.state == "up"

    def as_dict(self) -> dict[str, Any]:
        """Return every figure by name, ready for JSON."""
        figures = as_dict(self)
        figures["connected"] = self.connected
        return figures


class TieredStats(NamedTuple):
    """What a tiered cache counted since it was made.

    >>> TieredStats(CacheStats(hits=6), redis_hits=3, misses=1).hit_ratio
    0.9
    """

    memory: CacheStats
    """The memory tier's own figures. Its loads are the calls of `get_or_compute` that went on to the next tier."""
    redis: RedisStats | None = None
    """The Redis tier's, which several caches may share; None without one."""
    redis_hits: int = 0
    """Look-ups that Redis answered."""
    misses: int = 0
    """Look-ups that no tier answered."""
    loads: int = 0
    """Calls of a loader that ended, well or badly."""
    load_failures: int = 0
    """Calls of a loader that raised."""
    load_seconds: float = 0.0
    """Seconds spent in loaders, all together."""
    loader_timeouts: int = 0
    """Waits for a loader that took longer than `loader_timeout`."""
    stale_served: int = 0
    """Answers with the last value, where the loader had failed or Redis could not answer."""
    early_refreshes: int = 0
    """Loads that were begun before an entry's time was over."""
    fenced_out: int = 0
    """Results of loads that Redis did not take, as their key had been written or deleted meanwhile."""
    lease_waits: int = 0
    """Waits for a load of another process."""
    unstorable: int = 0
    """Results of loads that the codec does not take, and that are in memory only."""
    undecodable: int = 0
    """Payloads in Redis that were no value."""
    coherence: CoherenceStats | None = None
    """How it stands with hearing of others' changes; None where that is not wanted."""

    @property
    def hits(self) -> int:
        """Look-ups that memory answered."""
        return self.memory.hits

    @property
    def hit_ratio(self) -> float | None:
        """Look-ups that a tier answered, from 0 to 1; None before the first."""
        answered = self.hits + self.redis_hits
        requests = answered + self.misses
        return answered / requests if requests else None

    def as_dict(self) -> dict[str, Any]:
        """Return every figure by name, ready for JSON."""
        figures = as_dict(self)
        figures["memory"] = self.memory.as_dict()
        figures["redis"] = None if self.redis is None else self.redis.as_dict()
        figures["coherence"] = None if self.coherence is None else self.coherence.as_dict()
        figures["hits"] = self.hits
        figures["hit_ratio"] = self.hit_ratio
        return figures


class Counters:
    """Figures that many threads add to."""

    def __init__(self) -> None:
        self._counts: dict[str, Any] = {}
        self.after_fork()
        _all.add(self)

    def after_fork(self) -> None:
        """Make a lock of one's own: that of the parent may be held by a thread which the child has not."""
        # Protects the dict; inside, nothing but an addition. Reentrant, as a signal handler may come by in the midst.
        self._lock = threading.RLock()

    def add(self, name: str, amount: float = 1) -> None:
        """Add to a figure."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def as_dict(self) -> dict[str, Any]:
        """Return what has been counted."""
        with self._lock:
            return dict(self._counts)


_all: weakref.WeakSet[Counters] = weakref.WeakSet()


def _after_fork() -> None:
    for counters in list(_all):
        counters.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
