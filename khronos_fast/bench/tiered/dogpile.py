"""dogpile.cache (Python): one region keeps its values in a dict or in Redis, never in both.

Its memory has no bound. In Redis it would pickle; orjson, which it takes, is as fast and can be read by others. `get`
alone, which loads nothing and is spared the lock, has a row of its own.
"""

from dataclasses import replace
from importlib import import_module
from typing import Any

from khronos_fast.bench.tiering import TTL, Spot, Tier, Tiered


class _Region:
    """A region, which has no method that ends it."""

    def __init__(self, region: Any) -> None:
        self.region = region
        self.get, self.get_or_create, self.get_multi = region.get, region.get_or_create, region.get_multi

    def close(self) -> None:
        """Close the client of the region in Redis."""
        client = getattr(self.region.backend, "writer_client", None)
        if client is not None:
            client.close()


def _build(module: Any, spot: Spot) -> _Region:
    if spot.url is None:
        return _Region(module.make_region().configure("dogpile.cache.memory", expiration_time=TTL))
    orjson = import_module("orjson")
    region = module.make_region(serializer=orjson.dumps, deserializer=orjson.loads)
    arguments = {"url": spot.url, "redis_expiration_time": int(TTL)}
    return _Region(region.configure("dogpile.cache.redis", expiration_time=TTL, arguments=arguments))


REGION = Tiered(
    name="dogpile.cache",
    module="dogpile.cache",
    distribution="dogpile.cache",
    build=_build,
    read="value = get_or_create(key, load)",
    read_many="values = get_multi(keys)",
    decorator="cache.region.cache_on_arguments()",
    methods=("get_or_create", "get_multi"),
    close=lambda cache: cache.close(),
    needs=("redis", "orjson"),
    lifetimes="one ttl",
    remark="loads once for calls that overlap; memory without a bound",
)

GET = replace(
    REGION,
    name="dogpile.cache get",
    hit="value = get(key)",
    read_many=None,
    decorator=None,
    methods=("get", "get_or_create"),
    tiers=frozenset({Tier.MEMORY}),
    misses=False,
    remark="does not load",
)

TIERED = (REGION, GET)
