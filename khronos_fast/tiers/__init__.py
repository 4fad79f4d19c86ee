"""The tiers behind memory: Redis, and the loader."""

from khronos_fast.tiers.async_tiered import AsyncTieredCache
from khronos_fast.tiers.codec import Codec
from khronos_fast.tiers.errors import CacheClosed, CodecError, LoaderTimeout, RedisUnavailable, RedisURLError
from khronos_fast.tiers.json_codec import JSONCodec
from khronos_fast.tiers.pickle_codec import PickleCodec
from khronos_fast.tiers.redis_tier import RedisTier
from khronos_fast.tiers.stats import CoherenceStats, RedisStats, TieredStats
from khronos_fast.tiers.tiered import TieredCache

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
