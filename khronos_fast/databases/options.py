"""What a database is made with besides its URL: the options of its pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from khronos_fast._core.pool_events import PoolEvent


class PoolOptions(TypedDict, total=False):
    """The options of `Pool` that are the caller's to choose; what opens, closes and checks connections is not."""

    min_size: int
    max_size: int
    acquire_timeout: float | timedelta | None
    idle_timeout: float | timedelta | None
    max_lifetime: float | timedelta | None
    max_waiting: int | None
    validate_after_idle: float | timedelta
    on_event: Callable[[PoolEvent], object] | None
    name: str | None


def refuse_functions(options: PoolOptions) -> None:
    """Raise TypeError for an option that is the database's own."""
    for option in ("create", "destroy", "validate", "reset"):
        if option in options:
            raise TypeError(f"{option} is the database's own affair; it takes the other options of a pool")


def for_readers(options: PoolOptions, default_name: str) -> PoolOptions:
    """The connections that only read."""
    return {**options, "name": f"{options.get('name') or default_name}.readers"}


def for_writer(options: PoolOptions, default_name: str) -> PoolOptions:
    """The one that writes. It stays open where any do."""
    changed: PoolOptions = {"min_size": min(1, options.get("min_size", 1)), "max_size": 1}
    return {**options, **changed, "name": f"{options.get('name') or default_name}.writer"}


def for_all(options: PoolOptions, default_name: str) -> PoolOptions:
    """Connections of one kind for everything."""
    return {**options, "name": options.get("name") or default_name}


def for_the_only_one(options: PoolOptions, default_name: str) -> PoolOptions:
    """The connection that is the database: it is never closed for its age, nor for want of work."""
    changed: PoolOptions = {"min_size": 1, "max_size": 1, "idle_timeout": None, "max_lifetime": None}
    return {**options, **changed, "name": options.get("name") or default_name}


def in_seconds(timeout: Any) -> float | None:
    """What `close` is given, as seconds; None is no limit. Raises TypeError, ValueError."""
    from datetime import timedelta

    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float, timedelta)):
        raise TypeError(f"timeout must be seconds (int, float or timedelta) or None, not {timeout!r}")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if not seconds > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
    return seconds
