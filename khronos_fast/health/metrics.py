"""What is measured, under the names that people's dashboards know.

Caches have those of Micrometer, pools those of OpenTelemetry's conventions; what neither has begins with `khronos_`.
Nothing is ever labelled by a key, or by who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from khronos_fast.health.sanitize import is_count
from khronos_fast.health.status import Status
from khronos_fast.health.views import WRITER, each_pool


class Family(NamedTuple):
    """All series of one name."""

    kind: str
    """counter, gauge, summary or histogram."""
    help: str
    labels: tuple[str, ...] = ()


POOL = "db_client_connection_pool_name"
FAMILIES = {
    "khronos_info": Family("gauge", "Which service this is.", ("name", "version")),
    "khronos_health_status": Family("gauge", "1 for the status that the service has.", ("status",)),
    "khronos_check_up": Family("gauge", "1 where the check passes.", ("check",)),
    "cache_gets_total": Family("counter", "Look-ups, by whether any tier answered them.", ("cache", "result")),
    "cache_puts_total": Family("counter", "Entries stored in memory.", ("cache",)),
    "cache_evictions_total": Family("counter", "Entries that went from memory as it was full.", ("cache",)),
    "cache_size": Family("gauge", "Entries in memory.", ("cache",)),
    "cache_load_duration_seconds": Family("summary", "Calls of loaders, and the time that they took.", ("cache",)),
    "khronos_cache_tier_hits_total": Family("counter", "Look-ups that a tier answered.", ("cache", "tier")),
    "khronos_cache_expirations_total": Family("counter", "Entries whose time to live was over.", ("cache",)),
    "khronos_cache_invalidations_total": Family("counter", "Entries that a pattern took away.", ("cache",)),
    "khronos_cache_load_failures_total": Family("counter", "Calls of loaders that raised.", ("cache",)),
    "khronos_cache_max_size": Family("gauge", "The most entries in memory.", ("cache",)),
    "khronos_cache_weight": Family("gauge", "The weight of the entries in memory.", ("cache",)),
    "khronos_cache_max_weight": Family("gauge", "The most weight in memory.", ("cache",)),
    "khronos_cache_stale_served_total": Family("counter", "Answers with the last value.", ("cache",)),
    "khronos_cache_early_refreshes_total": Family("counter", "Loads before an entry's time was over.", ("cache",)),
    "khronos_cache_loader_timeouts_total": Family("counter", "Waits for loaders that took too long.", ("cache",)),
    "khronos_cache_fenced_out_total": Family("counter", "Loads that a write had overtaken.", ("cache",)),
    "khronos_cache_lease_waits_total": Family("counter", "Waits for another process's load.", ("cache",)),
    "khronos_cache_unstorable_total": Family("counter", "Values that Redis was not given.", ("cache",)),
    "khronos_cache_undecodable_total": Family("counter", "Payloads in Redis that were no values.", ("cache",)),
    "khronos_redis_up": Family("gauge", "1 while Redis is asked.", ("cache",)),
    "khronos_redis_calls_total": Family("counter", "Round trips that Redis answered.", ("cache",)),
    "khronos_redis_failures_total": Family("counter", "Round trips that it did not.", ("cache",)),
    "khronos_redis_timeouts_total": Family("counter", "Those of the failures where the time was over.", ("cache",)),
    "khronos_redis_refusals_total": Family("counter", "Commands that it refused.", ("cache",)),
    "khronos_coherence_up": Family("gauge", "1 while others' changes are heard of.", ("cache",)),
    "khronos_coherence_messages_total": Family("counter", "Changes that were heard of.", ("cache",)),
    "khronos_coherence_published_total": Family("counter", "Changes that were announced.", ("cache",)),
    "khronos_coherence_resyncs_total": Family("counter", "Times that memory was emptied.", ("cache",)),
    "khronos_coherence_lag_seconds": Family("gauge", "What the latest sign of life took.", ("cache",)),
    "db_client_connection_count": Family(
        "gauge", "Connections that are open, by what they do.", (POOL, "db_client_connection_state")
    ),
    "db_client_connection_max": Family("gauge", "The most connections.", (POOL,)),
    "db_client_connection_idle_min": Family("gauge", "Connections that are kept when nobody needs them.", (POOL,)),
    "db_client_connection_pending_requests": Family("gauge", "Borrowers that wait.", (POOL,)),
    "db_client_connection_timeouts_total": Family("counter", "Borrowers whose time ran out.", (POOL,)),
    "db_client_connection_wait_time_seconds": Family("histogram", "How long it took to be lent one.", (POOL,)),
    "db_client_connection_use_time_seconds": Family("histogram", "How long they were out.", (POOL,)),
    "db_client_connection_create_time_seconds": Family("histogram", "How long it took to open one.", (POOL,)),
    "khronos_pool_created_total": Family("counter", "Connections that were opened.", (POOL,)),
    "khronos_pool_create_failures_total": Family("counter", "Openings that failed.", (POOL,)),
    "khronos_pool_destroyed_total": Family("counter", "Connections that were closed.", (POOL,)),
    "khronos_pool_rejected_total": Family("counter", "Borrowers turned away as too many waited.", (POOL,)),
    "khronos_database_queries_total": Family("counter", "Queries that went well.", ("database",)),
    "khronos_database_executes_total": Family("counter", "Other statements that went well.", ("database",)),
    "khronos_database_failures_total": Family("counter", "Statements that failed.", ("database",)),
    "khronos_database_transactions_total": Family("counter", "Transactions that were begun.", ("database",)),
    "khronos_breaker_state": Family("gauge", "1 for the state that the breaker is in.", ("breaker", "state")),
    "khronos_limiter_requests_total": Family("counter", "What a limiter was asked for.", ("limiter", "result")),
}

Value = float | tuple[float, ...]


class Measure(NamedTuple):
    """One figure: of a summary its count and sum; of a histogram what is at most each bound, and the sum."""

    family: str
    labels: tuple[str, ...]
    value: Value
    group: str = ""
    component: str = ""


# What a figure of `stats()` is called in the metrics.
_OF_MEMORY = {
    "khronos_cache_expirations_total": "expirations",
    "khronos_cache_invalidations_total": "invalidations",
    "khronos_cache_weight": "weight",
    "khronos_cache_max_weight": "max_weight",
}
_OF_CACHE = {
    "cache_puts_total": "puts",
    "cache_evictions_total": "evictions",
    "cache_size": "size",
    "khronos_cache_max_size": "maxsize",
    "khronos_cache_load_failures_total": "load_failures",
    "khronos_cache_stale_served_total": "stale_served",
    "khronos_cache_early_refreshes_total": "early_refreshes",
    "khronos_cache_loader_timeouts_total": "loader_timeouts",
    "khronos_cache_fenced_out_total": "fenced_out",
    "khronos_cache_lease_waits_total": "lease_waits",
    "khronos_cache_unstorable_total": "unstorable",
    "khronos_cache_undecodable_total": "undecodable",
}
_OF_REDIS = {
    "khronos_redis_up": "connected",
    "khronos_redis_calls_total": "calls",
    "khronos_redis_failures_total": "failures",
    "khronos_redis_timeouts_total": "timeouts",
    "khronos_redis_refusals_total": "refusals",
}
_OF_COHERENCE = {
    "khronos_coherence_up": "connected",
    "khronos_coherence_messages_total": "messages",
    "khronos_coherence_published_total": "published",
    "khronos_coherence_resyncs_total": "resyncs",
    "khronos_coherence_lag_seconds": "lag",
}
_OF_POOL = {
    "db_client_connection_max": "max_size",
    "db_client_connection_idle_min": "min_size",
    "db_client_connection_pending_requests": "waiting",
    "db_client_connection_timeouts_total": "timeouts",
    "khronos_pool_created_total": "created",
    "khronos_pool_create_failures_total": "create_failures",
    "khronos_pool_destroyed_total": "destroyed",
    "khronos_pool_rejected_total": "rejected",
}
_TIMES = {
    "db_client_connection_wait_time_seconds": "wait_times",
    "db_client_connection_use_time_seconds": "use_times",
    "db_client_connection_create_time_seconds": "create_times",
}
_OF_DATABASE = {
    "khronos_database_queries_total": "queries",
    "khronos_database_executes_total": "executes",
    "khronos_database_failures_total": "failures",
    "khronos_database_transactions_total": "transactions",
}


def measure(snapshot: dict[str, Any]) -> Iterator[Measure]:
    """Return every figure of a snapshot. What is not a number there (None: nobody knows) is left out."""
    yield Measure("khronos_info", (snapshot["name"], snapshot["version"] or ""), 1)
    for status in Status:
        if status is not Status.UNKNOWN:
            yield Measure("khronos_health_status", (status.value,), int(snapshot["status"] == status.value))
    for name, check in snapshot["checks"].items():
        if check["status"] != Status.UNKNOWN.value:
            yield Measure("khronos_check_up", (name,), int(check["status"] == Status.UP.value))
    services = snapshot["services"]
    for name, entry in services["caches"].items():
        for each in _of_cache(name, entry):
            yield each._replace(group="caches", component=name)
    for name, entry in services["databases"].items():
        for each in _named(_OF_DATABASE, entry, name):
            yield each._replace(group="databases", component=name)
    for name, pool in each_pool(snapshot):
        owner = name if name in services["databases"] else name.removesuffix(WRITER)
        for each in _of_pool(name, pool):
            yield each._replace(group="databases", component=owner)
    for name, entry in services["circuit_breakers"].items():
        if entry.get("state") is not None:
            for state in ("closed", "open", "half_open"):
                yield Measure("khronos_breaker_state", (name, state), int(entry["state"] == state))
    for name, entry in services["limiters"].items():
        for result in ("allowed", "denied"):
            if is_count(entry.get(result)):
                yield Measure("khronos_limiter_requests_total", (name, result), entry[result], "limiters", name)


def _of_cache(name: str, entry: dict[str, Any]) -> Iterator[Measure]:
    if entry["kind"] == "redis":
        yield from _named(_OF_REDIS, entry, name)
        return
    memory = entry
    hits = entry.get("hits")
    if entry["kind"] == "tiered":
        memory = entry["memory"]
        hits = entry["hits"] + entry["redis_hits"]
        yield Measure("khronos_cache_tier_hits_total", (name, "memory"), entry["hits"])
        yield Measure("khronos_cache_tier_hits_total", (name, "redis"), entry["redis_hits"])
        yield from _named(_OF_REDIS, entry["redis"] or {}, name)
        yield from _named(_OF_COHERENCE, entry["coherence"] or {}, name)
    for result, count in (("hit", hits), ("miss", entry.get("misses"))):
        if is_count(count):
            yield Measure("cache_gets_total", (name, result), count)
    if is_count(entry.get("loads")) and is_count(entry.get("load_seconds")):
        yield Measure("cache_load_duration_seconds", (name,), (entry["loads"], entry["load_seconds"]))
    yield from _named(_OF_CACHE, entry, name)
    yield from _named(_OF_MEMORY, memory, name)


def _of_pool(name: str, pool: dict[str, Any]) -> Iterator[Measure]:
    yield Measure("db_client_connection_count", (name, "idle"), pool["available"])
    yield Measure("db_client_connection_count", (name, "used"), pool["borrowed"])
    yield from _named(_OF_POOL, pool, name)
    for family, field in _TIMES.items():
        times = pool[field]
        yield Measure(family, (name,), (*accumulate(times["counts"]), times["seconds"]))


def _named(names: dict[str, str], figures: dict[str, Any], label: str) -> Iterator[Measure]:
    for family, field in names.items():
        if is_count(figures.get(field)):
            yield Measure(family, (label,), figures[field])
