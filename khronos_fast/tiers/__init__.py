"""The tiers behind memory: Redis, and the loader."""

from typing import TYPE_CHECKING

from khronos_fast.tiers.async_tiered import AsyncTieredCache
from khronos_fast.tiers.codec import Codec
from khronos_fast.tiers.errors import CacheClosed, CodecError, LoaderTimeout, RedisUnavailable, RedisURLError
from khronos_fast.tiers.json_codec import JSONCodec
from khronos_fast.tiers.pickle_codec import PickleCodec
from khronos_fast.tiers.stats import CoherenceStats, RedisStats, TieredStats
from khronos_fast.tiers.tiered import TieredCache

if TYPE_CHECKING:
    from khronos_fast.tiers.redis_tier import RedisTier

__all__ = [
    "AsyncTieredCache",
    "CacheClosed",
    "Codec",
    "CodecError",
    "CoherenceStats",
    "JSONCodec",
    "LoaderTimeout",
    "PickleCodec",
    "RedisStats",
    "RedisTier",
    "RedisURLError",
    "RedisUnavailable",
    "TieredCache",
    "TieredStats",
]


def __getattr__(name: str) -> object:
    # It needs redis-py, which a cache without Redis does not.
    if name == "RedisTier":
        from khronos_fast.tiers.redis_tier import RedisTier

        return RedisTier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
