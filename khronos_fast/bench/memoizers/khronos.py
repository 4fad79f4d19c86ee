"""Our own decorators, each with a TTL and without: what one costs is a question that users ask."""

from khronos_fast.bench.memoizer import Kind, Memoizer

_BOTH_KINDS = frozenset(Kind)

LRU_CACHE_WITH_TTL = Memoizer(
    name="khronos_fast lru_cache (ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    decorator="khronos_fast.lru_cache(maxsize=size, ttl=ttl)",
    lifetimes="one ttl",
    ours=True,
    requires="lru_cache",
    remark="strict LRU",
)

LRU_CACHE_WITHOUT_TTL = Memoizer(
    name="khronos_fast lru_cache (no ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    decorator="khronos_fast.lru_cache(maxsize=size)",
    ours=True,
    requires="lru_cache",
    remark="strict LRU",
)

CACHED_WITH_TTL = Memoizer(
    name="khronos_fast cached (ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    decorator="khronos_fast.cached(maxsize=size, ttl=ttl)",
    kinds=_BOTH_KINDS,
    lifetimes="one ttl",
    ours=True,
    requires="cached",
    remark="strict LRU; concurrent calls run the function once",
)

CACHED_WITHOUT_TTL = Memoizer(
    name="khronos_fast cached (no ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    decorator="khronos_fast.cached(maxsize=size)",
    kinds=_BOTH_KINDS,
    ours=True,
    requires="cached",
    remark="strict LRU; concurrent calls run the function once",
)

MEMOIZERS = (LRU_CACHE_WITH_TTL, LRU_CACHE_WITHOUT_TTL, CACHED_WITH_TTL, CACHED_WITHOUT_TTL)
