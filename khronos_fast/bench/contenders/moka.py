"""moka-py (Rust). No `cache[key]`, no keys to list. Its manual wants no cache-wide TTL where entries have their own."""

from typing import Any

from khronos_fast.bench.contender import TTL, Calls, Contender, Role


def _size(cache: Any) -> int:
    cache.run_pending_tasks()  # its count lags behind what it still has to do
    return int(cache.count())


_CALLS = Calls(
    get="get(key)",
    set="set(key, value)",
    set_for="set(key, value, ttl)",
    invalidate_prefix=None,
    invalidate=None,
)

TINY_LFU = Contender(
    name="moka-py Moka",
    module="moka_py",
    distribution="moka-py",
    build=lambda module, size: module.Moka(size, ttl=TTL),
    build_for_churn=lambda module, size: module.Moka(size),
    calls=_CALLS,
    methods=("get", "set"),
    lifetimes="ttl per entry",
    size=_size,
    remark="TinyLFU, its default policy",
)

LRU = Contender(
    name="moka-py Moka (lru)",
    module="moka_py",
    distribution="moka-py",
    build=lambda module, size: module.Moka(size, ttl=TTL, policy="lru"),
    calls=_CALLS,
    methods=("get", "set"),
    roles=frozenset({Role.HIT_RATIO}),
    lifetimes="ttl per entry",
    size=_size,
    remark="LRU",
)

CONTENDERS = (TINY_LFU, LRU)
