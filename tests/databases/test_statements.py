"""`query`, `execute` and `executemany`: what they return, where they go, and that no failure leaves a trace."""

import pytest

from khronos_fast import KhronosError
from khronos_fast.databases import Result, Row

from .support import FILE, MEMORY, POSTGRES, SHARED, SQLITE, borrowed, fails, opened, runs


@runs
async def test_a_query_returns_rows(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        await database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), [("Ada",), ("Grace",)])
        rows = await database.query("SELECT id, name FROM t ORDER BY id")
        assert type(rows) is list
        assert [type(row) for row in rows] == [Row, Row]
        assert rows == [(1, "Ada"), (2, "Grace")]
        assert [row["name"] for row in rows] == ["Ada", "Grace"]
        assert await database.query("SELECT * FROM t WHERE id = 3") == []


@runs
async def test_parameters(connect, backend):
    async with connect() as database:
        sql = backend.sql("SELECT ? AS value")
        for value in (None, 0, -(2**62), 1.5, "", "naïve ☃", "it's", "100 %s ?"):
            for params in ((value,), [value]):
                [row] = await database.query(sql, params)
                assert row["value"] == value
        [row] = await database.query(sql, params=(b"\0\xff",))
        assert bytes(row[0]) == b"\0\xff"
        by_name = "SELECT :first AS a, :second AS b" if backend.sqlite else "SELECT %(first)s AS a, %(second)s AS b"
        assert await database.query(by_name, {"first": 1, "second": "two"}) == [(1, "two")]


@runs
async def test_a_per_cent_sign_is_one_where_there_are_no_parameters(connect, backend):
    async with connect() as database:
        assert await database.query("SELECT '100 %' AS a, 'x' LIKE '%s' AS b") == [("100 %", False)]
        await database.execute(backend.table())
        await database.execute("INSERT INTO t (name) VALUES ('5 %s')")
        assert await database.query("SELECT name FROM t WHERE name LIKE '%s'") == [("5 %s",)]


@runs
async def test_many_rows(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        names = [f"name {number}" for number in range(5_000)]
        await database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), [(name,) for name in names])
        rows = await database.query("SELECT name FROM t ORDER BY id")
        assert [row["name"] for row in rows] == names


@runs
async def test_results(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        insert = backend.sql("INSERT INTO t (name) VALUES (?)")
        first, second = await database.execute(insert, ("Ada",)), await database.execute(insert, ("Grace",))
        assert isinstance(first, Result)
        assert (first.rowcount, second.rowcount) == (1, 1)
        assert (first.lastrowid, second.lastrowid) == ((1, 2) if backend.sqlite else (None, None))
        update = await database.execute("UPDATE t SET name = 'x'")
        assert (update.rowcount, update.lastrowid) == (2, None)
        several = await database.execute("INSERT INTO t (name) VALUES ('a'), ('b'), ('c')")
        assert several.rowcount == 3
        delete = await database.execute("DELETE FROM t WHERE id > 4")
        assert (delete.rowcount, delete.lastrowid) == (1, None)
        nothing = await database.execute("DELETE FROM t WHERE id > 4")
        assert nothing.rowcount == 0
        rowcount, lastrowid = await database.execute(insert, ("Alan",))
        assert (rowcount, lastrowid) == (1, 5 if backend.sqlite else None)
        assert (await database.execute("CREATE TABLE other (id INTEGER)")).lastrowid is None
        with pytest.raises(AttributeError):
            first.rowcount = 5


@SQLITE
@runs
async def test_a_last_row_id_belongs_to_the_statement(connect):
    """SQLite remembers it for the connection, and would tell anybody."""
    async with connect() as database:
        await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        assert (await database.execute("INSERT INTO t VALUES (7, 'Ada')")).lastrowid == 7
        for other in (
            "UPDATE t SET name = name",
            "DELETE FROM t WHERE id = 9",
            "SELECT * FROM t",
            "PRAGMA user_version",
        ):
            assert (await database.execute(other)).lastrowid is None, other
        # However it is written.
        assert (await database.execute("  \n -- a word\n /* two */ insert into t values (8, 'b')")).lastrowid == 8
        assert (await database.execute("REPLACE INTO t VALUES (9, 'c')")).lastrowid == 9
        with_clause = "WITH one(a) AS (SELECT 12) INSERT INTO t SELECT a, 'd' FROM one"
        # Python's driver does not count the rows of one that begins so; then the id may be left out, but not another's.
        assert (await database.execute(with_clause)).lastrowid in (12, None)
        updating = "WITH one(a) AS (SELECT 12) UPDATE t SET name = 'e' WHERE id = (SELECT a FROM one)"
        assert (await database.execute(updating)).lastrowid is None


@runs
async def test_executing_what_returns_rows(connect, backend):
    async with connect(max_size=1, min_size=0) as database:
        await database.execute(backend.table())
        await database.execute("INSERT INTO t (name) VALUES ('Ada'), ('Grace')")
        await database.execute("SELECT * FROM t")
        result = await database.execute("UPDATE t SET name = 'x' WHERE id = 1 RETURNING id")
        assert result.rowcount == 1
        await database.execute("DROP TABLE t")


@runs
async def test_executemany(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        insert = backend.sql("INSERT INTO t (name) VALUES (?)")
        result = await database.executemany(insert, [("a",), ("b",), ("c",)])
        assert isinstance(result, Result)
        assert result.rowcount == 3
        assert (await database.executemany(insert, ((name,) for name in "de"))).rowcount == 2
        assert (await database.executemany(insert, [])).rowcount == 0
        assert (await database.executemany(insert, iter([]))).rowcount == 0
        changed = await database.executemany(backend.sql("UPDATE t SET name = ? WHERE id > ?"), [("x", 3), ("y", 4)])
        assert changed.rowcount == 3
        rows = await database.query("SELECT name FROM t ORDER BY id")
        assert [row[0] for row in rows] == ["a", "b", "c", "x", "y"]


@runs
async def test_executemany_does_all_or_nothing(connect, backend):
    class Broken(Exception):
        pass

    def rows():
        yield (20, "Ada")
        raise Broken

    async with connect() as database:
        await database.execute(backend.table())
        insert = backend.sql("INSERT INTO t (id, name) VALUES (?, ?)")
        with pytest.raises(backend.driver.IntegrityError):
            await database.executemany(insert, [(1, "Ada"), (2, "Grace"), (1, "Alan")])
        with pytest.raises(backend.driver.ProgrammingError):
            await database.executemany(insert, [(1, "Ada"), (2,)])
        with pytest.raises(Broken):
            await database.executemany(insert, rows())
        assert await database.query("SELECT * FROM t") == []
        assert (await database.executemany(insert, [(1, "Ada")])).rowcount == 1


@runs
async def test_a_query_that_writes(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        sql = backend.sql("INSERT INTO t (name) VALUES (?) RETURNING id, name")
        # The second time it is known that it writes.
        assert await database.query(sql, ("Ada",)) == [(1, "Ada")]
        assert await database.query(sql, ("Grace",)) == [(2, "Grace")]
        assert await database.query("UPDATE t SET name = 'x' RETURNING id") == [(1,), (2,)]
        assert await database.query("DELETE FROM t WHERE id = 1") == []
        assert await database.query("CREATE TABLE other (id INTEGER)") == []
        assert await database.query("SELECT id, name FROM t") == [(2, "x")]
        async with database.transaction() as transaction:
            assert await transaction.query(sql, ("Alan",)) == [(3, "Alan")]
            assert await database.query(sql, ("Edsger",)) == [(4, "Edsger")]
        [row] = await database.query("SELECT count(*) AS n FROM t")
        assert row["n"] == 3


@runs
async def test_a_query_that_writes_does_so_once(connect, backend):
    """Also where a reader had begun with it before it turned out that it writes."""
    async with connect() as database:
        await database.execute(backend.table())
        for _ in range(5):
            await database.query("INSERT INTO t (name) SELECT 'x' RETURNING id")
        assert await database.query("SELECT count(*) FROM t") == [(5,)]


@FILE
@runs
async def test_a_query_that_writes_is_seen_by_everybody(connect, backend, face):
    async with connect() as database:
        await database.execute(backend.table())
        await database.query("INSERT INTO t (name) VALUES ('Ada') RETURNING id")
        other = opened(face, backend.url)
        assert await other.query("SELECT name FROM t") == [("Ada",)]
        await other.close()


@SHARED
@runs
async def test_what_was_executed_is_seen_at_once_and_by_everybody(connect, backend, face):
    async with connect() as database, connect() as other:
        await database.execute(backend.table())
        for number in range(20):
            await database.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), (str(number),))
            assert await database.query("SELECT count(*) FROM t") == [(number + 1,)]
            assert await other.query("SELECT count(*) FROM t") == [(number + 1,)]


async def serves(database):
    """It does as if nothing had been, on every connection that there is."""
    assert borrowed(database) == 0
    for number in range(6):
        assert await database.query(f"SELECT {number} AS a") == [(number,)]
    before = await database.query("SELECT count(*) FROM t")
    await database.execute("INSERT INTO t (name) VALUES ('served')")
    assert await database.query("SELECT count(*) FROM t") == [(before[0][0] + 1,)]
    async with database.transaction():
        await database.execute("DELETE FROM t WHERE name = 'served'")
    assert await database.query("SELECT count(*) FROM t") == before
    assert borrowed(database) == 0


@pytest.mark.parametrize("method", ["query", "execute"])
@pytest.mark.parametrize("params", [(), (1,), (1, 2, 3)])
@runs
async def test_parameters_that_are_too_few_or_too_many(connect, backend, method, params):
    async with connect(max_size=2) as database:
        await database.execute(backend.table())
        for sql in ("SELECT ? AS a, ? AS b", "INSERT INTO t (name) SELECT ? WHERE 1 = ?"):
            with pytest.raises(backend.driver.Error) as raised:
                await getattr(database, method)(backend.sql(sql), params)
            # psycopg sends what has no parameters as it is, and the server finds the placeholder odd.
            assert isinstance(raised.value, backend.driver.ProgrammingError)
            assert not isinstance(raised.value, KhronosError)
        await serves(database)
        await database.execute("DROP TABLE t")


@runs
async def test_missing_names(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        by_name = "SELECT :a, :b" if backend.sqlite else "SELECT %(a)s, %(b)s"
        with pytest.raises((backend.driver.Error, KeyError)):
            await database.query(by_name, {"a": 1})
        await serves(database)


@pytest.mark.parametrize("method", ["query", "execute"])
@runs
async def test_statements_that_fail(connect, backend, method):
    async with connect(max_size=2) as database:
        run = getattr(database, method)
        await database.execute(backend.table())
        await database.execute("CREATE TABLE strict (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        await database.execute("INSERT INTO strict VALUES (1, 'Ada')")
        for sql in (
            "SELEC 1",
            "SELECT * FROM nowhere",
            "SELECT nothing FROM t",
            "INSERT INTO t (id, id2) VALUES (1, 2)",
        ):
            with pytest.raises((backend.driver.OperationalError, backend.driver.ProgrammingError)):
                await run(sql)
            await serves(database)
        for sql in ("INSERT INTO strict VALUES (1, 'again')", "UPDATE strict SET name = NULL"):
            with pytest.raises(backend.driver.IntegrityError):
                await run(sql)
            await serves(database)
        assert await database.query("SELECT * FROM strict") == [(1, "Ada")]


@runs
async def test_a_failure_while_rows_are_fetched(connect, backend):
    """By then a part of the rows has been read; and what was read has not pinned anything."""
    async with connect(min_size=0, max_size=1) as database:
        await database.execute("CREATE TABLE numbers (n INTEGER, bad TEXT)")
        await database.execute("INSERT INTO numbers SELECT 1, 'a' UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, 'c'")
        if backend.sqlite:
            bad = "SELECT n, CASE WHEN n = 2 THEN CAST(x'ff' AS TEXT) END FROM numbers"
        else:
            bad = "SELECT 10 / (n - 2) FROM numbers"
        for method in (database.query, database.execute):
            if method == database.execute and backend.sqlite:
                # Which doesn't look at the rows.
                continue
            with pytest.raises(backend.driver.Error):
                await method(bad)
        for number in range(4, 8):
            await database.execute(backend.sql("INSERT INTO numbers VALUES (?, 'x')"), (number,))
            assert await database.query("SELECT max(n) FROM numbers") == [(number,)]
        await database.execute("DROP TABLE numbers")


@runs
async def test_foreign_keys_are_enforced(connect, backend):
    async with connect() as database:
        await database.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        await database.execute("CREATE TABLE child (parent INTEGER REFERENCES parent (id))")
        with pytest.raises(backend.driver.IntegrityError):
            await database.execute("INSERT INTO child VALUES (1)")
        with pytest.raises(backend.driver.IntegrityError):
            await database.query("INSERT INTO child VALUES (1) RETURNING parent")
        assert await database.query("SELECT * FROM child") == []


@pytest.mark.parametrize("sql", [None, 5, b"SELECT 1", ["SELECT 1"]])
@runs
async def test_what_is_no_statement(connect, backend, sql):
    if sql == b"SELECT 1" and not backend.sqlite:
        pytest.skip("psycopg takes bytes")
    async with connect() as database:
        await database.execute(backend.table())
        for run in (database.query, database.execute):
            with pytest.raises((TypeError, AttributeError)):
                await run(sql)
        with pytest.raises((TypeError, AttributeError)):
            await database.executemany(sql, [(1,)])
        await serves(database)


@pytest.mark.parametrize("params", [5, None, object()], ids=["int", "None", "object"])
@runs
async def test_what_are_no_parameters(connect, backend, params):
    async with connect() as database:
        await database.execute(backend.table())
        for run in (database.query, database.execute):
            # None is what some drivers take for none at all.
            if params is None:
                try:
                    await run("SELECT 1")
                except Exception:
                    pass
            else:
                with pytest.raises(Exception, match=r"."):
                    await run(backend.sql("SELECT ?"), params)
        await serves(database)


@runs
async def test_values_that_the_driver_does_not_know(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        with pytest.raises(backend.driver.Error):
            await database.query(backend.sql("SELECT ?"), (object(),))
        with pytest.raises(backend.driver.Error):
            await database.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), (object(),))
        await serves(database)


@SQLITE
@runs
async def test_a_value_that_raises_when_it_is_adapted(connect, backend):
    class Broken(Exception):
        pass

    class Value:
        def __conform__(self, protocol):
            raise Broken

    async with connect() as database:
        await database.execute(backend.table())
        for run in (database.query, database.execute):
            # The driver makes an error of its own of it.
            with pytest.raises((Broken, backend.driver.Error)):
                await run("SELECT ?", (Value(),))
        await serves(database)


@runs
async def test_empty_statements(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        for sql in ("", "  ", "-- nothing", ";"):
            try:
                assert await database.query(sql) == []
                await database.execute(sql)
            except backend.driver.Error:
                pass
        await serves(database)


@runs
async def test_several_statements_in_one(connect, backend):
    """As the driver has it: SQLite's refuses them, psycopg's last one answers."""
    async with connect() as database:
        await database.execute(backend.table())
        for run in (database.query, database.execute):
            try:
                await run("SELECT 1; SELECT 2")
            except (backend.driver.Error, backend.driver.Warning):
                assert backend.sqlite
        await serves(database)


LEFT_OPEN = ["BEGIN", "begin immediate", "SAVEPOINT here", "/* so */ BEGIN"]


@pytest.mark.parametrize("method", ["query", "execute"])
@pytest.mark.parametrize("sql", LEFT_OPEN)
@runs
async def test_a_statement_that_leaves_a_transaction_open(connect, backend, face, method, sql):
    if not backend.sqlite:
        if "SAVEPOINT" in sql:
            pytest.skip("PostgreSQL has savepoints in transactions only")
        sql = sql.replace("immediate", "isolation level serializable")
    async with connect(min_size=0, max_size=2) as database:
        await database.execute(backend.table())
        with pytest.raises(Exception, match=r"transaction\(\)"):
            await getattr(database, method)(sql)
        await serves(database)
        # It's over: what comes next is nobody's but its own.
        await database.execute("INSERT INTO t (name) VALUES ('Ada')")
        if backend.kind != "memory":
            other = opened(face, backend.url)
            assert await other.query("SELECT name FROM t") == [("Ada",)]
            await other.execute("INSERT INTO t (name) VALUES ('Grace')")
            await other.close()


@runs
async def test_what_ends_transactions_where_there_is_none(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        for sql in ("COMMIT", "ROLLBACK"):
            try:
                await database.execute(sql)
            except backend.driver.Error:
                assert backend.sqlite
            await serves(database)


@SQLITE
@pytest.mark.parametrize("method", ["query", "execute"])
@runs
async def test_sqlite_settings_are_the_statements_own(connect, backend, method):
    """What a session remembers is not there for the next borrower, and does no harm to him."""
    async with connect(min_size=0, max_size=1) as database:
        run = getattr(database, method)
        await database.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        await database.execute("CREATE TABLE child (parent INTEGER REFERENCES parent (id))")
        for setting in ("foreign_keys = OFF", "query_only = ON", "query_only = OFF", "busy_timeout = 0"):
            await run(f"PRAGMA {setting}")
            with pytest.raises(backend.driver.IntegrityError):
                await database.execute("INSERT INTO child VALUES (99)")
            await database.execute("INSERT INTO parent (id) VALUES (NULL)")
        assert await database.query("PRAGMA busy_timeout") == [(5000,)]
        assert await database.query("PRAGMA foreign_keys") == [(1,)]
        assert await database.query("SELECT count(*) FROM parent") == [(4,)]
        assert await database.query("SELECT count(*) FROM child") == [(0,)]


@SQLITE
@runs
async def test_sqlite_temporary_tables_are_the_statements_own(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        for _ in range(2):
            await database.execute("CREATE TEMP TABLE mine (a)")
        await database.execute("CREATE TEMPORARY VIEW view AS SELECT * FROM t")
        await database.query("CREATE TEMP TABLE mine (a)")
        for name in ("mine", "view"):
            with pytest.raises(backend.driver.OperationalError):
                await database.query(f"SELECT * FROM {name}")
            with pytest.raises(backend.driver.OperationalError):
                await database.execute(f"INSERT INTO {name} VALUES (1)")


@SQLITE
@pytest.mark.parametrize("method", ["query", "execute"])
@runs
async def test_sqlite_attached_databases_are_the_statements_own(connect, backend, method, tmp_path):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        for _ in range(2):
            await getattr(database, method)("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        with pytest.raises(backend.driver.OperationalError):
            await database.execute("CREATE TABLE other.t (a)")
        with pytest.raises(backend.driver.OperationalError):
            await database.query("SELECT * FROM other.sqlite_master")


@SQLITE
@runs
async def test_sqlite_settings_in_a_transaction(connect, backend, tmp_path):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        async with database.transaction() as transaction:
            await transaction.execute("CREATE TEMP TABLE mine (a)")
            await transaction.execute("INSERT INTO mine VALUES (1)")
            await transaction.execute("INSERT INTO t (name) SELECT 'from mine' FROM mine")
        with pytest.raises(backend.driver.OperationalError):
            await database.execute("INSERT INTO mine VALUES (1)")
        assert await database.query("SELECT name FROM t") == [("from mine",)]


@FILE
@runs
async def test_how_an_sqlite_file_is_opened(connect, backend):
    async with connect() as database:
        [[mode]] = await database.query("PRAGMA journal_mode")
        assert mode == "wal"
        assert await database.query("PRAGMA synchronous") == [(1,)]
        assert await database.query("PRAGMA busy_timeout") == [(5000,)]
        assert await database.query("PRAGMA foreign_keys") == [(1,)]
        assert await database.query("PRAGMA query_only") == [(1,)]
        async with database.transaction() as transaction:
            assert await transaction.query("PRAGMA query_only") == [(0,)]
            assert await transaction.query("PRAGMA synchronous") == [(1,)]
            assert await transaction.query("PRAGMA foreign_keys") == [(1,)]
            assert await transaction.query("PRAGMA busy_timeout") == [(5000,)]


@MEMORY
@runs
async def test_how_an_sqlite_database_in_memory_is_opened(connect):
    async with connect() as database:
        assert await database.query("PRAGMA foreign_keys") == [(1,)]
        assert database.stats().writer is None


@POSTGRES
@runs
async def test_types_of_postgres(connect):
    async with connect() as database:
        [row] = await database.query("SELECT ARRAY[1, 2] AS a, '{\"b\": 1}'::jsonb AS j, NULL AS n, 'x'::bytea AS b")
        assert row.as_dict() == {"a": [1, 2], "j": {"b": 1}, "n": None, "b": b"x"}


@POSTGRES
@runs
async def test_a_statement_prepared_often(connect, backend):
    """psycopg prepares what comes often; a changed table must not make it fail for good."""
    async with connect(max_size=1, min_size=0) as database:
        await database.execute(backend.table())
        for number in range(12):
            assert await database.query("SELECT count(*) FROM t WHERE id = %s", (number,)) == [(0,)]
        await database.execute("ALTER TABLE t ADD COLUMN more INTEGER")
        for number in range(3):
            assert await database.query("SELECT count(*) FROM t WHERE id = %s", (number,)) == [(0,)]


@FILE
@runs
async def test_what_a_query_changes_in_a_file_is_changed(connect):
    """A setting of the file is no setting of the session."""
    async with connect() as database:
        await database.query("PRAGMA user_version = 5")
        assert await database.query("PRAGMA user_version") == [(5,)]
        await database.execute("PRAGMA user_version = 6")
        assert await database.query("PRAGMA user_version") == [(6,)]


@FILE
@runs
async def test_a_file_stays_in_wal_mode(connect, backend):
    async with connect(min_size=0, max_size=2) as database:
        await database.execute(backend.table())
        for method in (database.query, database.execute):
            # With more than one connection SQLite refuses it.
            try:
                await method("PRAGMA journal_mode = DELETE")
            except backend.driver.OperationalError:
                pass
            await serves(database)
            assert await database.query("PRAGMA journal_mode") == [("wal",)]


@runs
async def test_upkeep(connect, backend):
    """What can't be run in a transaction isn't."""
    statements = ["VACUUM", "ANALYZE", "CREATE INDEX i ON t (name)", "REINDEX", "DROP INDEX i"]
    if backend.sqlite:
        statements += ["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA optimize", "PRAGMA integrity_check"]
    else:
        statements[3] = "REINDEX TABLE t"
        statements += ["CREATE INDEX CONCURRENTLY i ON t (name)", "DROP INDEX CONCURRENTLY i"]
    async with connect() as database:
        await database.execute(backend.table())
        await database.execute("INSERT INTO t (name) VALUES ('Ada')")
        for method in (database.execute, database.query):
            for statement in statements:
                await method(statement)
        await serves(database)


@runs
async def test_rows_that_are_made_with_the_database_itself(connect, backend):
    """`executemany` takes what it is given as it goes, and who makes it may ask the same database."""
    async with connect(min_size=0, max_size=1) as database:
        if not hasattr(database, "plain"):
            pytest.skip("coroutines can't be awaited in an iterator")
        await database.execute(backend.table())

        def rows():
            for number in range(1200):
                if number % 300 == 0:
                    assert database.plain.query("SELECT count(*) AS n FROM t")[0]["n"] <= number
                yield (str(number),)

        result = await database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), rows())
        assert result.rowcount == 1200
        assert await database.query("SELECT count(*) FROM t") == [(1200,)]


@SQLITE
@runs
async def test_a_parameter_that_uses_the_connection_it_is_for(connect, backend):
    """Whatever comes of it, it is an error and no crash, and the next one is served."""

    class Value:
        def __conform__(self, protocol):
            rows = database.plain.query("SELECT 1 AS one")
            assert rows == [(1,)]
            return rows[0][0]

    async with connect(min_size=0, max_size=1, acquire_timeout=0.1) as database:
        if not hasattr(database, "plain"):
            pytest.skip("coroutines can't be awaited there")
        await database.execute(backend.table())
        for _ in range(2):
            with pytest.raises((backend.driver.Error, TimeoutError)):
                await database.query("SELECT ?", (Value(),))
            with fails((backend.driver.Error, TimeoutError)):
                async with database.transaction():
                    await database.execute("INSERT INTO t (name) VALUES ('lost')")
                    await database.query("SELECT ?", (Value(),))
            await serves(database)


@runs
async def test_more_statements_than_anybody_remembers(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        for number in range(1500):
            [row] = await database.query(f"SELECT {number} AS a")
            assert row["a"] == number


@POSTGRES
@pytest.mark.parametrize("method", ["query", "execute"])
@runs
async def test_postgres_settings_are_the_statements_own(connect, backend, method):
    async with connect(min_size=0, max_size=1) as database:
        run = getattr(database, method)
        await database.execute(backend.table())
        for setting in (
            "SET statement_timeout = 1",
            "SET search_path = nowhere",
            "SET ROLE pg_monitor",
            "SET default_transaction_read_only = on",
            "CREATE TEMP TABLE t (id INTEGER, name TEXT)",
            "LISTEN channel",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ):
            await run(setting)
            await serves(database)
        async with database.transaction():
            await database.execute("SET search_path = nowhere")
            with fails(backend.driver.Error):
                async with database.transaction():
                    await database.query("SELECT * FROM t")
        await serves(database)
        with fails(ZeroDivisionError):
            async with database.transaction():
                await database.execute("SET search_path = nowhere")
                1 / 0
        await serves(database)


@POSTGRES
@pytest.mark.parametrize("sql", ["SELECT 1; BEGIN", "BEGIN; SELECT 1", "COMMIT; BEGIN", "SELECT 1; BEGIN;"])
@runs
async def test_a_transaction_that_is_left_open_behind_a_semicolon(connect, backend, sql):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        for method in (database.query, database.execute):
            with pytest.raises(Exception, match=r"transaction\(\)"):
                await method(sql)
            await serves(database)


@POSTGRES
@runs
async def test_a_write_within_a_query_on_postgres(connect, backend):
    async with connect() as database:
        await database.execute(backend.table())
        sql = "WITH made AS (INSERT INTO t (name) VALUES (%s) RETURNING id) SELECT id FROM made"
        assert await database.query(sql, ("Ada",)) == [(1,)]
        assert await database.query("SELECT name FROM t") == [("Ada",)]
        assert await database.query("(SELECT 1 AS a) UNION ALL (SELECT 2)") == [(1,), (2,)]
        assert await database.query("TABLE t") == [(1, "Ada")]
        assert await database.query("VALUES (1), (2)") == [(1,), (2,)]


@SQLITE
@runs
async def test_interrupted_within_a_statement(connect, backend):
    """Ctrl-C, as good as: it comes out of whatever Python code the driver calls."""

    class Value:
        def __conform__(self, protocol):
            raise KeyboardInterrupt

    async with connect(min_size=0, max_size=1) as database:
        if not hasattr(database, "plain"):
            pytest.skip("in a thread of ours there is no Ctrl-C")
        await database.execute(backend.table())
        for sql in ("SELECT ?", "INSERT INTO t (name) VALUES (?)"):
            for method in (database.query, database.execute):
                with pytest.raises((KeyboardInterrupt, backend.driver.Error)):
                    await method(sql, (Value(),))
                await serves(database)
        with pytest.raises((KeyboardInterrupt, backend.driver.Error)):
            await database.executemany("INSERT INTO t (name) VALUES (?)", [("lost",), (Value(),)])
        await serves(database)

        def rows():
            yield ("lost",)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await database.executemany("INSERT INTO t (name) VALUES (?)", rows())
        await serves(database)
        assert await database.query("SELECT * FROM t") == []
