"""What is promised of the package's speed, as ratios to what the bench measures beside it: `test_promises.py`.

The workloads and the names are the bench's own (`make bench ARGS=--list`). README.md, beside this, has the promises
that are not such ratios as well.
"""

from typing import NamedTuple

TTL, NO_TTL, INDEXED = "khronos_fast (ttl)", "khronos_fast (no ttl)", "khronos_fast (patterns used)"
LRU_CACHE, CACHED = "khronos_fast lru_cache (ttl)", "khronos_fast cached (ttl)"
POOL, ASYNC_POOL = "khronos_fast Pool", "khronos_fast AsyncPool"
TIERED, ASYNC_TIERED = "khronos_fast TieredCache", "khronos_fast AsyncTieredCache"


class Promise(NamedTuple):
    """One that is kept where `ours` is at least so many times as good as `than` in that workload of the bench."""

    workload: str
    ours: str
    than: str
    times: float

    def __str__(self) -> str:
        return f"{self.ours} beside {self.than}"


def costs_at_most(ratio: float) -> float:
    """The same the other way round: so many times what the other one costs, and not more."""
    return 1 / ratio


PROMISES = (
    Promise("memory/get-hit", TTL, "dict", costs_at_most(1.15)),
    Promise("memory/get-hit", TTL, "cachebox TTLCache", 1.7),
    Promise("memory/get-hit", TTL, "cachebox VTTLCache", 1.7),
    Promise("memory/get-hit", TTL, "cachetools TTLCache", 20),
    Promise("memory/get-hit", TTL, "cachebox LRUCache", 1),
    Promise("memory/subscript-hit", TTL, "dict", costs_at_most(1.3)),
    Promise("memory/set-evict", TTL, "cachebox TTLCache", 2),
    Promise("memory/set-evict", TTL, "cachebox VTTLCache", 2),
    Promise("memory/set-evict", TTL, "cachebox LRUCache", 1),
    Promise("memo/hit-str", LRU_CACHE, "functools.lru_cache", costs_at_most(0.8)),
    Promise("memo/hit-str", CACHED, "functools.lru_cache", costs_at_most(0.8)),
    Promise("memo/hit-str", CACHED, "cachebox cached (ttl)", 5),
    Promise("memo/hit-str", "khronos_fast lru_cache (no ttl)", LRU_CACHE, 1),
    Promise("memo/hit-str", "khronos_fast cached (no ttl)", CACHED, 1),
    Promise("memo/hit-call", LRU_CACHE, "functools.lru_cache", costs_at_most(1.0)),
    Promise("memo/hit-call", CACHED, "functools.lru_cache", costs_at_most(1.0)),
    Promise("memo/hit-call", CACHED, "cachebox cached (ttl)", 5),
    Promise("memo/hit-method", LRU_CACHE, "functools.lru_cache", costs_at_most(0.9)),
    Promise("memo/hit-method", CACHED, "functools.lru_cache", costs_at_most(0.9)),
    Promise("memo/hit-method", CACHED, "cachebox cached (ttl)", 5),
    Promise("memo/async-hit", CACHED, "empty coroutine", costs_at_most(1.5)),
    Promise("pattern/match-prefix", "khronos_fast Glob", "str.startswith", costs_at_most(1.5)),
    Promise("pattern/invalidate-prefix", TTL, "dict", 1_000),
    Promise("pattern/invalidate-prefix", TTL, "khronos_fast delete_many", costs_at_most(30)),
    Promise("pattern/index-set-10", INDEXED, TTL, costs_at_most(1.6)),
    Promise("pool/acquire", POOL, "queue.SimpleQueue", costs_at_most(3)),
    Promise("pool/acquire", POOL, "SQLAlchemy QueuePool", 20),
    Promise("pool/acquire", POOL, "psycopg ConnectionPool", 10),
    Promise("pool/with", POOL, "SQLAlchemy QueuePool", 12),
    Promise("pool/async-acquire", ASYNC_POOL, "asyncio.Queue", costs_at_most(1.5)),
    Promise("pool/async-acquire", ASYNC_POOL, "psycopg AsyncConnectionPool", 5),
    Promise("pool/async-acquire", ASYNC_POOL, "aiosqlitepool", 20),
    Promise("pool/contended-threads", POOL, "SQLAlchemy QueuePool", 1),
    Promise("pool/contended-threads", POOL, "psycopg ConnectionPool", 1),
    Promise("pool/contended-threads", POOL, "DBUtils PooledDB", 1),
    Promise("pool/contended-tasks", ASYNC_POOL, "psycopg AsyncConnectionPool", 1),
    Promise("pool/contended-tasks", ASYNC_POOL, "asyncpg Pool", 1),
    Promise("pool/contended-tasks", ASYNC_POOL, "aiosqlitepool", 1),
    Promise("tiers/memory-hit", TIERED, "khronos_fast MemoryCache.get", costs_at_most(2.5)),
    Promise("tiers/memory-hit", TIERED, "cashews", 20),
    Promise("tiers/memory-hit", TIERED, "aiocache", 20),
    Promise("tiers/memory-hit", TIERED, "dogpile.cache", 20),
    Promise("tiers/async-memory-hit", ASYNC_TIERED, "awaiting nothing", costs_at_most(2.5)),
    Promise("tiers/async-memory-hit", ASYNC_TIERED, "cashews", 20),
    Promise("tiers/async-memory-hit", ASYNC_TIERED, "aiocache", 20),
    Promise("tiers/redis-hit", TIERED, "redis-py pipeline", costs_at_most(1.25)),
)
