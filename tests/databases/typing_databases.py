"""What type checkers make of the databases: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

# ruff: noqa: F841

from datetime import timedelta
from typing import Any, assert_type

from khronos_fast import KhronosError, PoolStats
from khronos_fast.databases import (
    AsyncDatabase,
    AsyncTransaction,
    Database,
    DatabaseStats,
    DatabaseURLError,
    DriverMissing,
    DriverUnsafe,
    Result,
    Row,
    Transaction,
    TransactionError,
)


def construction() -> None:
    default = Database()
    assert_type(default, Database)
    given = Database("sqlite:///state.db", min_size=1, max_size=5, acquire_timeout=2.5, name="n")
    patient = Database(None, acquire_timeout=None, idle_timeout=timedelta(minutes=1), max_lifetime=3600)
    asynchronous = AsyncDatabase(url="postgresql://host/db", max_size=5)
    assert_type(asynchronous, AsyncDatabase)
    number = Database(5)  # type: ignore[arg-type]
    by_position = Database("sqlite://", 5)  # type: ignore[call-arg]


def errors() -> None:
    url: type[KhronosError] = DatabaseURLError
    value: type[ValueError] = DatabaseURLError
    ours: list[type[KhronosError]] = [DriverMissing, DriverUnsafe, TransactionError]


def rows(row: Row) -> None:
    assert_type(row[0], Any)
    assert_type(row["name"], Any)
    assert_type(row[1:], tuple[Any, ...])
    assert_type(len(row), int)
    assert_type(row.as_dict(), dict[str, Any])
    assert_type(list(row), list[Any])
    _number, *_others = row
    row[0] = 1  # type: ignore[index]
    row[1.5]  # type: ignore[call-overload]


def statements(database: Database) -> None:
    assert_type(database.query("SELECT 1"), list[Row])
    assert_type(database.query("SELECT ?", (1,)), list[Row])
    assert_type(database.query("SELECT :a", {"a": 1}), list[Row])
    result = database.execute("DELETE FROM t", [])
    assert_type(result, Result)
    assert_type(result.rowcount, int)
    assert_type(result.lastrowid, int | None)
    assert_type(database.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)]), Result)
    assert_type(database.executemany("INSERT INTO t VALUES (?)", ((number,) for number in range(2))), Result)
    database.query(5)  # type: ignore[arg-type]
    database.query("SELECT ?", 5)  # type: ignore[arg-type]


def blocks(database: Database) -> None:
    with database.transaction() as transaction:
        assert_type(transaction, Transaction)
        assert_type(transaction.query("SELECT 1"), list[Row])
        assert_type(transaction.execute("SELECT 1"), Result)
        with transaction.transaction() as inner:
            assert_type(inner.query("SELECT 1"), list[Row])
    with database.connection(readonly=True, timeout=1.5) as connection:
        connection.cursor()
    with database as entered:
        assert_type(entered, Database)


def figures(database: Database, asynchronous: AsyncDatabase) -> None:
    assert_type(database.stats(), DatabaseStats)
    assert_type(asynchronous.stats(), DatabaseStats)
    assert_type(database.stats().pool, PoolStats)
    assert_type(database.stats().writer, PoolStats | None)
    assert_type(database.stats().queries, int)
    assert_type(database.close(), bool)
    assert_type(database.close(timeout=None), bool)


async def awaited(database: AsyncDatabase) -> None:
    assert_type(await database.query("SELECT 1"), list[Row])
    assert_type(await database.execute("SELECT 1"), Result)
    assert_type(await database.executemany("SELECT ?", [(1,)]), Result)
    async with database.transaction() as transaction:
        assert_type(transaction, AsyncTransaction)
        assert_type(await transaction.query("SELECT 1"), list[Row])
        async with transaction.transaction() as inner:
            assert_type(await inner.execute("SELECT 1"), Result)
    async with database.connection(readonly=True) as connection:
        pass
    async with database as entered:
        assert_type(entered, AsyncDatabase)
    assert_type(await database.close(timeout=1), bool)
    with database.transaction():  # type: ignore[attr-defined]
        pass
