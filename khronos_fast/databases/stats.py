"""What a database counted, as an immutable record."""

from typing import Any, NamedTuple

from khronos_fast._core.pool_stats import PoolStats
from khronos_fast._core.records import as_dict


class DatabaseStats(NamedTuple):
    """What a `Database` or an `AsyncDatabase` has done since it was made, and what its pools hold now.

    >>> from khronos_fast.databases import Database
    >>> with Database("sqlite://") as database:
    ...     rows = database.query("SELECT 1")
    ...     database.stats().queries, database.stats().pool.size
    (1, 1)
    """

    kind: str
    """sqlite or postgresql."""
    queries: int
    """Calls of `query` that returned rows, or none; those in transactions too."""
    executes: int
    """Calls of `execute` and `executemany` that went well; those in transactions too."""
    failures: int
    """Calls of these three, and ends of transactions, that raised, or were cancelled while they ran."""
    transactions: int
    """Transactions that were begun; nested ones, which are savepoints, and those of `executemany` not counted."""
    pool: PoolStats
    """The pool of connections, or of those that read where one alone writes."""
    writer: PoolStats | None
    """The pool of the connection that writes: of an SQLite file. None for others."""

    def as_dict(self) -> dict[str, Any]:
        """Return every figure by name, those of the pools as dicts, ready for JSON."""
        figures = as_dict(self)
        figures["pool"] = self.pool.as_dict()
        figures["writer"] = None if self.writer is None else self.writer.as_dict()
        return figures
