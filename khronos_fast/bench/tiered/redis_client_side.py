"""redis-py's own client-side cache (Python): the replies of commands, kept until the server says that they are stale.

It keeps bytes, so that every hit decodes. What it keeps for `MGET` it keeps for that list of keys.
"""

from importlib import import_module
from typing import Any

from khronos_fast.bench.redis_server import Server
from khronos_fast.bench.tiering import TTL, Spot, Tier, Tiered

OLDEST = (7, 4)


class _Client:
    """A client with its cache switched on, and what else the statements use."""

    milliseconds = int(TTL * 1_000)

    def __init__(self, client: Any) -> None:
        orjson = import_module("orjson")
        self.close = client.close
        self.get, self.set, self.mget = client.get, client.set, client.mget
        self.dumps, self.loads = orjson.dumps, orjson.loads


def _build(module: Any, spot: Spot) -> _Client:
    cache = import_module("redis.cache").CacheConfig(max_size=spot.entries)
    return _Client(module.Redis.from_url(spot.url, protocol=3, cache_config=cache))


def refusal(server: Server) -> str | None:
    """redis-py asks servers for their name and version when it connects; others than these it turns down."""
    if server.product == "Redis" and server.version >= OLDEST:
        return None
    return f"it refuses {server.name}: give the URL of a Redis 7.4 or later with --redis"


CLIENT_SIDE = Tiered(
    name="redis-py client-side cache",
    module="redis",
    distribution="redis",
    build=_build,
    read=(
        "payload = get(key)\n"
        "if payload is None:\n    value = load()\n    set(key, dumps(value), px=milliseconds)\n"
        "else:\n    value = loads(payload)"
    ),
    read_many="values = [loads(payload) for payload in mget(keys)]",
    methods=("get", "set", "mget", "dumps", "loads", "milliseconds"),
    tiers=frozenset({Tier.MEMORY}),
    close=lambda cache: cache.close(),
    redis_behind=True,
    needs=("orjson",),
    refuses=refusal,
    lifetimes="ttl per entry",
    remark="keeps replies, decoded at every hit",
)

TIERED = (CLIENT_SIDE,)
