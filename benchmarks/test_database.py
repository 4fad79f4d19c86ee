"""A query of one row by its key, beside the bare driver and a cycle of the pool: `make benchmarks`."""

import sqlite3
from contextlib import closing

import pytest
from turns import ratios_to_first, timed

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


@pytest.fixture
def bare(path):
    """A thousand times what a query is compared with: the bare statement in sqlite3, and the pool's cycle."""
    pool = Pool(object)

    def run():
        for i in range(ROWS):
            resource = pool.acquire()
            connection.execute(SELECT, (i,)).fetchall()
            pool.release(resource)

    with closing(sqlite3.connect(path, isolation_level=None)) as connection, pool:
        yield run


@pytest.fixture
def queries(path):
    with Database(f"sqlite:///{path}") as database:
        [row] = database.query(SELECT, (7,))
        assert row == (7, "K7", 10.5)

        def run():
            for i in range(ROWS):
                database.query(SELECT, (i,))

        yield run


@pytest.mark.benchmark(group="database, a thousand rows by their keys")
@pytest.mark.parametrize("what", ["bare", "queries"])
def test_a_row(benchmark, request, what):
    benchmark(request.getfixturevalue(what))


@pytest.mark.benchmark(group="database, a thousand rows by their keys, in turns")
def test_ratio(benchmark, capsys, bare, queries):
    _, ratios = ratios_to_first(benchmark, {"bare": timed(bare), "Database.query": timed(queries)}, rounds=50)
    with capsys.disabled():
        print(f"\nDatabase.query: {ratios['Database.query']:.2f} times the bare driver and a cycle; promised 1.25")
