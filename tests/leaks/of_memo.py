"""Memoized functions, coroutine functions and methods."""

import asyncio
import copy
import inspect

from khronos_fast import LoaderCycle, MemoryCache, cache, cached, lru_cache

from .exercises import exercises
from .worlds import Refused, World, fails, fails_later, refused


class Unhashable:
    __hash__ = None


class Memo(World):
    def open(self):
        self.cache = MemoryCache(50, name="leaks")
        self.error = None

        def function(*args, **options):
            if self.error is not None:
                raise self.error
            return [args]

        async def coroutine_function(*args, **options):
            await asyncio.sleep(0)
            return function(*args, **options)

        self.function, self.coroutine_function = function, coroutine_function
        self.lru = lru_cache(5, ttl=50)(function)
        self.cached = cached(self.cache)(function)
        self.awaited = cached(maxsize=50)(coroutine_function)

        class Class:
            of_lru = lru_cache(5)(function)
            plain = cached(maxsize=5)(function)
            awaited = cached(maxsize=5)(coroutine_function)

        self.instance = Class()


@exercises(Memo, "lru_cache", "cache", "cached", "LruCacheFunction: __new__", "LruCacheFunction")
def decorating(w):
    for decorate in (
        lru_cache,
        lru_cache(3, True),
        cache,
        cached,
        cached(ttl=5, typed=True, name="n"),
        cached(w.cache),
    ):
        made = decorate(w.function)
        made(1), made(1), made(a=1)
    for wrong in (
        lambda: lru_cache("many"),
        lambda: lru_cache(1, ttl=-1),
        lambda: cached(5),
        lambda: cached(maxsize=0),
    ):
        fails(lambda wrong=wrong: wrong()(w.function), TypeError, ValueError)
    fails(lambda: cached(decorating_a_generator), TypeError)


def decorating_a_generator():
    yield


@exercises(Memo, "LruCacheFunction: __call__ cache_info cache_clear cache_parameters __get__")
def lru(w):
    f = w.lru
    f(1), f(1, 2), f(1, a=2), f([].__len__), w.instance.of_lru(1), type(w.instance).of_lru
    f.cache_info(), f.cache_parameters()
    fails(lambda: f(Unhashable()), TypeError)
    w.error = Refused("no")
    fails(lambda: f("absent"), Refused)
    w.error = None
    f.cache_clear()


@exercises(Memo, "LruCacheFunction: __copy__ __deepcopy__ __reduce__ __repr__")
def lru_as_an_object(w):
    copy.copy(w.lru), copy.deepcopy(w.lru), repr(w.lru), w.lru.__reduce__(), hash(w.lru), inspect.signature(w.lru)


@exercises(
    Memo,
    "CachedFunction",
    "CachedFunction: __call__ cache name cache_info cache_clear cache_key cache_delete",
    "CachedFunction: refresh __copy__ __deepcopy__ __reduce__ __repr__ __get__ __new__",
)
def cached_functions(w):
    f = w.cached
    f(1), f(1), f(1, a=2), f.refresh(1), f.refresh(7), f.cache_delete(7), f.cache_delete(8), f.cache_key(1, a=2)
    f.cache, f.name, f.cache_info(), copy.copy(f), copy.deepcopy(f), repr(f), f.__reduce__(), type(w.instance).plain
    fails(lambda: f(Unhashable()), TypeError)
    fails(lambda: f.refresh(Unhashable()), TypeError)
    fails(lambda: f.cache_delete(Unhashable()), TypeError)
    w.error = Refused("no")
    fails(lambda: f("absent"), Refused)
    fails(lambda: f.refresh(1), Refused)
    w.error = None
    needs_itself = cached(lambda number: needs_itself(number))
    fails(lambda: needs_itself(1), LoaderCycle)
    f.cache_clear()


@exercises(
    Memo,
    "CachedCoroutineFunction",
    "CachedCoroutineFunction: __new__ __call__ cache name cache_info cache_clear",
    "CachedCoroutineFunction: cache_key cache_delete refresh __copy__ __deepcopy__ __reduce__",
    "CachedCoroutineFunction: __repr__ __get__",
)
async def cached_coroutine_functions(w):
    f = w.awaited
    await f(1), await f(1), await f(1, a=2), await f.refresh(1), f.cache_delete(1), f.cache_key(1), f.cache_info()
    f.cache, f.name, copy.copy(f), copy.deepcopy(f), repr(f), f.__reduce__(), type(w.instance).awaited
    await asyncio.gather(*[f("crowd") for _ in range(5)])
    await fails_later(f(Unhashable()), TypeError)
    w.error = Refused("no")
    await fails_later(f("absent"), Refused)
    await fails_later(f.refresh("absent"), Refused)
    w.error = None
    crowd = [asyncio.ensure_future(f("cancelled")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    f("never awaited").close()
    f.cache_clear()


@exercises(
    Memo,
    "CachedMethod",
    "CachedMethod: __new__ __call__ __func__ __self__ __wrapped__ __signature__ __getattr__ __getattribute__",
    "CachedMethod: __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __repr__ __reduce__",
    "CachedMethod: cache name cache_info cache_clear cache_key cache_delete refresh",
)
def methods(w):
    bound = w.instance.plain
    bound(1), bound(1), bound.cache_key(1), bound.refresh(1), bound.cache_delete(1), bound.cache_info(), bound.cache
    bound.__func__, bound.__self__, bound.__wrapped__, bound.__signature__, bound.name, bound.__qualname__
    bound == w.instance.plain, bound != 5, hash(bound), repr(bound), bound.__reduce__()
    fails(lambda: bound < bound, TypeError)
    fails(lambda: bound(Unhashable()), TypeError)
    fails(lambda: bound.nothing_of_the_kind, AttributeError)
    w.run(w.instance.awaited(1)), w.run(w.instance.awaited.refresh(1))
    with refused(TypeError):
        type(bound)()
    bound.cache_clear(), w.instance.awaited.cache_clear()
