"""cacheout (Python): the rival that removes by pattern, with a `delete_many` that looks at every key.

It takes a glob, a compiled regular expression or a function; the function is the fastest. No TTL: with one, each `set`
copies the times of all entries, which for a million of them takes milliseconds.
"""

from khronos_fast.bench.contender import Calls, Contender, Role

LRU = Contender(
    name="cacheout LRUCache",
    module="cacheout",
    distribution="cacheout",
    build=lambda module, size: module.LRUCache(maxsize=size),
    calls=Calls(
        get="get(key)",
        set="set(key, value)",
        invalidate_prefix="delete_many(lambda key: key.startswith(prefix))",
        invalidate="delete_many(match)",
    ),
    methods=("get", "set", "delete_many"),
    roles=frozenset({Role.INVALIDATE}),
    remark="LRU",
)

CONTENDERS = (LRU,)
