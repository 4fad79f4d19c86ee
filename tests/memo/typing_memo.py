"""What type checkers make of decorated functions: checked by mypy in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

from collections.abc import Hashable
from typing import Any, assert_type

from khronos_fast import CacheInfo, MemoryCache, cache, cached, lru_cache


@lru_cache
def bare(number: int, text: str = "") -> float:
    return 1.0


@lru_cache(maxsize=None, typed=True, ttl=5)
def with_settings(number: int) -> float:
    return 1.0


@cache
def unbounded(number: int) -> float:
    return 1.0


@cached
def plain(number: int, text: str = "") -> float:
    return 1.0


@cached(MemoryCache[Any, Any](10), ttl=5.0, key=lambda number: number, single_flight=False, name="n")
def shared(number: int) -> float:
    return 1.0


@cached
async def bare_coroutine(number: int) -> bytes:
    return b""


@cached(maxsize=5)
async def coroutine(number: int, text: str = "") -> bytes:
    return b""


class Thing:
    @lru_cache(ttl=5)
    def standard(self, number: int) -> float:
        return 1.0

    @cached
    def method(self, number: int) -> float:
        return 1.0

    @cached(ttl=5)
    async def coroutine(self, number: int) -> bytes:
        return b""


def calls(thing: Thing) -> None:
    assert_type(bare(1, text="x"), float)
    assert_type(with_settings(1), float)
    assert_type(unbounded(1), float)
    assert_type(plain(1, "x"), float)
    assert_type(shared(1), float)
    assert_type(thing.standard(1), float)
    assert_type(thing.method(1), float)
    assert_type(Thing.method(thing, 1), float)
    bare("1")  # type: ignore[arg-type]
    plain("1")  # type: ignore[arg-type]
    plain(1, text=2)  # type: ignore[arg-type]
    shared()  # type: ignore[call-arg]
    thing.method("1")  # type: ignore[arg-type]
    thing.standard("1")  # type: ignore[arg-type]


async def awaited(thing: Thing) -> None:
    assert_type(await bare_coroutine(1), bytes)
    assert_type(await coroutine(1, text="x"), bytes)
    assert_type(await coroutine.refresh(1), bytes)
    assert_type(await thing.coroutine(1), bytes)
    assert_type(await thing.coroutine.refresh(1), bytes)
    await coroutine("1")  # type: ignore[arg-type]
    await thing.coroutine("1")  # type: ignore[arg-type]


def the_rest(thing: Thing) -> None:
    assert_type(bare.cache_info(), CacheInfo)
    assert_type(bare.cache_clear(), None)
    assert_type(bare.cache_parameters(), dict[str, Any])
    assert_type(thing.standard.cache_info(), CacheInfo)
    assert_type(plain.cache, MemoryCache[Any, Any])
    assert_type(plain.cache_key(1, "x"), Hashable)
    assert_type(plain.cache_delete(1), bool)
    assert_type(plain.refresh(1), float)
    assert_type(thing.method.cache_delete(1), bool)
    assert_type(thing.method.refresh(1), float)
    plain.cache_delete("1")  # type: ignore[arg-type]
    thing.method.cache_delete("1")  # type: ignore[arg-type]
    bare.cache_delete(1)  # type: ignore[attr-defined]
    cached(ttl="5")  # type: ignore[call-overload]
    lru_cache(ttl="5")  # type: ignore[call-overload]
