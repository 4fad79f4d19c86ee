"""What all plans of a cache share: its settings and tiers, and what is known of a value."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from khronos_fast._core.loads import Loaded, begin, end
from khronos_fast._core.memory import MemoryCache
from khronos_fast._core.trust import forget
from khronos_fast.tiers.announcements import change
from khronos_fast.tiers.coherence import DEAF_TTL
from khronos_fast.tiers.commands import unlink
from khronos_fast.tiers.errors import CodecError, RedisUnavailable
from khronos_fast.tiers.front import Last
from khronos_fast.tiers.payload import Entry, pack, unpack
from khronos_fast.tiers.settings import Settings, key_octets
from khronos_fast.tiers.stats import Counters
from khronos_fast.tiers.steps import Ask, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from khronos_fast._core.glob import Glob
    from khronos_fast.tiers.command import Command
    from khronos_fast.tiers.listener import Listener
    from khronos_fast.tiers.redis_tier import RedisTier

logger = logging.getLogger("khronos_fast.tiers")
now = time.monotonic
MOST_UNSTORABLE = 10_000
"""Keys of which is remembered that their values are in memory only; others are forgotten when they need not be."""


class Known(NamedTuple):
    """A value, and what is known of it."""

    value: Any
    since: float
    """When that was so (`time.monotonic`): before Redis was asked, so that memory never outlives it."""
    fresh: float = math.inf
    """Seconds from then on until its ttl is over; 0 or less: it is."""
    delta: float = 0.0
    """Seconds that its load took."""
    kept: bool = True
    """Whether it is kept here at all."""
    memory_life: float = math.inf
    """Seconds from then on that memory may have it at most."""
    mark: bytes = b""
    """What it begins with in Redis, if nothing else does so."""


class Rules:
    """The settings and tiers of one cache. Without I/O, and without threads or tasks.

    `last` keeps the last value of each key beyond its time in memory, where that is of use: for serving it stale, and
    for telling when it is worth an early refresh. It is fenced as memory is: what was overtaken does not come into it.
    """

    def __init__(self, settings: Settings, memory: MemoryCache[str, Any], tier: RedisTier | None) -> None:
        self.settings = settings
        self.memory = memory
        self.tier = tier
        self.counters: Counters = Counters()
        self.prefix: bytes = f"{settings.namespace}:".encode("utf-8", "surrogatepass") if settings.namespace else b""
        needed = settings.stale_ttl is not None or settings.beta is not None
        self.last: MemoryCache[str, Last] | None = MemoryCache(memory.maxsize) if needed else None
        self.closed = False
        self.listener: Listener | None = None
        """What hears of other processes' changes, where that is wanted."""
        self.hears = True
        """Whether memory can be relied on for as long as its entries live: others' changes are heard, or not wanted."""
        self.has_heard = False
        """Whether it did so before."""
        self.tracks = False
        """Whether Redis tells of all changes, one's own too: then memory is filled by what was read there only."""
        self.unstorable: dict[bytes, None] = {}
        """Keys whose values are in memory only, so that there is nothing in Redis which could change."""
        self.after_fork()
        self._warned = False
        if tier is not None:
            tier.join(self)

    def after_fork(self) -> None:
        """No load of the parent's goes on, and nobody holds the lock."""
        # How many loads of a key are under way, and their tokens. The lock protects that; inside, nothing but what is
        # seen here. Reentrant, as a signal handler may come by.
        self._tokens: dict[bytes, tuple[int, frozenset[bytes]]] = {}
        self._tokens_lock = threading.RLock()

    @property
    def memories(self) -> list[MemoryCache[str, Any]]:
        """Memory, and the last values, if there are any."""
        return [self.memory] if self.last is None else [self.memory, self.last]

    def full_key(self, key: str) -> bytes:
        """Return a key as it is in Redis. Raises TypeError, ValueError."""
        return self.prefix + key_octets(key)

    # ---------------------------------------------------------------------- memory

    def begin(self, key: str, *, writes: bool = False) -> list[Any]:
        """Begin to read or to write the value of a key."""
        flights = [begin(self.memory, key, writes)]
        if self.last is not None:
            flights.append(begin(self.last, key, writes, loads=writes))
        return flights

    def begin_last(self, key: str, *, writes: bool) -> Any:
        """Begin to load a value whose flight in memory somebody else has."""
        return None if self.last is None else begin(self.last, key, writes, loads=True)

    def end(self, flights: list[Any], known: Known | None, memory_ttl: float | None) -> tuple[bool, bool]:
        """Store what it has come to, in memory and as the last value; False for where that was overtaken."""
        kept_last = True
        try:
            kept = end(self.memory, flights[0], None if known is None else self.loaded(known, memory_ttl))
        finally:
            if self.last is not None:
                kept_last = self.end_last(flights[1], known)
        return kept, kept_last

    def end_last(self, flight: Any, known: Known | None) -> bool:
        """Store it as the last value; False if it was overtaken."""
        if self.last is None:
            return True
        return end(self.last, flight, None if known is None else self._loaded_last(known))

    def loaded(self, known: Known, memory_ttl: float | None) -> Loaded:
        """Say for how long memory keeps it: never longer than Redis does, nor long while others can't be heard."""
        age = now() - known.since
        seconds = min(known.fresh, known.memory_life) - age
        if memory_ttl is not None:
            seconds = min(seconds, memory_ttl)
        if not self.hears:
            seconds = min(seconds, DEAF_TTL - age)
        return Loaded(known.value, None if seconds == math.inf else seconds, known.kept and not self.closed)

    def _loaded_last(self, known: Known) -> Loaded:
        last = Last(known.value, known.since + known.fresh, known.delta, self.settings.beta or 0.0, known.mark)
        seconds = known.fresh + (self.settings.stale_ttl or 0.0) - (now() - known.since)
        return Loaded(last, None if seconds == math.inf else seconds, known.kept and not self.closed)

    def drop(self, key: str) -> bool:
        """Have memory hold nothing, and no load under way bring it back. True if there was something."""
        self.drop_elsewhere(key)
        found = [memory.delete(key) for memory in self.memories]
        return any(found)

    def drop_read(self, key: str) -> None:
        """Have memory hold nothing that was read, and no read under way bring it back; loads may."""
        forget(self.memory, key, True)

    def drop_elsewhere(self, key: str) -> None:
        """Have the other caches of this namespace, which share the tier, forget it."""
        for other in self.others():
            for memory in other.memories:
                memory.delete(key)

    def drop_matching(self, pattern: Glob[Any]) -> int:
        """Have memory hold nothing that matches, and no load under way bring it back."""
        for rules in self.others():
            for memory in rules.memories:
                memory.invalidate(pattern)
        if self.last is not None:
            self.last.invalidate(pattern)
        return self.memory.invalidate(pattern)

    def others(self) -> list[Rules]:
        """Return the rules of other caches that have the same keys in the same tier."""
        return [] if self.tier is None else self.tier.others(self)

    def last_of(self, key: str) -> Last | None:
        """Return the last value of a key, if it may be served stale."""
        if self.last is None or self.settings.stale_ttl is None:
            return None
        return self.last.peek(key)

    # ---------------------------------------------------------------------- other processes

    def news(self, change: list[str] | Glob[Any], key: bytes | None) -> list[Command]:
        """Return what tells other processes of a change, if they are to be told."""
        return [] if self.tier is None else self.tier.news(self.prefix, change, key)

    @property
    def is_in_step(self) -> bool:
        """Whether others' changes are heard now, or not wanted."""
        return self.hears and (self.listener is None or self.listener.coherence.is_trusted)

    def begin_tokens(self, key: bytes) -> None:
        """A load begins, which may leave something in Redis."""
        if self.tracks:
            with self._tokens_lock:
                loads, tokens = self._tokens.get(key, (0, frozenset()))
                self._tokens[key] = loads + 1, tokens

    def note_token(self, key: bytes, token: bytes) -> None:
        """Note what it may be, to be told from what others do there."""
        if self.tracks:
            with self._tokens_lock:
                if token and key in self._tokens:
                    loads, tokens = self._tokens[key]
                    self._tokens[key] = loads, tokens | {token}

    def end_tokens(self, key: bytes) -> None:
        """The load is over."""
        if self.tracks:
            with self._tokens_lock:
                loads, tokens = self._tokens.pop(key, (1, frozenset()))
                if loads > 1:
                    self._tokens[key] = loads - 1, tokens

    def tokens_of(self, key: bytes) -> frozenset[bytes]:
        """What loads under way may have left in Redis."""
        return self._tokens[key][1] if key in self._tokens else frozenset()

    def note_unstorable(self, key: bytes) -> None:
        """The value of a key is in memory only."""
        if self.tracks:
            self.unstorable[key] = None
            if len(self.unstorable) > MOST_UNSTORABLE:
                self.unstorable.pop(next(iter(self.unstorable)), None)

    # ---------------------------------------------------------------------- Redis

    def ask(self, key: bytes, commands: Sequence[Command]) -> Plan[list[Any]]:
        """Ask Redis about a key; what should have been deleted there goes first."""
        assert self.tier is not None
        ticket = self.tier.covers(key)
        if ticket is None:
            replies: list[Any] = yield Ask(commands)
            return replies
        name = key[len(self.prefix) :].decode("utf-8", "surrogatepass")
        replies = yield from change(self, [unlink(key), *commands], {name: key})
        if isinstance(replies[0], Exception):
            raise RedisUnavailable(f"Redis does not delete: {replies[0]}")
        self.tier.deleted(key, ticket)
        return replies[1:]

    def could_not_delete(self, keys: Sequence[bytes]) -> None:
        """Remember to do it before they are read again."""
        assert self.tier is not None
        self.tier.remember(keys, self.prefix)

    def encode(self, value: Any, delta: float = 0.0) -> bytes:
        """Make of a value what lies in Redis. Raises CodecError."""
        settings = self.settings
        try:
            payload = settings.codec.encode(value)
        except CodecError:
            raise
        except Exception as error:
            raise CodecError(f"{settings.codec!r} does not take a {type(value).__name__}: {error}") from error
        if not isinstance(payload, bytes):
            raise CodecError(f"{settings.codec!r} must make bytes, not {type(payload).__name__}")
        return pack(payload, settings.stale_ttl or 0.0, delta if settings.beta is not None else 0.0)

    def life_ms(self, ttl: float | None) -> int | None:
        """Return for how long an entry of such a ttl lives in Redis."""
        return None if ttl is None else max(round((ttl + (self.settings.stale_ttl or 0.0)) * 1e3), 1)

    def decode(self, key: bytes, raw: bytes, pttl: Any, since: float) -> tuple[Entry, Known | None]:
        """Tell what a reply says: the entry, and its value if it has one."""
        entry = unpack(raw)
        if entry.payload is None:
            return entry, None
        try:
            value = self.settings.codec.decode(entry.payload)
        except Exception as error:  # of any codec; what does not decode is no value
            self.counters.add("undecodable")
            logger.debug("%s: a payload does not decode: %s", self.label, error)
            return entry, None
        if isinstance(pttl, Exception):
            raise RedisUnavailable(f"Redis does not tell for how long an entry lives: {pttl}")
        remaining = math.inf if pttl == -1 else max(pttl, 0) / 1e3
        fresh = 0.0 if entry.is_token else remaining - entry.stale
        self.unstorable.pop(key, None)
        # A token's mark is not the value's.
        mark = entry.fence.mark if entry.header else b""
        return entry, Known(value, since, fresh, entry.delta, mark=mark)

    def is_early(self, known: Known) -> bool:
        """Whether to load it anew before its time is over (XFetch).

        Each reader draws a lot; the nearer the end and the slower the load, the likelier it is to win. So one of many
        readers begins shortly before the end, and hardly ever two. Vattani, Chierichetti, Lowenstein, "Optimal
        Probabilistic Cache Stampede Prevention", VLDB 2015.
        """
        beta = self.settings.beta
        if beta is None or not known.delta:
            return False
        return known.fresh <= known.delta * beta * -math.log(1.0 - random.random())

    # ---------------------------------------------------------------------- telling

    @property
    def label(self) -> str:
        """What logs call the cache."""
        return self.settings.name or self.settings.namespace or "a tiered cache"

    def warn_unstorable(self, error: CodecError) -> None:
        """Count and tell of a value that no codec takes; the first time aloud."""
        self.counters.add("unstorable")
        if not self._warned:
            self._warned = True
            logger.warning("%s: a value is kept in memory only, as the codec does not take it", self.label)
        logger.debug("%s: a value is kept in memory only: %s", self.label, error)
