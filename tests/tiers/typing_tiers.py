"""What type checkers make of the tiers: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

from typing import Any, assert_type

from khronos_fast import (
    AsyncTieredCache,
    CacheClosed,
    Codec,
    CodecError,
    CoherenceStats,
    JSONCodec,
    KhronosError,
    LoaderTimeout,
    PickleCodec,
    RedisStats,
    RedisTier,
    RedisUnavailable,
    RedisURLError,
    TieredCache,
    TieredStats,
)
from khronos_fast.tiers.decorated import async_decorator, decorator


@decorator(None, "a:{number}", ttl=5)
def plain(number: int, text: str = "") -> float:
    return 1.0


@async_decorator(None, "a:{number}")
async def coroutine(number: int, text: str = "") -> bytes:
    return b""


class Thing:
    @decorator(None, lambda self, number: "x")
    def method(self, number: int) -> float:
        return 1.0

    @async_decorator(None, "a:{number}")
    async def coroutine(self, number: int) -> bytes:
        return b""


assert_type(plain(1, text="x"), float)
assert_type(plain.refresh(1), float)
assert_type(plain.cache_delete(1), bool)
assert_type(plain.cache_key(1), str)
plain("x")  # type: ignore[arg-type]
plain.cache_key()  # type: ignore[call-arg]
assert_type(Thing().method(1), float)
assert_type(Thing().method.cache_delete(1), bool)
assert_type(Thing.method(Thing(), 1), float)
Thing().method("x")  # type: ignore[arg-type]


@async_decorator(None, "a")  # type: ignore[arg-type]
def wrong() -> int:
    return 1


@decorator(None, 5)  # type: ignore[arg-type]
def wrong2() -> int:
    return 1


def bare_function(x: int) -> int:
    return 1


decorator(None, bare_function)  # type: ignore[arg-type]


async def main() -> None:
    assert_type(await coroutine(1), bytes)
    assert_type(await coroutine.refresh(1), bytes)
    assert_type(await coroutine.cache_delete(1), bool)
    assert_type(await Thing().coroutine(1), bytes)
    assert_type(await Thing().coroutine.cache_delete(1), bool)


cache = TieredCache(memory=10, ttl=5)
assert_type(cache.get_or_compute("k", lambda: 1), int)
assert_type(cache.refresh("k", lambda: "x", ttl=None), str)
assert_type(cache.delete("k"), bool)
assert_type(cache.get_many(["k"]), dict[str, Any])
assert_type(cache.stats(), TieredStats)
assert_type(cache.stats().redis, RedisStats | None)
assert_type(cache.stats().coherence, CoherenceStats | None)
TieredCache(redis="redis://localhost", coherence="tracking")
TieredCache(redis="redis://localhost", coherence="other")  # type: ignore[arg-type]
cache.set(1, 2)  # type: ignore[arg-type]
cache.get_or_compute("k", 1)  # type: ignore[arg-type]
TieredCache(ttl="x")  # type: ignore[arg-type]


@cache.cached("a:{number}")
def kept(number: int) -> list[str]:
    return []


assert_type(kept(1), list[str])
tasks = AsyncTieredCache()


async def load() -> bytes:
    return b""


@tasks.cached("a:{number}")
async def kept_async(number: int) -> list[str]:
    return []


async def use() -> None:
    assert_type(await tasks.get_or_compute("k", load), bytes)
    assert_type(await tasks.get_or_compute("k", lambda: 1), int)
    assert_type(await tasks.delete("k"), bool)
    assert_type(await kept_async(1), list[str])
    async with tasks as same:
        assert_type(same, AsyncTieredCache)


class Words:
    """A codec is whatever has the two methods."""

    def encode(self, value: Any, /) -> bytes:
        return b""

    def decode(self, payload: bytes, /) -> Any:
        return ""


class Mute:
    def encode(self, value: Any, /) -> bytes:
        return b""


codecs: list[Codec] = [Words(), JSONCodec(), PickleCodec(b"sixteen bytes or more")]
assert_type(JSONCodec().encode(1), bytes)
mute: Codec = Mute()  # type: ignore[assignment]
PickleCodec("text")  # type: ignore[arg-type]
TieredCache(redis=RedisTier("redis://localhost", timeout=0.5), codec=Words())
errors: list[type[KhronosError]] = [CacheClosed, CodecError, LoaderTimeout, RedisURLError, RedisUnavailable]
time_out: type[TimeoutError] = LoaderTimeout
value_error: type[ValueError] = CodecError
kept("x")  # type: ignore[arg-type]
kept(1, 2)  # type: ignore[call-arg]
