"""Our own package, with a TTL and without: what one costs is a question that users ask.

The other two take part in the group pattern only. In one a prefix pattern has been run, so that it keeps an index. The
other deletes by name what the rest invalidates by prefix: whoever has to find the keys can't do much better.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from khronos_fast.bench.contender import TTL, Calls, Contender, Role


def _build(ttl: float | None) -> Callable[[Any, int], Any]:
    return lambda module, capacity: module.MemoryCache(maxsize=capacity, ttl=ttl)


def _build_with_index(module: Any, capacity: int) -> Any:
    cache = module.MemoryCache(maxsize=capacity, ttl=TTL)
    cache.invalidate("user:0:*")
    return cache


_CALLS = Calls(
    get="get(key)",
    set="cache[key] = value",
    subscript="cache[key]",
    invalidate_prefix="invalidate(pattern)",
    invalidate="invalidate(pattern)",
)

WITH_TTL = Contender(
    name="khronos_fast (ttl)",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build(TTL),
    calls=replace(_CALLS, set_for="set(key, value, ttl=ttl)"),
    methods=("get", "set", "invalidate"),
    roles=frozenset({Role.SPEED, Role.HIT_RATIO, Role.THREADS, Role.INDEX}),
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
    calls=_CALLS,
    methods=("get", "invalidate"),
    roles=frozenset({Role.SPEED, Role.THREADS}),  # its policy is that of the other form, so one row is enough there
    ours=True,
    requires="MemoryCache",
    remark="strict LRU",
)

PATTERNS_USED = replace(
    WITH_TTL,
    name="khronos_fast (patterns used)",
    build=_build_with_index,
    roles=frozenset({Role.INDEX}),
    remark="strict LRU; a prefix pattern has been run",
)

DELETE_BY_NAME = replace(
    WITH_TTL,
    name="khronos_fast delete_many",
    calls=replace(WITH_TTL.calls, invalidate_prefix="delete_many(keys)", invalidate=None),
    methods=("get", "set", "delete_many"),
    roles=frozenset({Role.INVALIDATE}),
    remark="the floor of prefixes: is told the keys",
)

CONTENDERS = (WITH_TTL, WITHOUT_TTL, PATTERNS_USED, DELETE_BY_NAME)
