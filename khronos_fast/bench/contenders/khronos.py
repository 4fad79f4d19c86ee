"""Our own package, twice: what a TTL costs is a question that users ask."""

from collections.abc import Callable
from typing import Any

from khronos_fast.bench.contender import TTL, Calls, Contender, Role


def _build(ttl: float | None) -> Callable[[Any, int], Any]:
    return lambda module, capacity: module.MemoryCache(maxsize=capacity, ttl=ttl)


WITH_TTL = Contender(
    name="khronos_fast (ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build(TTL),
    calls=Calls(
        get="get(key)",
        set="cache[key] = value",
        subscript="cache[key]",
        set_for="set(key, value, ttl=ttl)",
    ),
    methods=("get", "set"),
    lifetimes="ttl per entry",
    ours=True,
    requires="MemoryCache",
    remark="strict LRU",
)

WITHOUT_TTL = Contender(
    name="khronos_fast (no ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build(None),
    calls=Calls(get="get(key)", set="cache[key] = value", subscript="cache[key]"),
    roles=frozenset({Role.SPEED, Role.THREADS}),  # its policy is that of the other form, so one row is enough there
    ours=True,
    requires="MemoryCache",
    remark="strict LRU",
)

CONTENDERS = (WITH_TTL, WITHOUT_TTL)
