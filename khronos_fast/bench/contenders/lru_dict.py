"""lru-dict (C). Its `get` costs twice its `cache[key]`, so reading through uses the latter in a `try`."""

from khronos_fast.bench.contender import Calls, Contender, Safety

LRU = Contender(
    name="lru-dict LRU",
    module="lru",
    distribution="lru-dict",
    build=lambda module, size: module.LRU(size),
    calls=Calls(
        get="get(key)",
        set="cache[key] = value",
        subscript="cache[key]",
        read_through="try:\n    cache[key]\nexcept KeyError:\n    {on_miss}",
        invalidate_prefix="for key in [key for key in cache.keys() if key.startswith(prefix)]: del cache[key]",
        invalidate="for key in list(filter(match, cache.keys())): del cache[key]",
    ),
    safety=Safety.GIL,
    remark="LRU",
)

CONTENDERS = (LRU,)
