"""What is shown of a component: its own figures, its kind, how it is, and some names that all of a kind have.

Nothing is known here of the components but the records that their `stats()` return, told apart by what they have.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from khronos_fast.health.status import Status

Entry = dict[str, Any]


_OURS = (
    "khronos_fast._core.stats",
    "khronos_fast._core.pool_stats",
    "khronos_fast.databases.stats",
    "khronos_fast.tiers.stats",
)


def is_record(stats: Any) -> bool:
    """Whether this is a record of ours, as it is: not of a subclass, which may have anything in it."""
    return type(stats).__module__ in _OURS


def of_stats(stats: Any) -> tuple[str, Entry] | None:
    """Return the service that a record of ours belongs to, and its entry; None for what is no record of ours."""
    kind = type(stats)
    known = _known.get(kind)
    if known is None:
        known = next(((group, entry) for mark, group, entry in _RECORDS if hasattr(kind, mark)), None)
        if known is None:
            return None
        _known[kind] = known
    group, entry = known
    return group, entry(stats)


def _mark(entry: Entry, kind: str, is_well: bool = True) -> Entry:
    entry["kind"] = kind
    entry["status"] = "UP" if is_well else "DEGRADED"
    return entry


def _tiered(stats: Any) -> Entry:
    memory = stats.memory
    is_well = (stats.redis is None or stats.redis.connected) and (
        stats.coherence is None or stats.coherence.state in ("up", "closed")
    )
    entry: Entry = stats.as_dict()
    _mark(entry, "tiered", is_well)
    entry["gets"] = stats.hits + stats.redis_hits + stats.misses
    entry["puts"] = memory.inserts + memory.updates
    entry["size"] = memory.size
    entry["maxsize"] = memory.maxsize
    entry["evictions"] = memory.evictions
    return entry


def _memory(stats: Any) -> Entry:
    entry: Entry = stats.as_dict()
    entry["gets"] = stats.hits + stats.misses
    entry["puts"] = stats.inserts + stats.updates
    return _mark(entry, "memory")


def _redis(stats: Any) -> Entry:
    return _mark(stats.as_dict(), "redis", stats.connected)


def _database(stats: Any) -> Entry:
    entry: Entry = stats.as_dict()
    entry["engine"] = entry["kind"]
    return _mark(entry, "database")


def _pool(stats: Any) -> Entry:
    return _mark(stats.as_dict(), "pool")


# By a field that no other record of ours has.
_RECORDS: tuple[tuple[str, str, Callable[[Any], Entry]], ...] = (
    ("redis_hits", "caches", _tiered),
    ("inserts", "caches", _memory),
    ("refusals", "caches", _redis),
    ("transactions", "databases", _database),
    ("borrowed", "databases", _pool),
)
_known: dict[type, tuple[str, Callable[[Any], Entry]]] = {}


def of_cache_info(info: Any) -> Entry:
    """Return the entry of a function that remembers its results, by what `functools` tells of it."""
    gets = info.hits + info.misses
    entry = {
        "gets": gets,
        "hits": info.hits,
        "misses": info.misses,
        "hit_ratio": info.hits / gets if gets else None,
        "size": info.currsize,
        "maxsize": info.maxsize,
        "evictions": None,
        "puts": None,
    }
    return _mark(entry, "memoizer")


def of_memoizer(stats: Any, info: Any) -> Entry:
    """Return the entry of a function with a cache of ours, which it may share: the look-ups are its own."""
    own = of_cache_info(info)
    return {**_memory(stats), **{name: own[name] for name in ("kind", "gets", "hits", "misses", "hit_ratio")}}


def of_breaker(kind: str, state: str | None, failures: int | None = None, opened: int | None = None) -> Entry:
    """Return the entry of a circuit breaker."""
    return _mark({"state": state, "failures": failures, "opened": opened}, kind, state == "closed")


def of_answer(answer: dict[str, Any]) -> Entry:
    """Return the entry of a callable: what it has answered."""
    said = answer.get("status")
    status = said if isinstance(said, str) and said in Status.__members__ else Status.UP.value
    return {**copy.deepcopy(answer), "kind": "other", "status": status}


def of_failure(kind: str, error: str | None) -> Entry:
    """Return the entry of what can't be read. `error`: the name of a type; None: there was no answer in time."""
    return {"kind": kind, "status": Status.DOWN.value, "error": error or "TimeoutError"}
