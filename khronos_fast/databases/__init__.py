"""Databases on the pools: SQLite from the standard library, PostgreSQL through psycopg 3."""

from typing import TYPE_CHECKING, Any

from khronos_fast._core.row import Row
from khronos_fast.databases.database import Database
from khronos_fast.databases.errors import DatabaseURLError, DriverMissing, DriverUnsafe, TransactionError
from khronos_fast.databases.result import Result
from khronos_fast.databases.stats import DatabaseStats
from khronos_fast.databases.transaction import Transaction

if TYPE_CHECKING:
    from khronos_fast.databases.async_database import AsyncDatabase
    from khronos_fast.databases.async_transaction import AsyncTransaction

__all__ = [
    "AsyncDatabase",
    "AsyncTransaction",
    "Database",
    "DatabaseStats",
    "DatabaseURLError",
    "DriverMissing",
    "DriverUnsafe",
    "Result",
    "Row",
    "Transaction",
    "TransactionError",
]

# They import asyncio, which nobody else needs.
_LAZY = {"AsyncDatabase": "async_database", "AsyncTransaction": "async_transaction"}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
