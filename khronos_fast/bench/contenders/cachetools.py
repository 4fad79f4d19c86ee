"""cachetools (Python). Documented as not thread-safe: the threads group wraps each call in a lock.

`TTLCache.get` looks a key up twice under a context manager, so reading through uses `cache[key]` in a `try`, which is
faster at every hit ratio above a tenth. For `LRUCache`, whose miss through an exception is dear, `get` is.
"""

from khronos_fast.bench.contender import TTL, Calls, Contender, Role, Safety

LRU = Contender(
    name="cachetools LRUCache",
    module="cachetools",
    distribution="cachetools",
    build=lambda module, size: module.LRUCache(size),
    calls=Calls(get="get(key)", set="cache[key] = value", subscript="cache[key]"),
    safety=Safety.LOCK,
    remark="LRU",
)

TTL_CACHE = Contender(
    name="cachetools TTLCache",
    module="cachetools",
    distribution="cachetools",
    build=lambda module, size: module.TTLCache(size, TTL),
    calls=Calls(
        get="get(key)",
        set="cache[key] = value",
        subscript="cache[key]",
        read_through="try:\n    cache[key]\nexcept KeyError:\n    {on_miss}",
    ),
    roles=frozenset({Role.SPEED, Role.THREADS}),  # its eviction is that of LRUCache
    safety=Safety.LOCK,
    lifetimes="one ttl",
    remark="LRU",
)

TLRU = Contender(
    name="cachetools TLRUCache",
    module="cachetools",
    distribution="cachetools",
    # The value is its own time to live: no cheaper time-to-use function can be written.
    build=lambda module, size: module.TLRUCache(size, ttu=lambda _key, value, now: now + value),
    calls=Calls(get="get(key)", set="cache[key] = ttl", subscript="cache[key]", set_for="cache[key] = ttl"),
    constants={"ttl": TTL},
    roles=frozenset({Role.CHURN}),
    safety=Safety.LOCK,
    lifetimes="ttl per entry",
    remark="cachetools' cache with a time to live per entry",
)

CONTENDERS = (LRU, TTL_CACHE, TLRU)
