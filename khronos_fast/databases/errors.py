"""The errors of the databases. What a driver raises, it raises: `sqlite3.IntegrityError` and the like pass through."""

from khronos_fast._core.errors import KhronosError


class DatabaseURLError(KhronosError, ValueError):
    """A database's URL is not one, or names what can't be. The message shows it, with the password masked.

    >>> from khronos_fast.databases import Database
    >>> Database("mysql://ada:secret@host/db")
    Traceback (most recent call last):
    khronos_fast.databases.errors.DatabaseURLError: 'mysql://ada:***@host/db' is no URL of a database that ...
    """


class TransactionError(KhronosError, RuntimeError):
    """A transaction is used that is over, or SQL begins or ends one that is not SQL's to begin or end.

    >>> from khronos_fast.databases import Database
    >>> with Database("sqlite://") as database:
    ...     database.execute("BEGIN")
    Traceback (most recent call last):
    khronos_fast.databases.errors.TransactionError: the statement left a transaction open; ...
    """


class DriverMissing(KhronosError, ImportError):  # noqa: N818 - the field names errors of this kind by what happened
    """The driver that a URL asks for can't be imported. The message says what to install."""


class DriverUnsafe(KhronosError, RuntimeError):  # noqa: N818
    """The driver that is installed was built in a way that forbids its use by several threads."""
