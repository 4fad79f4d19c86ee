"""What a pool tells its `on_event` hook, and its log."""

from typing import Any, NamedTuple


class PoolEvent(NamedTuple):
    """Something that has happened in a pool.

    >>> PoolEvent("created", "main", resource="a connection", seconds=0.02).kind
    'created'
    """

    kind: str
    """created, create_failed, destroyed, destroy_failed, acquired, released or timed_out."""
    pool: str | None = None
    """The pool's name."""
    resource: Any = None
    """What it has happened to; None for create_failed and timed_out."""
    error: BaseException | None = None
    """What was raised: for create_failed and destroy_failed."""
    seconds: float = 0.0
    """What creating took, what the borrower has waited (acquired, timed_out), or how long it was out (released)."""


def log_failure(pool: str | None, what: str, error: BaseException | None = None) -> None:
    """Log an exception that nobody else gets to see: that one, or the one that is being handled."""
    import logging

    logging.getLogger("khronos_fast.pool").error("%s of pool %r raised", what, pool, exc_info=error or True)


def log_unreturned(pool: str | None, count: int) -> None:
    """Log that a pool could not close all of its resources in time."""
    import logging

    logging.getLogger("khronos_fast.pool").warning(
        "pool %r was closed with %d resources still in use, or on their way; each is destroyed as soon as that is over",
        pool,
        count,
    )
