"""A query of one row by its key, beside the bare driver and a cycle of the pool: `make benchmarks`."""

import sqlite3
from contextlib import closing

import pytest

from khronos_fast import Database, Pool

ROWS = 1_000
SELECT = "SELECT id, name, height FROM mountain WHERE id = ?"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mountains.db"
    with Database(f"sqlite:///{path}") as database:
        database.execute("CREATE TABLE mountain (id INTEGER PRIMARY KEY, name TEXT, height REAL)")
        database.executemany("INSERT INTO mountain VALUES (?, ?, ?)", [(i, f"K{i}", i * 1.5) for i in range(ROWS)])
    return path


@pytest.mark.benchmark(group="database, a thousand rows by their keys")
def test_the_bare_driver_and_a_cycle_of_the_pool(benchmark, path):
    pool = Pool(object)

    def run():
        for i in range(ROWS):
            resource = pool.acquire()
            connection.execute(SELECT, (i,)).fetchall()
            pool.release(resource)

    with closing(sqlite3.connect(path, isolation_level=None)) as connection, pool:
        benchmark(run)


@pytest.mark.benchmark(group="database, a thousand rows by their keys")
def test_database_query(benchmark, path):
    with Database(f"sqlite:///{path}") as database:

        def run():
            for i in range(ROWS):
                database.query(SELECT, (i,))

        benchmark(run)
        [row] = database.query(SELECT, (7,))
        assert row == (7, "K7", 10.5)
