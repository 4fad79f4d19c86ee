"""What type checkers make of decorated functions: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

from collections.abc import Callable, Hashable
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


@cached(ttl=5)
def keywords(number: int, /, text: str = "", *, flag: bool = False) -> float:
    return 1.0


@cached
async def keywords_coroutine(number: int, /, text: str = "", *, flag: bool) -> bytes:
    return b""


@lru_cache(maxsize=5)
def keywords_standard(number: int, *, flag: bool = False) -> float:
    return 1.0


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

    @staticmethod
    @cached(ttl=5)
    def static(number: int, *, flag: bool = False) -> float:
        return 1.0

    @staticmethod
    @cached
    async def static_coroutine(number: int) -> bytes:
        return b""

    @staticmethod
    @cached
    def without_arguments() -> float:
        return 1.0

    @staticmethod
    @lru_cache(ttl=5)
    def standard_static(number: int) -> float:
        return 1.0

    @classmethod
    @cached
    def of_class(cls, number: int, *, flag: bool = False) -> float:
        return 1.0

    @classmethod
    @cached(ttl=5)
    async def of_class_coroutine(cls, number: int) -> bytes:
        return b""

    @classmethod
    @lru_cache(ttl=5)
    def standard_of_class(cls, number: int) -> float:
        return 1.0


class Heir(Thing):
    pass


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


def parameters_stay_what_they_are() -> None:
    assert_type(keywords(1), float)
    assert_type(keywords(1, "x", flag=True), float)
    assert_type(keywords.refresh(1, text="x", flag=True), float)
    assert_type(keywords_standard(1, flag=True), float)
    keywords(number=1)  # type: ignore[call-arg]
    keywords(1, "x", True)  # type: ignore[call-arg]
    keywords(1, flag="x")  # type: ignore[arg-type]
    keywords.cache_key(1, "x", True)  # type: ignore[call-arg]
    keywords_standard(1, True)  # type: ignore[call-arg]


async def parameters_of_coroutines_too() -> None:
    assert_type(await keywords_coroutine(1, flag=True), bytes)
    assert_type(keywords_coroutine.cache_info(), CacheInfo)
    await keywords_coroutine(1)  # type: ignore[call-arg]
    await keywords_coroutine(1, "x", True)  # type: ignore[call-arg]


def methods_as_callables(thing: Thing) -> None:
    bound: Callable[[int], float] = thing.method
    bound = thing.standard
    bound = thing.static
    bound = Thing.of_class
    bound = thing.of_class
    bound = thing.without_arguments  # type: ignore[assignment]
    unbound: Callable[[Thing, int], float] = Thing.method
    del bound, unbound


async def static_methods(thing: Thing) -> None:
    assert_type(Thing.static(1, flag=True), float)
    assert_type(thing.static(1, flag=True), float)
    assert_type(Thing.standard_static(1), float)
    assert_type(thing.standard_static(1), float)
    assert_type(thing.without_arguments(), float)
    assert_type(Thing.static.cache_delete(1), bool)
    assert_type(thing.static.cache_delete(1), bool)
    assert_type(await Thing.static_coroutine(1), bytes)
    assert_type(await thing.static_coroutine(1), bytes)
    assert_type(await Thing.static_coroutine.refresh(1), bytes)
    Thing.static("1")  # type: ignore[arg-type]
    Thing.static(1, True)  # type: ignore[call-arg]
    thing.static("1")  # type: ignore[arg-type]
    thing.standard_static("1")  # type: ignore[arg-type]


async def class_methods(thing: Thing, heir: Heir) -> None:
    assert_type(Thing.of_class(1, flag=True), float)
    assert_type(thing.of_class(1, flag=True), float)
    assert_type(Heir.of_class(1), float)
    assert_type(heir.of_class(1), float)
    assert_type(Thing.standard_of_class(1), float)
    assert_type(thing.standard_of_class(1), float)
    assert_type(Thing.standard_of_class.cache_info(), CacheInfo)
    assert_type(Thing.of_class.cache_info(), CacheInfo)
    assert_type(Thing.of_class.cache_delete(Thing, 1), bool)
    assert_type(await Thing.of_class_coroutine(1), bytes)
    assert_type(await thing.of_class_coroutine(1), bytes)
    assert_type(await Thing.of_class_coroutine.refresh(Thing, 1), bytes)
    Thing.of_class("1")  # type: ignore[arg-type]
    thing.of_class("1")  # type: ignore[arg-type]
    Thing.of_class(1, True)  # type: ignore[call-arg]
    Thing.of_class.cache_delete("1")  # type: ignore[call-arg, arg-type]
    thing.standard_of_class("1")  # type: ignore[arg-type]
