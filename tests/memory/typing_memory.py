"""What type checkers make of `MemoryCache`: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

# ruff: noqa: F841

import copy
from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from datetime import timedelta
from typing import assert_type

from khronos_fast import CacheStats, KhronosError, LoaderCycle, MemoryCache, RemovalCause


def construction() -> None:
    cache: MemoryCache[str, int] = MemoryCache()
    assert_type(cache, MemoryCache[str, int])
    assert_type(MemoryCache[str, bytes](10), MemoryCache[str, bytes])
    assert_type(MemoryCache[str, bytes](10, 5.0), MemoryCache[str, bytes])
    by_delta: MemoryCache[int, int] = MemoryCache(maxsize=10, ttl=timedelta(minutes=1))
    for_ever: MemoryCache[int, int] = MemoryCache(ttl=None, timer=lambda: 0.0, delimiter="/", name="n")
    positional: MemoryCache[int, int] = MemoryCache(1, 2, 3)  # type: ignore[call-arg]
    by_text: MemoryCache[int, int] = MemoryCache("10")  # type: ignore[arg-type]
    ttl_text: MemoryCache[int, int] = MemoryCache(ttl="5")  # type: ignore[arg-type]
    unknown: MemoryCache[int, int] = MemoryCache(size=5)  # type: ignore[call-arg]


def callables() -> None:
    def weigher(key: str, value: bytes) -> int:
        return len(value)

    def listener(key: str, value: bytes, cause: RemovalCause) -> None: ...

    def wrong(key: str) -> int:
        return 1

    # Key and value are inferred from the callables.
    assert_type(MemoryCache(max_weight=10, weigher=weigher), MemoryCache[str, bytes])
    assert_type(MemoryCache(on_removal=listener), MemoryCache[str, bytes])
    bad: MemoryCache[str, bytes] = MemoryCache(max_weight=10, weigher=wrong)  # type: ignore[arg-type]
    mixed: MemoryCache[int, bytes] = MemoryCache(on_removal=listener)  # type: ignore[arg-type]


def reading(cache: MemoryCache[str, int]) -> None:
    assert_type(cache["a"], int)
    assert_type(cache.get("a"), int | None)
    assert_type(cache.get("a", 0), int)
    assert_type(cache.get("a", "default"), int | str)
    assert_type(cache.get("a", default="default"), int | str)
    assert_type(cache.get("a", None), int | None)
    assert_type(cache.peek("a"), int | None)
    assert_type(cache.peek("a", 0), int)
    assert_type(cache.peek("a", b"default"), int | bytes)
    assert_type("a" in cache, bool)
    assert_type(len(cache), int)
    assert_type(cache.ttl("a"), float | None)
    assert_type(cache.get_many(["a", "b"]), dict[str, int])
    assert_type(cache.get_many(key for key in "ab"), dict[str, int])
    cache[1]  # type: ignore[index]
    cache.get(1)  # type: ignore[call-overload]
    cache.get_many([1])  # type: ignore[list-item]
    cache.ttl(None)  # type: ignore[arg-type]


def writing(cache: MemoryCache[str, int], numbers: dict[int, int]) -> None:
    cache["a"] = 1
    cache["a"] = "1"  # type: ignore[assignment]
    cache[1] = 1  # type: ignore[index]
    assert_type(cache.setdefault("a", 1), int)
    assert_type(cache.get_or_compute("a", lambda: 1), int)
    assert_type(cache.get_or_compute("a", lambda: 1, ttl=5), int)
    assert_type(cache.get_or_compute("a", loader=lambda: 1, ttl=None), int)
    cache.get_or_compute("a", lambda: "1")  # type: ignore[arg-type, return-value]
    cache.get_or_compute("a", 5)  # type: ignore[arg-type]
    cache.update({"a": 1})
    cache.update([("a", 1)])
    cache.update(a=1)
    cache.update(cache)
    cache.set_many({"a": 1})
    cache.set_many(cache, ttl=5)
    cache.set_many(numbers)  # type: ignore[arg-type]
    cache.set("a", "1")  # type: ignore[arg-type]


def times_to_live(cache: MemoryCache[str, int]) -> None:
    cache.set("a", 1)
    cache.set("a", 1, 5)
    cache.set("a", 1, ttl=5)
    cache.set("a", 1, ttl=0.5)
    cache.set("a", 1, ttl=timedelta(seconds=5))
    cache.set("a", 1, ttl=None)
    cache.set("a", 1, ttl=...)
    cache.set("a", 1, ttl="5")  # type: ignore[arg-type]
    assert_type(cache.touch("a"), bool)
    assert_type(cache.touch("a", ttl=timedelta(days=1)), bool)
    assert_type(cache.touch("a", ttl=None), bool)
    cache.touch("a", ttl=b"5")  # type: ignore[arg-type]
    cache.set_many({"a": 1}, ttl=timedelta(1))
    cache.set_many({"a": 1}, ttl=[5])  # type: ignore[arg-type]
    cache.get_or_compute("a", lambda: 1, ttl=timedelta(1))
    cache.get_or_compute("a", lambda: 1, ttl="5")  # type: ignore[arg-type]


def removing(cache: MemoryCache[str, int]) -> None:
    assert_type(cache.pop("a"), int)
    assert_type(cache.pop("a", 0), int)
    assert_type(cache.pop("a", None), int | None)
    assert_type(cache.pop("a", "default"), int | str)
    assert_type(cache.popitem(), tuple[str, int])
    assert_type(cache.delete("a"), bool)
    assert_type(cache.delete_many(["a"]), int)
    assert_type(cache.expire(), int)
    cache.clear()
    cache.resize(5)
    del cache["a"]
    del cache[1]  # type: ignore[arg-type]
    cache.delete(1)  # type: ignore[arg-type]
    cache.resize("5")  # type: ignore[arg-type]


def listing(cache: MemoryCache[str, int]) -> None:
    assert_type(iter(cache), Iterator[str])
    assert_type(cache.keys(), KeysView[str])
    assert_type(cache.values(), ValuesView[int])
    assert_type(cache.items(), ItemsView[str, int])
    for key, value in cache.items():
        assert_type(key, str)
        assert_type(value, int)
    for key in cache:
        assert_type(key, str)
    mapping: MutableMapping[str, int] = cache
    assert_type({**cache}, dict[str, int])
    match cache:
        case {"a": found}:
            assert_type(found, int)


def statistics(cache: MemoryCache[str, int]) -> None:
    stats = cache.stats()
    assert_type(stats, CacheStats)
    assert_type(stats.hits, int)
    assert_type(stats.misses, int)
    assert_type(stats.hit_ratio, float | None)
    assert_type(stats.inserts, int)
    assert_type(stats.updates, int)
    assert_type(stats.evictions, int)
    assert_type(stats.expirations, int)
    assert_type(stats.invalidations, int)
    assert_type(stats.loads, int)
    assert_type(stats.load_failures, int)
    assert_type(stats.load_seconds, float)
    assert_type(stats.size, int)
    assert_type(stats.maxsize, int)
    assert_type(stats.usage, float)
    assert_type(stats.weight, int | None)
    assert_type(stats.max_weight, int | None)
    assert_type(cache.name, str | None)
    stats.as_dict()["hits"]
    stats.hits = 5  # type: ignore[misc]


def others(cache: MemoryCache[str, int]) -> None:
    assert_type(copy.copy(cache), MemoryCache[str, int])
    assert_type(copy.deepcopy(cache), MemoryCache[str, int])
    error: RuntimeError = LoaderCycle()
    root: KhronosError = LoaderCycle()
    causes: list[RemovalCause] = [RemovalCause.EXPIRED, RemovalCause.EVICTED, RemovalCause.REPLACED]
    more: list[RemovalCause] = [RemovalCause.DELETED, RemovalCause.INVALIDATED, RemovalCause.CLEARED]


class Sessions(MemoryCache[str, list[int]]):
    """A subclass says once and for all what it holds."""

    def longest(self) -> int:
        return max(map(len, self.values()))


def subclass() -> None:
    sessions = Sessions(10, name="sessions")
    assert_type(sessions["a"], list[int])
    assert_type(copy.copy(sessions), Sessions)
    sessions["a"] = [1]
    sessions["a"] = ["1"]  # type: ignore[list-item]


class Optional(MemoryCache[str, int | None]):
    """None is a value like any other."""


def optional(cache: Optional) -> None:
    assert_type(cache["a"], int | None)
    assert_type(cache.setdefault("a"), int | None)
    assert_type(cache.get_or_compute("a", lambda: None), int | None)
