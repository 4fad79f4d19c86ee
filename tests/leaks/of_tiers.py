"""Tiered caches, on a live server and without one, and the tier and the codecs that they are built of."""

import asyncio
import gc
import threading

from tiers.proxy import Proxy
from tiers.servers import free_port

from khronos_fast import (
    AsyncTieredCache,
    CacheClosed,
    CodecError,
    LoaderTimeout,
    RedisTier,
    RedisURLError,
    TieredCache,
)
from khronos_fast.tiers import RedisUnavailable

from .exercises import exercises
from .of_codecs import VALUES, Unstorable
from .worlds import Refused, World, fails, fails_later, refused, until

SETTINGS = {"namespace": "leaks", "ttl": 60, "memory_ttl": 30}


class Tiers(World):
    """On a live server."""

    kinds = ("redis",)

    def open(self):
        self.tier = RedisTier(self.url, name="leaks")
        self.cache = TieredCache(50, self.tier, name="leaks", stale_ttl=10, lease=1, **SETTINGS)
        self.hearing = TieredCache(50, self.url, coherence="pubsub", **SETTINGS | {"namespace": "heard"})
        # Links of a loop end with it, and each world has its own.
        self.async_cache = AsyncTieredCache(50, self.url, name="leaks", beta=1.0, **SETTINGS | {"namespace": "tasks"})
        self.alone = TieredCache(50)
        self.named = self.cache.cached("u:{number}")(load)
        self.async_named = self.async_cache.cached("u:{number}")(load_later)

        class Class:
            named = self.cache.cached("m:{number}")(load_of)

        self.instance = Class()

    def close(self):
        self.run(self.async_cache.close())
        for each in (self.cache, self.hearing, self.tier):
            each.close()

    @property
    def caches(self):
        return self.cache, self.hearing, self.alone

    def settle(self):
        super().settle()
        until(lambda: all(thread.name != "khronos_fast refresh" for thread in threading.enumerate()))
        gc.collect()


def load(number):
    return [number]


def load_of(self, number):
    return [number]


async def load_later(number):
    await asyncio.sleep(0)
    return [number]


def failing():
    raise Refused


async def failing_later():
    raise Refused


async def loading():
    return {"a": (1, 2)}


@exercises(Tiers, "TieredCache: get set delete get_many set_many delete_many")
def reading_and_writing(w):
    for cache in w.caches:
        for value in VALUES:
            cache.set("key", value), cache.get("key")
        cache.memory.clear()
        cache.get("key"), cache.get("absent", 5), cache.delete("key"), cache.delete("absent")
        cache.set_many({"a": 1, "b": (2,)}), cache.get_many(["a", "b", "c"]), cache.delete_many(["a", "c"])
        for key in (5, None, b"bytes"):
            fails(lambda cache=cache, key=key: cache.get(key), TypeError)
            fails(lambda cache=cache, key=key: cache.set(key, 1), TypeError)
            fails(lambda cache=cache, key=key: cache.delete(key), TypeError)
        fails(lambda cache=cache: cache.set("key", 1, ttl=-1), ValueError)
        fails(lambda cache=cache: cache.get_many("text"), TypeError)
        fails(lambda cache=cache: cache.delete_many("text"), TypeError)
        fails(lambda cache=cache: cache.set_many(5), TypeError)
    fails(lambda: w.cache.set("key", Unstorable()), CodecError)
    fails(lambda: w.cache.set_many({"a": 1, "key": Unstorable()}), CodecError)


@exercises(Tiers, "TieredCache: get_or_compute refresh")
def loading_in_threads(w):
    for cache in w.caches:
        cache.get_or_compute("key", lambda: (1, 2)), cache.get_or_compute("key", failing)
        cache.refresh("key", lambda: 5), cache.delete("key")
        fails(lambda cache=cache: cache.get_or_compute("absent", failing), Refused)
        fails(lambda cache=cache: cache.refresh("absent", failing), Refused)
        fails(lambda cache=cache: cache.get_or_compute("absent", 5), TypeError)
        fails(lambda cache=cache: cache.get_or_compute("absent", failing, ttl=0), ValueError)
        cache.get_or_compute("odd", Unstorable), cache.delete("odd")


@exercises(Tiers, "TieredCache: invalidate clear")
def invalidating(w):
    for cache in w.caches:
        cache.set_many({"u:1:a": 1, "u:1:b": 2, "v": 3})
        cache.invalidate("u:1:*"), cache.invalidate(b"*:?"), cache.invalidate("nothing"), cache.clear()
        fails(lambda cache=cache: cache.invalidate(5), TypeError)


@exercises(
    Tiers,
    "TieredCache.cached",
    "DecoratedFunction",
    "DecoratedMethod",
    "DecoratedFunction: __init__ __call__ cache cache_key cache_delete refresh __get__",
    "DecoratedFunction: __reduce__ __repr__",
    "DecoratedMethod: __init__ __call__ cache cache_key cache_delete refresh __eq__ __hash__",
    "DecoratedMethod: __reduce__ __repr__ __getattr__ __signature__ __func__ __self__",
)
def decorating(w):
    f = w.named
    f(1), f(1), f.refresh(1), f.cache_key(1), f.cache_delete(1), f.cache, repr(f), f.__reduce__()
    w.cache.cached("other:{number}")(load)(1), w.cache.cached(str)(load)(2), w.cache.clear()
    fails(lambda: f(1, 2), TypeError)
    fails(lambda: w.cache.cached("{nobody}")(load), TypeError, ValueError)
    bound = w.instance.named
    bound(1), bound.refresh(1), bound.cache_key(1), bound.cache_delete(1), bound.cache, repr(bound)
    bound == w.instance.named, hash(bound), bound.__reduce__(), bound.__name__, bound.__signature__
    bound.__func__, bound.__self__


@exercises(Tiers, "TieredCache: stats name namespace codec redis memory most_refreshes __repr__")
def looking(w):
    for cache in w.caches:
        cache.stats().as_dict(), cache.stats().hit_ratio, cache.name, cache.namespace, cache.codec, cache.redis
        cache.memory, cache.most_refreshes, repr(cache)


@exercises(
    Tiers,
    "TieredCache",
    "LoaderTimeout",
    "TieredCache: __init__ __new__ __enter__ __exit__ close",
)
def whole_caches(w):
    for redis in (None, w.tier):
        with TieredCache(10, redis, **SETTINGS) as cache:
            cache.set("key", 1), cache.get("key")
        fails(lambda cache=cache: cache.get("key"), CacheClosed)
        fails(lambda cache=cache: cache.set("key", 1), CacheClosed)
        cache.close()
    TieredCache(10, w.tier, **SETTINGS).get("key")
    for wrong in ({"ttl": -1}, {"codec": 5}, {"namespace": 5}, {"coherence": "nothing"}, {"beta": "x"}):
        fails(lambda wrong=wrong: TieredCache(10, w.tier, **wrong), TypeError, ValueError)
    fails(lambda: TieredCache("many"), TypeError)
    fails(lambda: TieredCache(10, "http://nowhere"), RedisURLError)
    impatient = TieredCache(10, loader_timeout=0.0005)
    go, threads = threading.Event(), []

    def slow():
        threads.append(None)
        go.wait(30)

    leader = threading.Thread(target=impatient.get_or_compute, args=("slow", slow))
    leader.start()
    until(lambda: threads)
    fails(lambda: impatient.get_or_compute("slow", slow), LoaderTimeout)
    go.set()
    leader.join()


@exercises(
    Tiers,
    "TieredCache",
    "TieredCache.__exit__",
    "RedisTier",
    "RedisTier: __init__ __enter__ __exit__",
)
def whole_links(w):
    with RedisTier(w.url) as tier:
        assert tier.ping()
    with TieredCache(10, w.url, **SETTINGS) as cache:
        cache.set("key", 1)
    with TieredCache(10, w.url, coherence="tracking", **SETTINGS) as cache:
        cache.set("key", 1), cache.get("key")
    nowhere = f"redis://127.0.0.1:{PORT}"
    fails(lambda: TieredCache(10, nowhere), RedisUnavailable)
    fails(lambda: TieredCache(10, nowhere, coherence="pubsub"), RedisUnavailable)


PORT = free_port()


class Away(World):
    """Redis was there, and is not there any more."""

    kinds = ("redis",)

    def open(self):
        self.proxy = Proxy("127.0.0.1", int(self.url.rpartition(":")[2]))
        self.cache = TieredCache(50, self.proxy.url, stale_ttl=10, **SETTINGS)
        self.async_cache = AsyncTieredCache(50, self.proxy.url, **SETTINGS)
        self.proxy.refusing()

    def close(self):
        self.run(self.async_cache.close())
        self.cache.close()
        self.proxy.close()


@exercises(Away, "TieredCache: get set delete get_many set_many delete_many get_or_compute refresh invalidate stats")
def without_redis(w):
    cache = w.cache
    cache.set("key", 1), cache.get("key"), cache.memory.clear(), cache.get("key"), cache.get_many(["key", "a"])
    cache.set_many({"a": 1}), cache.delete("key"), cache.delete_many(["a"]), cache.invalidate("u:*")
    cache.get_or_compute("key", lambda: 1), cache.refresh("key", lambda: 2), cache.delete("key"), cache.stats()
    fails(lambda: cache.get_or_compute("absent", failing), Refused)
    repr(cache), cache.redis.ping(), repr(cache.redis)


@exercises(
    Away, "AsyncTieredCache: get set delete get_many set_many delete_many get_or_compute refresh invalidate stats"
)
async def without_redis_in_tasks(w):
    cache = w.async_cache
    await cache.set("key", 1), await cache.get("key"), cache.memory.clear(), await cache.get_many(["key", "a"])
    await cache.set_many({"a": 1}), await cache.delete("key"), await cache.delete_many(["a"])
    await cache.invalidate("u:*"), await cache.get_or_compute("key", loading), await cache.refresh("key", loading)
    await cache.delete("key"), cache.stats()
    await fails_later(cache.get_or_compute("absent", failing_later), Refused)


@exercises(Tiers, "RedisTier: close __init__")
def closing_the_tier(w):
    tier = RedisTier(w.url)
    tier.ping(), tier.close(), tier.close()


@exercises(Tiers, "RedisTier: ping stats clustered relocate __repr__")
def the_tier(w):
    w.tier.ping(), w.tier.stats().as_dict(), w.tier.clustered, w.tier.relocate(), repr(w.tier)


@exercises(Tiers, "RedisTier.aclose", "RedisTier.__init__")
async def closing_the_tier_in_a_loop(w):
    tier = RedisTier(w.url)
    cache = AsyncTieredCache(10, tier, **SETTINGS)
    await cache.get("key")
    await cache.close()
    await tier.aclose()


# Tasks


@exercises(
    Tiers,
    "AsyncTieredCache: get set delete get_many set_many delete_many",
    "LookUp",
    "LookUp: __new__ __await__ __iter__ __next__ send throw close __repr__",
)
async def reading_and_writing_in_tasks(w):
    cache = w.async_cache
    for value in VALUES:
        await cache.set("key", value), await cache.get("key")
    cache.memory.clear()
    await cache.get("key"), await cache.get("absent", 5), await cache.delete("key"), await cache.delete("absent")
    await cache.set_many({"a": 1, "b": (2,)}), await cache.get_many(["a", "b", "c"]), await cache.delete_many(["a"])
    for key in (5, None, b"bytes"):
        await fails_later(cache.get(key), TypeError)
        await fails_later(cache.set(key, 1), TypeError)
    await fails_later(cache.set("key", Unstorable()), CodecError)
    await cache.set("key", 1)
    begun = cache.get("key")
    repr(begun), begun.close(), type(begun)().close()
    fails(lambda: cache.get("key").send(None), StopIteration)
    fails(lambda: next(iter(cache.get("key").__await__())), StopIteration)
    fails(lambda: cache.get("key").throw(Refused()), Refused)


@exercises(Tiers, "AsyncTieredCache: get_or_compute refresh")
async def loading_in_tasks(w):
    cache = w.async_cache
    await cache.get_or_compute("key", loading), await cache.get_or_compute("key", failing_later)
    await cache.refresh("key", loading), await cache.delete("key")
    await fails_later(cache.get_or_compute("absent", failing_later), Refused)
    await fails_later(cache.refresh("absent", failing_later), Refused)
    await fails_later(cache.get_or_compute("absent", 5), TypeError)
    crowd = [asyncio.ensure_future(within(cache, "crowd")) for _ in range(3)]
    await asyncio.sleep(0)
    crowd[0].cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    await cache.delete("crowd")


async def within(cache, key):
    return await cache.get_or_compute(key, loading)


@exercises(Tiers, "AsyncTieredCache: invalidate clear cached")
async def invalidating_in_tasks(w):
    cache = w.async_cache
    await cache.set_many({"u:1:a": 1, "u:1:b": 2})
    await cache.invalidate("u:1:*"), await cache.invalidate("nothing"), await cache.clear()
    await fails_later(cache.invalidate(5), TypeError)
    f = w.async_named
    await f(1), await f(1), await f.refresh(1), f.cache_key(1), await f.cache_delete(1)
    fails(lambda: cache.cached("{nobody}")(load_later), TypeError, ValueError)


@exercises(
    Tiers,
    "AsyncTieredCache: stats name namespace codec redis memory most_refreshes __repr__",
)
def looking_at_the_asynchronous(w):
    cache = w.async_cache
    cache.stats().as_dict(), cache.name, cache.namespace, cache.codec, cache.redis, cache.memory, cache.most_refreshes
    repr(cache)


@exercises(
    Tiers,
    "AsyncTieredCache",
    "AsyncTieredCache: __init__ __new__ __aenter__ __aexit__ close",
)
async def whole_caches_in_tasks(w):
    async with AsyncTieredCache(10) as cache:
        await cache.set("key", 1)
    await fails_later(cache.set("key", 1), CacheClosed)
    await cache.close()
    for coherence in (None, "pubsub"):
        async with AsyncTieredCache(10, w.url, coherence=coherence, **SETTINGS) as cache:
            await cache.set("key", 1), await cache.get("key")
    with refused(TypeError, ValueError):
        AsyncTieredCache(10, ttl=-1)
