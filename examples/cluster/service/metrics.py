"""What the cache and the database count, for Prometheus."""

from collections.abc import Iterable, Iterator

from khronos_fast import AsyncDatabase, AsyncTieredCache

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Line = tuple[str, dict[str, str], float]


def render(worker: str, cache: AsyncTieredCache | None, database: AsyncDatabase) -> bytes:
    """Return all figures of this worker. A total ends in `_total`; everything else goes up and down."""
    lines: list[str] = []
    for name, labels, value in [*(of_cache(cache) if cache is not None else ()), *of_database(database)]:
        declared = f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
        if declared not in lines:
            lines.append(declared)
        named = ",".join(f'{label}="{text}"' for label, text in {**labels, "worker": worker}.items())
        lines.append(f"{name}{{{named}}} {value}")
    return "".join(f"{line}\n" for line in lines).encode()


def of_cache(cache: AsyncTieredCache) -> Iterator[Line]:
    """Hits of each tier and misses, loads, and whether others' changes are heard of."""
    stats = cache.stats()
    labels = {"cache": cache.name or cache.namespace}
    yield "cache_gets_total", {**labels, "tier": "memory", "result": "hit"}, stats.hits
    yield "cache_gets_total", {**labels, "tier": "redis", "result": "hit"}, stats.redis_hits
    yield "cache_gets_total", {**labels, "tier": "all", "result": "miss"}, stats.misses
    yield "cache_size", labels, stats.memory.size
    yield "cache_evictions_total", labels, stats.memory.evictions
    yield "khronos_cache_loads_total", labels, stats.loads
    yield "khronos_cache_load_seconds_total", labels, stats.load_seconds
    if stats.redis is not None:
        yield "khronos_redis_up", labels, int(stats.redis.connected)
        yield "khronos_redis_failures_total", labels, stats.redis.failures
    coherence = stats.coherence
    if coherence is not None:
        yield "khronos_coherence_up", labels, int(coherence.connected)
        yield "khronos_coherence_messages_total", labels, coherence.messages
        yield "khronos_coherence_resyncs_total", labels, coherence.resyncs


def of_database(database: AsyncDatabase) -> Iterable[Line]:
    """Connections, by the names of OpenTelemetry."""
    stats = database.stats()
    for kind, pool in {"readers": stats.pool, "writer": stats.writer}.items():
        if pool is None:
            continue
        labels = {"db_client_connection_pool_name": kind}
        for state, count in {"idle": pool.available, "used": pool.borrowed}.items():
            yield "db_client_connection_count", {**labels, "db_client_connection_state": state}, count
        yield "db_client_connection_max", labels, pool.max_size
        yield "db_client_connection_pending_requests", labels, pool.waiting
        yield "db_client_connection_timeouts_total", labels, pool.timeouts
