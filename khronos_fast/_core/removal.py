"""Why an entry left a cache."""

import enum


class RemovalCause(enum.Enum):
    """The reason a removal listener is given, in the words of Caffeine and its kin.

    >>> RemovalCause.EVICTED.was_evicted, RemovalCause.DELETED.was_evicted
    (True, False)
    """

    EXPIRED = "expired"
    """Its time to live was over."""
    EVICTED = "evicted"
    """The cache was full: of entries, of weight, or after `resize`."""
    REPLACED = "replaced"
    """Its key was given another value."""
    DELETED = "deleted"
    """The caller took it out: `delete`, `del`, `pop`, `popitem`, `delete_many`."""
    INVALIDATED = "invalidated"
    """Its key matched a pattern."""
    CLEARED = "cleared"
    """The whole cache was emptied."""

    @property
    def was_evicted(self) -> bool:
        """Whether the cache itself decided to let go, rather than its caller."""
        return self in (RemovalCause.EXPIRED, RemovalCause.EVICTED)


def log_failure_of_listener(name: str | None) -> None:
    """Log the exception that is being handled."""
    import logging

    logging.getLogger("khronos_fast.memory").exception("the on_removal listener of cache %r raised", name)
