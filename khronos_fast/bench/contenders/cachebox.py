"""cachebox (Rust). `cache[key] = value` is faster than the `insert` that its manual prefers, so it is used.

`VTTLCache` is the exception: there, `cache[key] = value` stores an entry that never expires, and only `insert` takes a
time to live. Every cache is built with `capacity=`, the manual's way to spare it the growing.
"""

from khronos_fast.bench.contender import TTL, Calls, Contender, Role

_MAPPING = Calls(get="get(key)", set="cache[key] = value", subscript="cache[key]")
_POLICY = frozenset({Role.HIT_RATIO})

LRU = Contender(
    name="cachebox LRUCache",
    module="cachebox",
    distribution="cachebox",
    build=lambda module, size: module.LRUCache(size, capacity=size),
    calls=_MAPPING,
    remark="LRU",
)

TTL_CACHE = Contender(
    name="cachebox TTLCache",
    module="cachebox",
    distribution="cachebox",
    build=lambda module, size: module.TTLCache(size, TTL, capacity=size),
    calls=_MAPPING,
    lifetimes="one ttl",
    remark="evicts first in, first out",
)

VTTL = Contender(
    name="cachebox VTTLCache",
    module="cachebox",
    distribution="cachebox",
    build=lambda module, size: module.VTTLCache(size, capacity=size),
    calls=Calls(
        get="get(key)",
        set="insert(key, value, ttl)",
        subscript="cache[key]",
        set_for="insert(key, value, ttl)",
    ),
    methods=("get", "insert"),
    constants={"ttl": TTL},
    lifetimes="ttl per entry",
    remark="evicts what is nearest to its expiry",
)

LFU = Contender(
    name="cachebox LFUCache",
    module="cachebox",
    distribution="cachebox",
    build=lambda module, size: module.LFUCache(size, capacity=size),
    calls=_MAPPING,
    roles=_POLICY,
    remark="LFU",
)

FIFO = Contender(
    name="cachebox FIFOCache",
    module="cachebox",
    distribution="cachebox",
    build=lambda module, size: module.FIFOCache(size, capacity=size),
    calls=_MAPPING,
    roles=_POLICY,
    remark="FIFO",
)

CONTENDERS = (LRU, TTL_CACHE, VTTL, LFU, FIFO)
