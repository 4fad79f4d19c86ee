"""What each route shows of a snapshot, as dicts that are ready for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Snapshot = dict[str, Any]
WRITER = ".writer"
"""What comes after the name of a database where the pool of its writer is meant."""


def about(snapshot: Snapshot) -> dict[str, Any]:
    """What anybody may know."""
    return {name: snapshot[name] for name in ("status", "pid", "worker")}


def health(snapshot: Snapshot) -> dict[str, Any]:
    """How the service is, and each of its parts."""
    components: dict[str, Any] = {}
    for entries in snapshot["services"].values():
        for name, entry in entries.items():
            # The breaker that comes along with a cache does not take the place of one that was given that name.
            components.setdefault(name, {"kind": entry["kind"], "status": entry["status"]})
    named = {name: snapshot[name] for name in ("name", "version", "timestamp", "uptime", "checks")}
    return {**about(snapshot), **named, "components": components}


def pools(snapshot: Snapshot) -> dict[str, Any]:
    """All pools, those of databases too, with the names that psycopg's `get_stats()` has beside ours."""
    return {name: {**pool, **_as_psycopg(pool)} for name, pool in each_pool(snapshot)}


def each_pool(snapshot: Snapshot) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the figures of each pool. A database's writer is one by itself."""
    for name, entry in snapshot["services"]["databases"].items():
        if entry["kind"] == "pool":
            yield name, entry
        elif entry["kind"] == "database":
            yield name, entry["pool"]
            if entry["writer"] is not None:
                yield f"{name}{WRITER}", entry["writer"]


def _as_psycopg(pool: dict[str, Any]) -> dict[str, Any]:
    return {
        "pool_min": pool["min_size"],
        "pool_max": pool["max_size"],
        "pool_size": pool["size"],
        "pool_available": pool["available"],
        "requests_waiting": pool["waiting"],
        "requests_num": pool["acquired"] + pool["timeouts"] + pool["rejected"],
        "requests_queued": pool["waited"],
        "requests_wait_ms": round(pool["wait_seconds"] * 1000),
        "requests_errors": pool["timeouts"] + pool["rejected"],
        "usage_ms": round(pool["use_seconds"] * 1000),
        "connections_num": pool["created"] + pool["create_failures"],
        "connections_ms": round(pool["create_times"]["seconds"] * 1000),
        "connections_errors": pool["create_failures"],
    }


VIEWS: dict[str, Callable[[Snapshot], dict[str, Any]]] = {
    "about": about,
    "health": health,
    "dashboard": lambda snapshot: snapshot,
    "memory": lambda snapshot: snapshot["memory"],
    "services": lambda snapshot: snapshot["services"],
    "caches": lambda snapshot: snapshot["services"]["caches"],
    "pools": pools,
}
"""By name, what can be asked of a sample."""
