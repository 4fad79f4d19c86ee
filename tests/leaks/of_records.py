"""Records, causes and errors: what the other calls return and raise."""

import copy
import pickle

import khronos_fast
from khronos_fast import (
    CacheInfo,
    CacheStats,
    CoherenceStats,
    DatabaseStats,
    Histogram,
    KhronosError,
    PoolEvent,
    PoolStats,
    RedisStats,
    RemovalCause,
    Result,
    TieredStats,
    databases,
    health,
    tiers,
)
from khronos_fast.health import Request

from .exercises import exercises
from .worlds import World, fails

COHERENCE = CoherenceStats("pubsub", "up")
REDIS = RedisStats("redis://somewhere")
RECORDS = (
    CacheInfo(1, 2, 3, 4),
    CacheStats(hits=3, misses=1, size=1, maxsize=2),
    COHERENCE,
    DatabaseStats("sqlite", 1, 2, 3, 4, PoolStats(), None),
    Histogram((1,) * 17, 0.5),
    PoolEvent("created", "pool"),
    PoolStats(),
    REDIS,
    Request("GET", "/", {}),
    Result(1, 2),
    TieredStats(CacheStats(), REDIS, coherence=COHERENCE),
)


def _names(kinds, methods):
    return (name for kind in kinds for name in (kind.__name__, f"{kind.__name__}: {methods}"))


@exercises(
    World,
    *_names(map(type, RECORDS), "__new__ __repr__"),
    "CacheStats: as_dict hit_ratio usage",
    "CoherenceStats: as_dict connected",
    "DatabaseStats: as_dict",
    "Histogram: as_dict count quantile",
    "PoolStats: as_dict usage",
    "RedisStats: as_dict connected",
    "TieredStats: as_dict hit_ratio hits",
)
def records(w):
    for record in RECORDS:
        repr(record), hash(str(record)), pickle.loads(pickle.dumps(record)), copy.copy(record), record._replace()
        for name in ("as_dict", "quantile"):
            if hasattr(record, name):
                getattr(record, name)(*([0.5] if name == "quantile" else []))
        for name in ("hit_ratio", "usage", "connected", "hits", "count"):
            getattr(record, name, None)
        fails(lambda record=record: type(record)(nothing=1), TypeError)
    fails(lambda: Histogram().quantile(2), ValueError)


@exercises(World, "RemovalCause", "RemovalCause.was_evicted", "RemovalCause.__new__")
def causes(w):
    for cause in RemovalCause:
        cause.was_evicted, RemovalCause(cause.value), repr(cause), pickle.loads(pickle.dumps(cause))
    fails(lambda: RemovalCause("nothing"), ValueError)


ERRORS = {
    each
    for module in (khronos_fast, databases, health, tiers)
    for each in (getattr(module, name) for name in module.__all__)
    if isinstance(each, type) and issubclass(each, KhronosError)
}


@exercises(World, *(kind.__name__ for kind in ERRORS))
def errors(w):
    for kind in ERRORS:
        try:
            raise kind("what was given")
        except KhronosError as error:
            pickle.loads(pickle.dumps(error)), repr(error), str(error)
