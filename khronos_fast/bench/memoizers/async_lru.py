"""async-lru (Python): keeps the tasks that ran the function; an entry with a TTL has a timer in the event loop."""

from khronos_fast.bench.memoizer import Kind, Memoizer

WITHOUT_TTL = Memoizer(
    name="async-lru alru_cache",
    module="async_lru",
    distribution="async-lru",
    decorator="async_lru.alru_cache(maxsize=size)",
    kinds=frozenset({Kind.COROUTINE}),
    remark="LRU; concurrent calls run the function once",
)

WITH_TTL = Memoizer(
    name="async-lru alru_cache (ttl)",
    module="async_lru",
    distribution="async-lru",
    decorator="async_lru.alru_cache(maxsize=size, ttl=ttl)",
    kinds=frozenset({Kind.COROUTINE}),
    lifetimes="one ttl",
    remark="LRU; concurrent calls run the function once",
)

MEMOIZERS = (WITHOUT_TTL, WITH_TTL)
