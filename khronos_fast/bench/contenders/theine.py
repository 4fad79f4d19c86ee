"""theine (Rust policy, Python shards). No `cache[key]`, no keys to list; the second of the pair that `get` returns says
whether it hit.

One thread uses it with `nolock=True`, its documented fast way; threads share it with its locks.
"""

from datetime import timedelta
from typing import Any

from khronos_fast.bench.contender import TTL, Calls, Contender


def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _dispose(cache: Any) -> None:
    # Its expiry task refers to the cache until `close`, and wakes up every second until then.
    cache.clear()
    cache.close()


CACHE = Contender(
    name="theine Cache",
    module="theine",
    distribution="theine",
    build=lambda module, size: module.Cache(size, nolock=True),
    build_for_threads=lambda module, size: module.Cache(size),
    calls=Calls(
        get="get(key)",
        set="set(key, value, ttl)",
        set_for="set(key, value, ttl)",
        read_through="if not get(key)[1]:\n    {on_miss}",
        invalidate_prefix=None,
        invalidate=None,
    ),
    methods=("get", "set"),
    constants={"ttl": _duration(TTL)},
    lifetimes="ttl per entry",
    duration=_duration,
    dispose=_dispose,
    remark="W-TinyLFU; nolock where one thread uses it",
)

CONTENDERS = (CACHE,)
