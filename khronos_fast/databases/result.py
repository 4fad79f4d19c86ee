"""What a statement that changes something returns."""

from typing import NamedTuple


class Result(NamedTuple):
    """What `execute` and `executemany` did, in the driver's terms.

    >>> from khronos_fast.databases import Database
    >>> with Database("sqlite://") as database:
    ...     database.execute("CREATE TABLE planet (id INTEGER PRIMARY KEY, name TEXT)")
    ...     database.execute("INSERT INTO planet (name) VALUES (?)", ("Venus",))
    Result(rowcount=-1, lastrowid=None)
    Result(rowcount=1, lastrowid=1)
    """

    rowcount: int
    """Rows that were inserted, updated or deleted; -1 where the driver does not say."""
    lastrowid: int | None = None
    """SQLite: the `rowid` of the row that an INSERT or a REPLACE inserted last. None for all other statements, for
    those that inserted nothing, for an upsert (whether it has inserted, SQLite does not tell) and for executemany. A
    table WITHOUT ROWID leaves the figure of an earlier insertion. With other databases None: use RETURNING."""
