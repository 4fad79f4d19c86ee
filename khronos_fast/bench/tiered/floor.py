"""What a read costs at the least: in memory our own `MemoryCache`, or a coroutine function that does nothing; in Redis
the commands of a fenced read in one bare pipeline of redis-py's, and decoding alone.

They do nothing about failures, concurrent misses, or what was invalidated meanwhile.
"""

import functools
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from khronos_fast.bench.candidate import STANDARD
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.tiering import TTL, VALUE, Spot, Tier, Tiered

FENCE = 30_000
"""Milliseconds that the token of a load that is under way stays in Redis."""
FILL = """\
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end"""
"""Store what was loaded if the key still has the token."""


class _ByHand:
    """`MemoryCache`, with a decorator as one writes it oneself."""

    def __init__(self, cache: Any) -> None:
        self.get, self.set, self.get_many = cache.get, cache.set, cache.get_many

    def cached(self, function: Callable[[int], object]) -> Callable[[int], object]:
        """For functions of a number."""
        get, store = self.get, self.set

        def load(number: int) -> object:
            key = f"user:{number}:profile"
            value = get(key)
            if value is None:
                value = function(number)
                store(key, value)
            return value

        return load

    def cached_for_tasks(self, function: Callable[[int], Awaitable[object]]) -> Callable[[int], Awaitable[object]]:
        """For coroutine functions of a number."""
        get, store = self.get, self.set

        async def load(number: int) -> object:
            key = f"user:{number}:profile"
            value = get(key)
            if value is None:
                value = await function(number)
                store(key, value)
            return value

        return load


class _Pipeline:
    """A client of redis-py's, and what else the statements use."""

    fence = FENCE
    milliseconds = int(TTL * 1_000)

    def __init__(self, client: Any) -> None:
        self.client = client
        self.pipeline = client.pipeline
        self.evaluate = functools.partial(client.eval, FILL, 1)
        self.token = os.urandom(16)
        self.dumps, self.loads = _orjson()


class _Payload:
    """A value as it lies in Redis."""

    def __init__(self) -> None:
        dumps, self.loads = _orjson()
        self.payload = dumps(VALUE)


def _orjson() -> tuple[Callable[[object], bytes], Callable[[bytes], Any]]:
    orjson = import_module("orjson")
    return orjson.dumps, orjson.loads


def _build_memory(module: Any, spot: Spot) -> _ByHand:
    return _ByHand(module.MemoryCache(maxsize=spot.entries, ttl=TTL))


async def _build_memory_for_tasks(module: Any, spot: Spot) -> _ByHand:
    return _build_memory(module, spot)


class _Nothing:
    """Answers nothing."""

    @staticmethod
    async def empty(_key: object) -> None:
        pass


async def _nothing(_module: Any, _spot: Spot) -> type[_Nothing]:
    return _Nothing


def _build_pipeline(module: Any, spot: Spot) -> _Pipeline:
    return _Pipeline(module.Redis.from_url(spot.url, protocol=3))


async def _build_async_pipeline(module: Any, spot: Spot) -> _Pipeline:
    return _Pipeline(module.Redis.from_url(spot.url, protocol=3))


_READ = """\
commands = pipeline(transaction=False)
commands.set(key, token, nx=True, get=True, px=fence)
commands.pttl(key)
payload, lifetime = {await_}commands.execute()
if payload is None:
    value = {await_}load()
    {await_}evaluate(key, token, dumps(value), milliseconds)
else:
    value = loads(payload)"""
_READ_MANY = """\
commands = pipeline(transaction=False)
commands.mget(keys)
for key in keys:
    commands.pttl(key)
payloads, *lifetimes = {await_}commands.execute()
values = [loads(payload) for payload in payloads]"""
_METHODS = ("pipeline", "evaluate", "token", "fence", "milliseconds", "dumps", "loads")

MEMORY_CACHE = Tiered(
    name="khronos_fast MemoryCache.get",
    module="khronos_fast",
    distribution="khronos-fast",
    build=_build_memory,
    read="value = get(key)\nif value is None:\n    value = load()\n    set(key, value)",
    hit="value = get(key)",
    read_many="values = get_many(keys)",
    decorator="cache.cached",
    methods=("get", "set", "get_many"),
    tiers=frozenset({Tier.MEMORY}),
    requires="MemoryCache",
    lifetimes="ttl per entry",
    remark="the floor of memory",
)

MEMORY_CACHE_FOR_TASKS = replace(
    MEMORY_CACHE,
    name="khronos_fast MemoryCache async",
    build=_build_memory_for_tasks,
    read="value = get(key)\nif value is None:\n    value = await load()\n    set(key, value)",
    decorator="cache.cached_for_tasks",
    face=Face.TASKS,
    remark="the floor of memory for tasks: awaits what loads alone",
)

EMPTY_COROUTINE = Tiered(
    name="awaiting nothing",
    module="builtins",
    distribution=STANDARD,
    build=_nothing,
    read="value = await empty(key)",
    methods=("empty",),
    face=Face.TASKS,
    tiers=frozenset({Tier.MEMORY}),
    loads=False,
    misses=False,
    remark="the floor of coroutines: an empty one, remembers nothing",
)

PIPELINE = Tiered(
    name="redis-py pipeline",
    module="redis",
    distribution="redis",
    build=_build_pipeline,
    read=_READ.format(await_=""),
    read_many=_READ_MANY.format(await_=""),
    methods=_METHODS,
    tiers=frozenset({Tier.REDIS}),
    close=lambda cache: cache.client.close(),
    needs=("orjson",),
    lifetimes="ttl per entry",
    remark="the floor of Redis: the commands of a fenced read, orjson",
)

ASYNC_PIPELINE = Tiered(
    name="redis.asyncio pipeline",
    module="redis.asyncio",
    distribution="redis",
    build=_build_async_pipeline,
    read=_READ.format(await_="await "),
    read_many=_READ_MANY.format(await_="await "),
    methods=_METHODS,
    face=Face.TASKS,
    tiers=frozenset({Tier.REDIS}),
    close=lambda cache: cache.client.aclose(),
    needs=("orjson",),
    lifetimes="ttl per entry",
    remark="the floor of Redis for tasks: the commands of a fenced read, orjson",
)

LOADS = Tiered(
    name="orjson.loads",
    module="orjson",
    distribution="orjson",
    build=lambda _module, _spot: _Payload(),
    read="value = loads(payload)",
    read_many="values = [loads(payload) for key in keys]",
    methods=("loads", "payload"),
    tiers=frozenset({Tier.REDIS}),
    loads=False,
    misses=False,
    needs=(),
    remark="decoding alone, which is part of every hit in Redis",
)

TIERED = (MEMORY_CACHE, MEMORY_CACHE_FOR_TASKS, EMPTY_COROUTINE, PIPELINE, ASYNC_PIPELINE, LOADS)
