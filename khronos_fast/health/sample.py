"""`Sample`: a snapshot and the answers that are made from it; `History`: a row of points, one a sample.

Requests return bytes that lie ready. What nobody asks for is never written out; what was asked for since the last
sample is written out by the sampler, so that not even the first request after a sample pays for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from khronos_fast.health.sanitize import is_count
from khronos_fast.health.views import VIEWS, each_pool

if TYPE_CHECKING:
    from khronos_fast.health.snapshot import Reading


def as_json(value: Any) -> bytes:
    """Write it as JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class Sample:
    """What was seen at one moment."""

    def __init__(self, seq: int, at: float, reading: Reading) -> None:
        self.seq = seq
        """Counts up."""
        self.at = at
        """When, by the monotonic clock."""
        self.reading = reading
        self.snapshot = reading.snapshot
        self._bodies: dict[str, bytes] = {}

    def body(self, view: str) -> bytes:
        """Return one of the `VIEWS`, as JSON."""
        body = self._bodies.get(view)
        if body is None:
            body = self._bodies[view] = as_json(VIEWS[view](self.snapshot))
        return body

    def asked(self) -> list[str]:
        """Return the views that somebody wanted to see."""
        return list(self._bodies)

    def prepare(self, views: Iterable[str]) -> None:
        """Write out what will be asked for."""
        for view in views:
            self.body(view)


class History:
    """The latest points, as JSON; the oldest one goes when there are too many. Any thread reads, one appends."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._points: tuple[tuple[int, bytes], ...] = ()  # replaced as a whole

    def add(self, sample: Sample, moment: float) -> None:
        """Append a point. `moment`: seconds since 1970."""
        self._points = (*self._points, (sample.seq, as_json(_point(sample, moment))))[-self._length :]

    def since(self, seq: int) -> bytes:
        """Return the points after that one, as a list in JSON."""
        return b"[%b]" % b",".join(point for number, point in self._points if number > seq)


def _point(sample: Sample, moment: float) -> dict[str, Any]:
    snapshot = sample.snapshot
    services = snapshot["services"]
    return {
        "seq": sample.seq,
        "t": round(moment, 3),
        "rss_mb": snapshot["memory"]["rss_mb"],
        "cpu_percent": snapshot["cpu"]["percent"],
        "gc": snapshot["memory"]["gc"]["collections"],
        "caches": {name: _of_cache(entry) for name, entry in services["caches"].items() if "gets" in entry},
        "pools": {name: _of_pool(pool) for name, pool in each_pool(snapshot)},
        "breakers": {name: entry.get("state") for name, entry in services["circuit_breakers"].items()},
    }


def _of_cache(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("gets", "hits", "misses", "hit_ratio", "evictions", "size")
    point = {name: entry[name] if is_count(entry.get(name)) else None for name in names}
    if entry["kind"] == "tiered":
        point["hits"] += entry["redis_hits"]
    return point


def _of_pool(pool: dict[str, Any]) -> dict[str, Any]:
    return {
        "idle": pool["available"],
        "used": pool["borrowed"],
        "pending": pool["waiting"],
        "max": pool["max_size"],
        "wait": pool["wait_times"]["counts"],
        "timeouts": pool["timeouts"],
    }
