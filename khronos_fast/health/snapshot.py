"""How a snapshot is put together from what was read."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from khronos_fast.health.components import GROUPS, Component
from khronos_fast.health.sanitize import is_count
from khronos_fast.health.status import Status

if TYPE_CHECKING:
    from khronos_fast.health.checks import Check
    from khronos_fast.health.process import Process


_WELL = ("UP", "UNKNOWN")


class Identity(NamedTuple):
    """Who is looked at."""

    name: str
    version: str | None
    environment: str | None
    worker: str


class Reading(NamedTuple):
    """A snapshot, and what is needed to count on from one to the next."""

    snapshot: dict[str, Any]
    origins: dict[tuple[str, str], tuple[int, bool]]
    """By group and name: the number of the component (each that is registered has another), and whether its totals
    may begin anew."""


def read(
    identity: Identity, process: Process, components: dict[int, Component], checks: dict[str, Check], draining: bool
) -> Reading:
    """Look at everything once. Nothing here waits."""
    services: dict[str, dict[str, Any]] = {group: {} for group in GROUPS.values()}
    origins = {}
    hurts = False
    entries_in_memory: float = 0
    counted: set[int] = set()
    for number, component in components.items():
        for group, name, entry in component.read():
            # What comes along with another component does not take the place of one of that name.
            if name != component.name and name in services[group]:
                continue
            services[group][name] = entry
            origins[group, name] = (number, component.can_reset)
            hurts = hurts or entry["status"] not in _WELL
            if group == "caches" and component.memory not in counted and is_count(size := entry.get("size")):
                counted.add(component.memory)
                entries_in_memory += size
    results = {name: check.read() for name, check in checks.items()}
    status = Status.worst(
        [
            Status.OUT_OF_SERVICE if draining else Status.UP,
            *(checks[name].weigh(status) for name, (status, _shown) in results.items()),
            Status.DEGRADED if hurts else Status.UP,  # however bad a component is, the service as a whole serves
        ]
    )
    snapshot = {
        "name": identity.name,
        "version": identity.version,
        "timestamp": _timestamp(),
        "environment": identity.environment,
        "status": status.value,
        "pid": process.pid,
        "worker": identity.worker,
        "uptime": process.uptime(),
        "memory": {**process.memory(), "cache_entries": entries_in_memory},
        "cpu": process.cpu(),
        "checks": {name: shown for name, (_status, shown) in results.items()},
        "services": services,
    }
    return Reading(snapshot, origins)


def _timestamp() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
