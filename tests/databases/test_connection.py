"""`connection()` lends the driver's own connection; what was done to it, the next borrower knows nothing of."""

import sqlite3

import pytest

from khronos_fast import PoolTimeout
from khronos_fast.databases import Database, TransactionError

from .support import FILE, MEMORY, POSTGRES, SHARED, SQLITE, Task, borrowed, fails, needs_proc, open_files, runs, when


class Refused(Exception):
    pass


@pytest.fixture
def database(backend):
    """One connection of each kind, so that the next borrower is sure to get the same one."""
    with Database(backend.url, min_size=0, max_size=1, acquire_timeout=5) as database:
        database.execute(backend.table())
        database.executemany(backend.sql("INSERT INTO t (name) VALUES (?)"), [("Ada",), ("Grace",), ("Alan",)])
        yield database
        assert borrowed(database) == 0


def raw(connection):
    """What identifies a connection, however it is wrapped."""
    return id(connection)


def add(database, name):
    database.execute(f"INSERT INTO t (name) VALUES ('{name}')")


def names(database):
    return [row["name"] for row in database.query("SELECT name FROM t ORDER BY id")]


BEFORE = ["Ada", "Grace", "Alan"]


def test_it_is_the_drivers(database, backend):
    with database.connection() as connection:
        if backend.sqlite:
            assert isinstance(connection, sqlite3.Connection)
            assert connection.isolation_level is None
        else:
            assert isinstance(connection, backend.driver.Connection)
            assert connection.autocommit
        cursor = connection.execute("SELECT name FROM t ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == BEFORE
        cursor = connection.cursor()
        cursor.execute(backend.sql("INSERT INTO t (name) VALUES (?)"), ("Edsger",))
        cursor.close()
        assert borrowed(database) == 1
    assert names(database) == [*BEFORE, "Edsger"]


@FILE
def test_a_readonly_one_can_not_write(database):
    with database.connection(readonly=True) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 3
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO t (name) VALUES ('x')")
        stats = database.stats()
        assert (stats.pool.borrowed, stats.writer.borrowed) == (1, 0)
    with database.connection() as connection:
        stats = database.stats()
        assert (stats.pool.borrowed, stats.writer.borrowed) == (0, 1)
    assert names(database) == BEFORE


@POSTGRES
def test_a_readonly_one_can_not_write_on_postgres(database, backend):
    with database.connection(readonly=True) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 3
        with pytest.raises(backend.driver.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO t (name) VALUES ('x')")
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]


@pytest.mark.parametrize("readonly", [False, True])
def test_an_open_transaction_is_rolled_back(database, backend, readonly):
    for _ in range(2):
        with database.connection(readonly=readonly) as connection:
            connection.execute("BEGIN")
            if not readonly:
                connection.execute("INSERT INTO t (name) VALUES ('lost')")
            connection.execute("SELECT count(*) FROM t").fetchone()
    assert names(database) == BEFORE
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]


def test_a_block_that_raises(database):
    for error in (Refused("no"), KeyboardInterrupt(), GeneratorExit()):
        try:
            with database.connection() as connection:
                connection.execute("BEGIN")
                connection.execute("INSERT INTO t (name) VALUES ('lost')")
                raise error
        except BaseException as other:
            raised = other
        assert raised is error
        assert names(database) == BEFORE
        assert borrowed(database) == 0
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]


@SHARED
def test_a_closed_one_is_replaced(database):
    for _ in range(3):
        with database.connection() as connection:
            connection.close()
        assert names(database) == BEFORE
        with database.connection(readonly=True) as connection:
            connection.close()
        assert names(database) == BEFORE
        with database.transaction():
            assert names(database) == BEFORE


@SHARED
def test_a_closed_one_does_not_hide_what_the_block_raised(database):
    with fails(Refused):
        with database.connection() as connection:
            connection.close()
            raise Refused
    assert names(database) == BEFORE


def test_how_long_it_is_waited_for(database):
    with database.connection():
        for timeout in (0, 0.05):
            with pytest.raises(PoolTimeout):
                Task(lambda timeout=timeout: database.connection(timeout=timeout).__enter__()).result()
    with database.connection(timeout=None), pytest.raises((ValueError, TypeError)):
        with database.connection(timeout=-1):
            pytest.fail("a negative time-out")
    assert borrowed(database) == 0


def test_it_may_be_left_only_once(database):
    """And one `with` after another makes no difference to the pool."""
    for _ in range(5):
        with database.connection() as connection:
            assert connection.execute("SELECT 1").fetchone()[0] == 1
    assert borrowed(database) == 0


# ---------------------------------------------------------------- SQLite: a rollback is not a reset


def checkpoint(path):
    """Whether everything in the log could be moved to the file and the log be emptied: nobody reads an old state."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not busy


@FILE
@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("way", ["connection", "cursor", "iterator", "kept by a class of the user's"])
def test_a_half_read_cursor_pins_nothing(database, backend, readonly, way):
    kept = []
    with database.connection(readonly=readonly) as connection:
        match way:
            case "connection":
                cursor = connection.execute("SELECT * FROM t")
            case "cursor":
                cursor = connection.cursor()
                cursor.execute("SELECT * FROM t")
            case "iterator":
                cursor = iter(connection.execute("SELECT * FROM t"))
            case _:
                cursor = connection.cursor(type("Mine", (sqlite3.Cursor,), {}))
                cursor.execute("SELECT * FROM t")
        assert cursor.fetchone()
        assert not connection.in_transaction
        kept.append(cursor)
    for number in range(3):
        add(database, f"after {number}")
        assert len(names(database)) == 4 + number
        assert checkpoint(backend.path)
    # The cursor is none any more: it would read in the next borrower's name.
    with pytest.raises(sqlite3.ProgrammingError):
        kept[0].fetchone()


@FILE
def test_a_half_read_cursor_that_nobody_keeps(database, backend):
    for readonly in (True, False):
        with database.connection(readonly=readonly) as connection:
            for _ in connection.execute("SELECT * FROM t"):
                break
        add(database, "after")
        assert checkpoint(backend.path)


@FILE
def test_a_half_read_cursor_in_a_transaction_that_fails(database, backend):
    kept = []
    with fails(Refused):
        with database.connection(readonly=True) as connection:
            connection.execute("BEGIN")
            kept.append(connection.execute("SELECT * FROM t"))
            kept[0].fetchone()
            raise Refused
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    assert checkpoint(backend.path)


@FILE
def test_a_half_read_cursor_of_a_query_that_failed_pins_nothing(database, backend):
    with pytest.raises(sqlite3.OperationalError):
        database.query("SELECT CASE WHEN id = 2 THEN CAST(x'ff' AS TEXT) END FROM t")
    with pytest.raises(sqlite3.OperationalError):
        with database.transaction():
            database.query("SELECT CASE WHEN id = 2 THEN CAST(x'ff' AS TEXT) END FROM t")
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    assert checkpoint(backend.path)


@SQLITE
@pytest.mark.parametrize("readonly", [True, False])
def test_attributes_do_not_survive(database, readonly):
    with database.connection(readonly=readonly) as connection:
        connection.row_factory = sqlite3.Row
        connection.text_factory = bytes
        connection.isolation_level = "EXCLUSIVE"
    with database.connection(readonly=readonly) as connection:
        assert connection.row_factory is None
        assert connection.text_factory is str
        assert connection.isolation_level is None
        assert connection.execute("SELECT 'a'").fetchone() == ("a",)
    [row] = database.query("SELECT 'a' AS a")
    assert row == ("a",)
    add(database, "after")
    with database.transaction():
        add(database, "in one")
    assert names(database) == [*BEFORE, "after", "in one"]


@FILE
@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    "setting",
    [
        "foreign_keys = OFF",
        "query_only = ON",
        "query_only = OFF",
        "busy_timeout = 1",
        "synchronous = OFF",
        "synchronous = FULL",
        "defer_foreign_keys = ON",
        "ignore_check_constraints = ON",
        "recursive_triggers = ON",
        "case_sensitive_like = ON",
        "reverse_unordered_selects = ON",
        "temp_store = MEMORY",
        "locking_mode = EXCLUSIVE",
        "read_uncommitted = ON",
        "writable_schema = ON",
        "cache_size = 1",
    ],
)
def test_pragmas_do_not_survive(database, backend, readonly, setting):
    name = setting.split()[0]
    shown = {"case_sensitive_like": "SELECT 'a' LIKE 'A'"}.get(name, f"PRAGMA {name}")
    with database.connection(readonly=readonly) as connection:
        before = connection.execute(shown).fetchone()
        connection.execute(f"PRAGMA {setting}").fetchall()
    with database.connection(readonly=readonly) as connection:
        assert connection.execute(shown).fetchone() == before
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    # Nor does it keep others out.
    other = sqlite3.connect(backend.path, timeout=1)
    other.execute("INSERT INTO t (name) VALUES ('other')")
    other.commit()
    other.close()


@MEMORY
def test_pragmas_do_not_survive_in_memory(database):
    with database.connection() as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA query_only = ON")
    assert database.query("PRAGMA foreign_keys") == [(1,)]
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]


@SQLITE
@pytest.mark.parametrize("readonly", [True, False])
def test_temporary_things_do_not_survive(database, backend, readonly):
    with database.connection(readonly=readonly) as connection:
        if readonly:
            connection.execute("PRAGMA query_only = OFF")
        connection.execute("CREATE TEMP TABLE mine (a INTEGER PRIMARY KEY AUTOINCREMENT)")
        connection.execute("INSERT INTO mine VALUES (1)")
        connection.execute("CREATE INDEX temp.mine_index ON mine (a)")
        connection.execute('CREATE TEMP TABLE "a ""quoted"" name" (a)')
        connection.execute("CREATE TEMP VIEW seen AS SELECT * FROM t")
        connection.execute("CREATE TEMP TABLE t (id, name)")
        connection.execute("INSERT INTO temp.t VALUES (1, 'shadow')")
        connection.execute("CREATE TEMP TRIGGER spoil AFTER INSERT ON main.t BEGIN SELECT RAISE(ABORT, 'spoilt'); END")
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    with database.connection(readonly=readonly) as connection:
        query = "SELECT name FROM sqlite_temp_master WHERE name NOT LIKE 'sqlite%'"
        assert connection.execute(query).fetchall() == []


@SQLITE
@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("busy", [True, False])
def test_attached_databases_do_not_survive(database, readonly, busy, tmp_path):
    kept = []
    with database.connection(readonly=readonly) as connection:
        connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        connection.execute('ATTACH \':memory:\' AS "a ""quoted"" name"')
        if busy:
            # One that is being read can't be detached.
            kept.append(connection.execute("SELECT 1 FROM other.sqlite_master UNION ALL SELECT 2 UNION ALL SELECT 3"))
            kept[0].fetchone()
    with database.connection(readonly=readonly) as connection:
        listed = [row[1] for row in connection.execute("PRAGMA database_list")]
        assert listed in (["main"], ["main", "temp"])
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]


@SQLITE
def test_everything_at_once_and_a_failing_block(database, tmp_path):
    for error in (Refused("no"), KeyboardInterrupt()):
        try:
            with database.connection() as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
                connection.execute("CREATE TEMP TABLE mine (a)")
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute("BEGIN")
                connection.execute("INSERT INTO t (name) VALUES ('lost')")
                cursor = connection.execute("SELECT * FROM t")
                cursor.fetchone()
                raise error
        except (Refused, KeyboardInterrupt):
            pass
        with database.connection() as connection:
            assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert len(connection.execute("PRAGMA database_list").fetchall()) <= 2
            with pytest.raises(sqlite3.OperationalError):
                connection.execute("SELECT * FROM mine")
        assert names(database) == BEFORE


@MEMORY
def test_in_memory_the_only_connection_is_never_thrown_away(database):
    """The data would go with it."""
    for error in (Refused("no"), KeyboardInterrupt(), GeneratorExit()):
        try:
            with database.connection() as connection:
                kept = connection.execute("SELECT * FROM t")
                kept.fetchone()
                raise error
        except BaseException:
            pass
        assert names(database) == BEFORE
    for _ in range(3):
        with pytest.raises(sqlite3.Error):
            database.execute("SELECT * FROM nowhere")
        with pytest.raises(Exception, match="transaction"):
            database.execute("BEGIN")
    assert names(database) == BEFORE
    assert database.stats().pool.created == 1
    assert database.stats().pool.destroyed == 0


@FILE
def test_what_is_kept_after_the_block_is_not_lent_twice(database):
    """Statements of a connection that went back are at the user's own risk, but its cursors are not the next one's."""
    with database.connection(readonly=True) as connection:
        cursor = connection.cursor()
    with pytest.raises(sqlite3.ProgrammingError):
        cursor.execute("SELECT 1")
    assert names(database) == BEFORE


@needs_proc
@FILE
def test_what_is_discarded_is_closed(database, backend):
    names(database)
    log = f"{backend.path}-wal"
    before, logs = open_files(backend.path), open_files(log)
    for _ in range(12):
        with database.connection() as connection:
            connection.close()
        with pytest.raises(KeyboardInterrupt):
            with database.connection(readonly=True):
                raise KeyboardInterrupt
        assert names(database) == BEFORE
        add(database, "x")
        database.execute("DELETE FROM t WHERE name = 'x'")
    # Every connection has the log open, and closes it with itself. A descriptor of the file itself SQLite can't close
    # while another connection of the process has locks on it: it is kept, and used for the next one.
    when(lambda: open_files(log) <= logs)
    assert open_files(backend.path) <= before + 1


# ---------------------------------------------------------------- PostgreSQL


@POSTGRES
def test_attributes_do_not_survive_on_postgres(database, backend):
    from psycopg.rows import dict_row

    def cursor_factory(*args, **kwargs):
        pytest.fail("the next borrower's cursor is made by somebody else's factory")

    for _ in range(2):
        with database.connection() as connection:
            assert connection.autocommit
            connection.row_factory = dict_row
            connection.execute("INSERT INTO t (name) VALUES ('x')")
            connection.autocommit = False
            connection.execute("INSERT INTO t (name) VALUES ('lost')")
        with database.connection() as connection:
            connection.cursor_factory = cursor_factory
            connection.read_only = True
            connection.isolation_level = backend.driver.IsolationLevel.SERIALIZABLE
            connection.prepare_threshold = None
        [row] = database.query("SELECT 'a' AS a")
        assert row == ("a",)
        with database.connection() as connection:
            assert connection.autocommit
            assert connection.read_only is None
            assert connection.isolation_level is None
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with database.transaction() as transaction:
            assert transaction.query("SHOW transaction_isolation") == [("read committed",)]
            add(transaction, "y")
    assert names(database) == [*BEFORE, "x", "y", "x", "y"]


@POSTGRES
def test_an_unfinished_stream_does_not_survive(database):
    with database.connection() as connection:
        stream = connection.cursor().stream("SELECT generate_series(1, 100000)")
        assert next(stream)[0] == 1
    for number in range(3):
        assert database.query(f"SELECT {number} AS a") == [(number,)]
    stream.close()
    assert names(database) == BEFORE


@POSTGRES
def test_a_failed_transaction_does_not_survive(database, backend):
    with fails(backend.driver.Error):
        with database.connection() as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT * FROM nowhere")
    assert names(database) == BEFORE
    with database.connection() as connection:
        with connection.transaction():
            connection.execute("INSERT INTO t (name) VALUES ('in one')")
    assert names(database) == [*BEFORE, "in one"]


@POSTGRES
@pytest.mark.parametrize(
    "setting",
    [
        "SET statement_timeout = 1",
        "SET search_path = nowhere",
        "SET ROLE pg_monitor",
        "SET default_transaction_read_only = on",
        "CREATE TEMP TABLE t (id INTEGER, name TEXT)",
        "SELECT pg_advisory_lock(7)",
        "LISTEN channel",
    ],
)
def test_a_session_on_postgres_starts_afresh(database, backend, setting):
    with database.connection() as connection:
        connection.execute(setting)
    assert names(database) == BEFORE
    add(database, "after")
    with database.connection() as connection:
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert connection.execute(held).fetchone() == (0,)
        assert connection.execute("SELECT pg_listening_channels()").fetchall() == []
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


@POSTGRES
def test_a_pipeline_that_was_never_left(database):
    with database.connection() as connection:
        pipeline = connection.pipeline()
        pipeline.__enter__()
        connection.execute("SELECT 1")
    for _ in range(3):
        assert names(database) == BEFORE
    add(database, "after")


@POSTGRES
def test_a_copy_that_was_never_left(database):
    with database.connection() as connection:
        copy = connection.cursor().copy("COPY t (name) FROM STDIN")
        copy.__enter__().write_row(("lost",))
    for _ in range(3):
        assert names(database) == BEFORE


@POSTGRES
def test_a_cursor_of_the_servers_that_was_never_closed(database):
    with database.connection() as connection:
        connection.execute("DECLARE mine CURSOR WITH HOLD FOR SELECT * FROM t")
        connection.execute("BEGIN")
        connection.execute("DECLARE yours CURSOR FOR SELECT * FROM t")
        assert connection.execute("FETCH yours").fetchone()
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)
    assert names(database) == BEFORE


# ---------------------------------------------------------------- SQLite: what can't be seen afterwards


def deny(connection):
    connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)


def abort(connection):
    connection.set_progress_handler(lambda: 1, 1)


def limit(connection):
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 10)


def shadow(connection):
    connection.create_function("upper", 1, lambda _: "shadow")


def collate(connection):
    connection.create_collation("NOCASE", lambda a, b: 0)


@SQLITE
@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("what", [deny, abort, limit, shadow, collate], ids=lambda what: what.__name__)
def test_functions_and_limits_do_not_survive(database, backend, what, readonly):
    if backend.kind == "memory" and what in (shadow, collate):
        pytest.skip("what is registered can't be taken back, and the connection is the database")
    with database.connection(readonly=readonly) as connection:
        what(connection)
    for _ in range(2):
        assert database.query("SELECT upper(name) AS u, 'a' = 'B' COLLATE NOCASE FROM t WHERE id = 1") == [("ADA", 0)]
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    with database.transaction():
        add(database, "and more")
    with database.connection(readonly=readonly) as connection:
        assert len(connection.execute("SELECT name FROM t WHERE name <> 'nobody at all'").fetchall()) == 5


@SQLITE
def test_a_transaction_that_python_began(database):
    """The driver's own way: with an isolation level, INSERT begins one."""
    with database.connection() as connection:
        connection.isolation_level = ""
        connection.execute("INSERT INTO t (name) VALUES ('lost')")
        assert connection.in_transaction
    assert names(database) == BEFORE
    with database.connection() as connection:
        connection.execute("INSERT INTO t (name) VALUES ('kept')")
        assert not connection.in_transaction
    assert names(database) == [*BEFORE, "kept"]


@FILE
def test_an_open_blob_pins_nothing(database, backend):
    if not hasattr(sqlite3, "Blob"):
        pytest.skip("blobs came with Python 3.11")
    database.execute("CREATE TABLE file (id INTEGER PRIMARY KEY, content BLOB)")
    database.execute("INSERT INTO file VALUES (1, zeroblob(100))")
    kept = []
    for readonly in (True, False):
        with database.connection(readonly=readonly) as connection:
            kept.append(connection.blobopen("file", "content", 1, readonly=readonly))
            kept[-1].read(10)
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    assert checkpoint(backend.path)
    for blob in kept:
        with pytest.raises(sqlite3.ProgrammingError):
            blob.read(1)


@SQLITE
def test_scripts_and_backups(database, tmp_path):
    with database.connection() as connection:
        connection.executescript("BEGIN; INSERT INTO t (name) VALUES ('lost');")
    assert names(database) == BEFORE
    with database.connection(readonly=True) as connection:
        copy = sqlite3.connect(tmp_path / "copy.db")
        connection.backup(copy)
        assert copy.execute("SELECT count(*) FROM t").fetchone() == (3,)
        copy.close()
        assert len(list(connection.iterdump())) >= 4
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]


@FILE
def test_many_cursors(database, backend):
    """Kept or dropped: each is closed at the end."""
    kept = []
    with database.connection(readonly=True) as connection:
        for number in range(1000):
            cursor = connection.execute("SELECT * FROM t")
            cursor.fetchone()
            if number % 10 == 0:
                kept.append(cursor)
    add(database, "after")
    assert names(database) == [*BEFORE, "after"]
    assert checkpoint(backend.path)
    for cursor in kept:
        with pytest.raises(sqlite3.ProgrammingError):
            cursor.fetchone()


# ---------------------------------------------------------------- both faces


@runs
async def test_lending_to_tasks(connect, backend):
    async with connect(min_size=0, max_size=1) as database:
        await database.execute(backend.table())
        async with database.connection() as connection:
            connection.execute("INSERT INTO t (name) VALUES ('Ada')")
            assert borrowed(database) == 1
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t (name) VALUES ('lost')")
        assert await database.query("SELECT name FROM t") == [("Ada",)]
        async with database.connection(readonly=True) as connection:
            cursor = connection.execute("SELECT 1 UNION SELECT 2")
            assert cursor.fetchone()
            with pytest.raises(backend.driver.Error):
                connection.execute("INSERT INTO t (name) VALUES ('x')")
        await database.execute("INSERT INTO t (name) VALUES ('Grace')")
        with fails(Refused):
            async with database.connection() as connection:
                connection.execute("BEGIN")
                connection.execute("DELETE FROM t")
                raise Refused
        with pytest.raises((ValueError, TypeError)):
            await database.connection(timeout=-1).__aenter__()
        assert await database.query("SELECT name FROM t ORDER BY id") == [("Ada",), ("Grace",)]


@runs
async def test_a_block_is_entered_once(connect):
    async with connect() as database:
        block = database.plain.connection() if hasattr(database, "plain") else database.connection()
        if hasattr(block, "__enter__"):
            with block, pytest.raises(RuntimeError):
                block.__enter__()
        else:
            async with block:
                with pytest.raises(RuntimeError):
                    await block.__aenter__()
        block = database.plain.transaction() if hasattr(database, "plain") else database.transaction()
        if hasattr(block, "__enter__"):
            with block, pytest.raises(RuntimeError):
                block.__enter__()
        else:
            async with block:
                with pytest.raises(RuntimeError):
                    await block.__aenter__()


@SHARED
def test_one_who_waits_for_himself(backend):
    """In a transaction there is no second connection that writes: he is told so, and does not hang."""
    with Database(backend.url, min_size=0, max_size=1, acquire_timeout=0.1) as database:
        database.execute(backend.table())
        with database.transaction():
            database.execute("INSERT INTO t (name) VALUES ('Ada')")
            with pytest.raises((PoolTimeout, TransactionError)), database.connection():
                pytest.fail("two at once")
            database.execute("INSERT INTO t (name) VALUES ('Grace')")
        assert len(names(database)) == 2


@SQLITE
@pytest.mark.parametrize("readonly", [True, False])
def test_interrupted_while_it_is_put_in_order(database, readonly):
    """Ctrl-C may come then as well: what is not in order is not lent again, or is put in order before."""

    class Stubborn(sqlite3.Cursor):
        def close(self):
            if not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt
            super().close()

    for _ in range(3):
        interrupted, kept = [], []
        with fails(KeyboardInterrupt):
            with database.connection(readonly=readonly) as connection:
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN")
                if not readonly:
                    connection.execute("INSERT INTO t (name) VALUES ('lost')")
                kept.append(connection.cursor(Stubborn).execute("SELECT * FROM t"))
                kept[0].fetchone()
        assert borrowed(database) == 0
        assert names(database) == BEFORE
        add(database, "after")
        assert names(database) == [*BEFORE, "after"]
        database.execute("DELETE FROM t WHERE name = 'after'")
        with database.transaction():
            assert database.query("PRAGMA foreign_keys") == [(1,)]
        with database.connection(readonly=readonly) as connection:
            assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert not connection.in_transaction
