"""What one worker tells the others of itself, and how the view of all is made of that."""

from __future__ import annotations

import datetime
import json
import math
import socket
from typing import Any, NamedTuple

from khronos_fast.health.sample import as_json
from khronos_fast.health.sanitize import is_count
from khronos_fast.health.status import Status
from khronos_fast.health.views import each_pool


class Others(NamedTuple):
    """What is known of the other workers."""

    state: str
    """LOCAL: nobody asks for them. UP: they are as they have told. UNKNOWN: Redis can't be asked."""
    workers: list[dict[str, Any]]
    at: float = -math.inf
    """When that was seen, by the monotonic clock."""


ALONE = Others("LOCAL", [])
UNSEEN = Others("UNKNOWN", [])
MOST_BYTES = 2048
"""What a worker tells is no longer."""
LONGEST_TEXT = 64
_SHORTER = {"name": "", "version": None}
FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "host": str,
    "worker": str,
    "pid": int,
    "name": str,
    "version": (str, type(None)),
    "status": str,
    "started": str,
    "uptime_seconds": (int, float),
    "rss_mb": (int, float, type(None)),
    "cpu_percent": (int, float, type(None)),
    "cache_entries": int,
    "gets": int,
    "hit_ratio": (int, float, type(None)),
    "pool_borrowed": int,
    "pool_max": int,
    "pool_waiting": int,
}
"""What a worker tells, and of what type each is."""


def worker_of(snapshot: dict[str, Any], started: float, boot: str = "") -> dict[str, Any]:
    """Return what this worker shows of itself in the view of all.

    Args:
        snapshot: how it is.
        started: when it began, in seconds since 1970.
        boot: tells it from what was in its place before a restart.
    """
    host = socket.gethostname()[:LONGEST_TEXT]
    worker = snapshot["worker"][:LONGEST_TEXT]
    caches = [
        (entry["gets"], entry["misses"])
        for entry in snapshot["services"]["caches"].values()
        if is_count(entry.get("gets")) and is_count(entry.get("misses"))
    ]
    gets, misses = (sum(figures) for figures in zip(*caches, strict=True)) if caches else (0, 0)
    pools = [pool for _name, pool in each_pool(snapshot)]
    began = datetime.datetime.fromtimestamp(started, datetime.UTC)
    return {
        "id": f"{host}:{worker}:{boot}" if boot else f"{host}:{worker}",
        "host": host,
        "worker": worker,
        "pid": snapshot["pid"],
        "name": snapshot["name"][:LONGEST_TEXT],
        "version": snapshot["version"] and snapshot["version"][:LONGEST_TEXT],
        "status": snapshot["status"],
        "started": began.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "uptime_seconds": snapshot["uptime"]["seconds"],
        "rss_mb": snapshot["memory"]["rss_mb"],
        "cpu_percent": snapshot["cpu"]["percent"],
        "cache_entries": snapshot["memory"]["cache_entries"],
        "gets": gets,
        "hit_ratio": round(1 - misses / gets, 6) if gets else None,
        "pool_borrowed": sum(pool["borrowed"] for pool in pools),
        "pool_max": sum(pool["max_size"] for pool in pools),
        "pool_waiting": sum(pool["waiting"] for pool in pools),
        "local": True,
        "age_seconds": 0.0,
    }


def to_document(worker: dict[str, Any], moment: float) -> bytes:
    """Write what is told. `moment`: by the clock of Redis, in seconds."""
    told = {**{name: worker[name] for name in FIELDS}, "at": round(moment, 3)}
    document = as_json(told)
    # Of the texts, six bytes a sign where all are escaped, host, worker and id always find room.
    return document if len(document) <= MOST_BYTES else as_json({**told, **_SHORTER})


def from_document(document: bytes, moment: float) -> dict[str, Any] | None:
    """Return what another worker has told; None for what no worker can have written."""
    if len(document) > MOST_BYTES:
        return None
    try:
        told = json.loads(document, parse_constant=_refuse)
        fields = {name: told[name] for name in FIELDS}
        at = float(told["at"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    if not all(math.isfinite(each) for each in (at, *fields.values()) if isinstance(each, float)):
        return None
    if not all(isinstance(fields[name], kind) for name, kind in FIELDS.items()):
        return None
    if fields["status"] not in Status.__members__:
        return None
    return {**fields, "local": False, "age_seconds": round(max(0.0, moment - at), 3)}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def show(here: dict[str, Any], others: Others) -> dict[str, Any]:
    """Return the view of all workers: by host, worker, and start."""
    workers = [here, *others.workers]
    workers.sort(key=lambda each: (each["host"], _by_number(each["worker"]), each["started"]))
    return {"cluster": others.state, "workers": workers}


def _by_number(worker: str) -> tuple[bool, int, str]:
    is_number = worker.isascii() and worker.isdigit() and len(worker) < 16
    return not is_number, int(worker) if is_number else 0, worker
