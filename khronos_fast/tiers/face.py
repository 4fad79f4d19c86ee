"""What `TieredCache` and `AsyncTieredCache` have in common: their settings, and everything that waits for nothing."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from khronos_fast._core.glob import Glob
from khronos_fast._core.memory import MemoryCache
from khronos_fast.tiers.codec import parse_codec
from khronos_fast.tiers.errors import CacheClosed
from khronos_fast.tiers.front import Front
from khronos_fast.tiers.redis_tier import RedisTier
from khronos_fast.tiers.refreshes import Refreshes
from khronos_fast.tiers.rules import Rules
from khronos_fast.tiers.settings import (
    Settings,
    parse_beta,
    parse_coherence,
    parse_optional_seconds,
    parse_text,
)
from khronos_fast.tiers.stats import TieredStats
from khronos_fast.tiers.steps import Later, Request

if TYPE_CHECKING:
    from khronos_fast.tiers.codec import Codec
    from khronos_fast.tiers.coherence import Mode
    from khronos_fast.tiers.settings import TTL, Seconds

# Whose each memory is: two caches that write to one would not know of each other's loads.
_owners: weakref.WeakValueDictionary[int, Face] = weakref.WeakValueDictionary()


if TYPE_CHECKING:
    _Base = Front
else:
    _Base = object


class Face(_Base):
    """A tiered cache without its I/O; the classes that are built on it have a front as well."""

    most_refreshes = 0
    """Loads in the background at a time."""

    def __init__(
        self,
        memory: MemoryCache[str, Any] | int = 1000,
        redis: Any = None,
        *,
        namespace: str = "khronos",
        ttl: Seconds | None = 300,
        memory_ttl: Seconds | None = 60,
        stale_ttl: Seconds | None = None,
        beta: float | None = None,
        lease: Seconds | None = None,
        loader_timeout: Seconds | None = None,
        coherence: Mode | None = None,
        codec: str | Codec = "json",
        signing_key: bytes | None = None,
        name: str | None = None,
    ) -> None:
        settings = Settings(
            namespace=parse_text(namespace, "namespace"),
            ttl=parse_optional_seconds(ttl, "ttl"),
            memory_ttl=parse_optional_seconds(memory_ttl, "memory_ttl"),
            stale_ttl=parse_optional_seconds(stale_ttl, "stale_ttl"),
            beta=parse_beta(beta),
            lease=parse_optional_seconds(lease, "lease"),
            loader_timeout=parse_optional_seconds(loader_timeout, "loader_timeout"),
            codec=parse_codec(codec, signing_key),
            name=None if name is None else parse_text(name, "name"),
        )
        mode = parse_coherence(coherence, has_redis=redis is not None)
        mine = self._take(memory)
        tier, self._owns_tier = _open_tier(redis)
        self._closed = False
        self._refreshes = Refreshes(self.most_refreshes)
        self._background: set[Any] = set()  # its tasks
        self._rules = Rules(settings, mine, tier)
        self._set_up(mine, None if settings.beta is None else self._rules.last)
        if mode is not None:
            self._listen(mode)
        _owners[id(mine)] = self

    def _listen(self, mode: Mode) -> None:
        tier = self._rules.tier
        assert tier is not None
        try:
            tier.hear(self._rules, mode)
        except BaseException:
            if self._owns_tier:
                tier.close()
            raise

    def _take(self, memory: Any) -> MemoryCache[str, Any]:
        if not isinstance(memory, MemoryCache):
            if isinstance(memory, bool) or not isinstance(memory, int):
                raise TypeError(f"memory must be a MemoryCache or the most entries of one, not {memory!r}")
            return MemoryCache(memory)
        owner = _owners.get(id(memory))
        if owner is not None and owner is not self and owner.memory is memory and not owner._closed:
            raise ValueError(f"this MemoryCache belongs to {owner!r}; give each tiered cache one of its own")
        return memory

    # ---------------------------------------------------------------------- what it is

    @property
    def redis(self) -> RedisTier | None:
        """The Redis tier, or None."""
        return self._rules.tier

    @property
    def namespace(self) -> str:
        """What the keys begin with in Redis, before a colon."""
        return self._rules.settings.namespace

    @property
    def name(self) -> str | None:
        """What logs and metrics call it."""
        return self._rules.settings.name

    @property
    def codec(self) -> Codec:
        """What makes bytes of values."""
        return self._rules.settings.codec

    def stats(self) -> TieredStats:
        """Return what was counted, as a `TieredStats`."""
        rules = self._rules
        redis = None if rules.tier is None else rules.tier.stats()
        coherence = None if rules.listener is None else rules.listener.stats(rules)
        return TieredStats(memory=self.memory.stats(), redis=redis, coherence=coherence, **rules.counters.as_dict())

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        redis = "no Redis" if self.redis is None else f"{self.redis.address}, namespace {self.namespace!r}"
        listener = self._rules.listener
        if listener is not None:
            redis += f", coherence {listener.coherence.mode!r}: {listener.stats(self._rules).state}"
        state = ", closed" if self._closed else ""
        return f"<{type(self).__name__}{name}: {len(self.memory)} of {self.memory.maxsize} in memory, {redis}{state}>"

    # ---------------------------------------------------------------------- what calls are given

    def _check_open(self) -> Rules:
        if self._closed:
            raise CacheClosed(f"{self!r} has been closed; make another one")
        rules = self._rules
        if rules.listener is not None and not rules.listener.running:
            rules.listener.start()  # this is a forked child, or there were no more threads
        return rules

    def _ttls(self, ttl: TTL, memory_ttl: TTL) -> tuple[float | None, float | None]:
        settings = self._rules.settings
        own = settings.ttl if isinstance(ttl, EllipsisType) else parse_optional_seconds(ttl, "ttl")
        if isinstance(memory_ttl, EllipsisType):
            return own, settings.memory_ttl
        return own, parse_optional_seconds(memory_ttl, "memory_ttl")

    def _request(self, key: str, loader: Any, ttl: TTL, memory_ttl: TTL) -> Request:
        self._check_open().full_key(key)
        if not callable(loader):
            raise TypeError(f"loader must be callable, not {type(loader).__name__}")
        return Request(key, loader, *self._ttls(ttl, memory_ttl))

    def _refresh_early(self, key: str, loader: Any, ttl: TTL, memory_ttl: TTL) -> None:
        """Do so, as a value that was found in memory is near its end."""
        self._begin_later([Later(self._request(key, loader, ttl, memory_ttl), is_early=True)])

    def _begin_later(self, later: list[Later]) -> None:
        """Have these loaded in the background, after what has called for it."""
        for request, is_early in later:
            if self._refresh_later(request) and is_early:
                self._rules.counters.add("early_refreshes")

    def _refresh_later(self, request: Request) -> bool:
        """Have it loaded in the background; False where it is already, or nobody can."""
        raise NotImplementedError

    def _forget_all(self) -> None:
        """Have memory hold nothing, and no load under way bring anything back."""
        self._closed = self._rules.closed = True
        if self._rules.listener is not None:
            self._rules.listener.leave(self._rules)
        for memory in self._rules.memories:
            memory.clear()


def keys_of(keys: Iterable[str]) -> list[str]:
    """Return the keys that a method was given. Raises TypeError."""
    if isinstance(keys, (str, bytes)):
        raise TypeError(f"keys must be several, in a list say, not one {type(keys).__name__}")
    return list(keys)


def pairs_of(mapping: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the keys and values that `set_many` was given. Raises TypeError, ValueError."""
    return dict(mapping)


def pattern_of(pattern: str | bytes | Glob[Any]) -> Glob[Any]:
    """Return the pattern that `invalidate` was given. Raises TypeError."""
    if isinstance(pattern, Glob):
        return pattern
    if not isinstance(pattern, (str, bytes)):
        raise TypeError(f"a pattern must be a str, bytes or a Glob, not {type(pattern).__name__}")
    return Glob(pattern)


def _open_tier(redis: Any) -> tuple[RedisTier | None, bool]:
    """Return the tier, and whether it was made here."""
    if redis is None:
        return None, False
    return (redis, False) if isinstance(redis, RedisTier) else (RedisTier(redis), True)
