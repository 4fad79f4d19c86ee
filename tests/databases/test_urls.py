"""Where a database is: the argument, the environment, the default, and what is no address of one."""

import os
import pickle
import sqlite3
import sys
from pathlib import Path

import pytest

from khronos_fast import KhronosError
from khronos_fast.databases import AsyncDatabase, Database, DatabaseURLError

from .support import run_script

CLASSES = pytest.mark.parametrize("cls", [Database, AsyncDatabase])


def file_of(url, folder, name="made.db"):
    """Write to the database, and which files there are then."""
    with Database(url) as database:
        database.execute("CREATE TABLE t (id INTEGER)")
        database.execute("INSERT INTO t VALUES (5)")
    return sorted(path.name for path in folder.iterdir())


def holds(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT id FROM t").fetchall()
    finally:
        connection.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


def test_an_absolute_path(tmp_path):
    assert file_of(f"sqlite:///{tmp_path}/a.db", tmp_path) == ["a.db"]
    assert holds(tmp_path / "a.db") == [(5,)]


def test_a_relative_path(here):
    assert file_of("sqlite:///a.db", here) == ["a.db"]
    (here / "sub").mkdir()
    assert file_of("sqlite:///sub/b.db", here / "sub") == ["b.db"]
    assert file_of("sqlite:///./c.db", here) == ["a.db", "c.db", "sub"]


def test_a_relative_path_means_where_one_was_when_it_was_made(here, tmp_path_factory, monkeypatch):
    with Database("sqlite:///a.db", min_size=0) as database:
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        database.execute("CREATE TABLE t (id INTEGER)")
        database.execute("INSERT INTO t VALUES (5)")
        assert database.query("SELECT id FROM t") == [(5,)]
    assert holds(here / "a.db") == [(5,)]


def test_the_environment(here, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{here}/from_environment.db")
    assert file_of(None, here) == ["from_environment.db"]
    # The argument goes first.
    assert file_of(f"sqlite:///{here}/argument.db", here) == ["argument.db", "from_environment.db"]


def test_the_environment_is_read_when_it_is_made(here, monkeypatch):
    for name in ("a.db", "b.db"):
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{name}")
        assert name in file_of(None, here)


def test_the_default(here):
    assert file_of(None, here) == ["state.db"]
    with Database() as database:
        assert database.query("SELECT id FROM t") == [(5,)]


@CLASSES
def test_the_environment_says_something_wrong(cls, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://ada:swordfish@host/db")
    with pytest.raises(DatabaseURLError) as raised:
        cls()
    assert "DATABASE_URL" in str(raised.value)
    assert "swordfish" not in str(raised.value)


def test_an_empty_environment(here, monkeypatch):
    """Set to nothing is what shells have for not set; whichever it is taken for, it is said or it is the default."""
    monkeypatch.setenv("DATABASE_URL", "")
    try:
        database = Database()
    except DatabaseURLError as error:
        said = str(error)
    else:
        said = repr(database)
    assert "DATABASE_URL" in said or "state.db" in said


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory(here, url):
    assert file_of(url, here) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a%20b.db", "a b.db"),
        ("a b.db", "a b.db"),
        ("100%25.db", "100%.db"),
        ("%3Fmode=memory", "?mode=memory"),
        ("a%3Fmode%3Dro.db", "a?mode=ro.db"),
        ("a%23b.db", "a#b.db"),
        ("n%C3%A4me.db", "näme.db"),
        ("näme.db", "näme.db"),
        ("%253A.db", "%3A.db"),
        ("file:x.db", "file:x.db"),
        ("a+b.db", "a+b.db"),
        ("%3Amemory%3A.db", ":memory:.db"),
        ("a;b.db", "a;b.db"),
        ("'.db", "'.db"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows doesn't have")
def test_names_of_files(here, written, meant):
    """Percent-decoded once, and never again looked at: a name is no further address."""
    assert file_of(f"sqlite:///{written}", here) == [meant]
    assert holds(here / meant) == [(5,)]


@CLASSES
@pytest.mark.parametrize(
    "url",
    [
        "",
        "state.db",
        "/tmp/state.db",
        "mysql://ada@host/db",
        "sqlite3:///state.db",
        "sqlite",
        "sqlite:",
        "sqlite:state.db",
        "sqlite:/state.db",
        "sqlite://host/state.db",
        "sqlite://state.db",
        "postgresql",
        "postgresql:",
        "postgresql:db",
        "postgresql+psycopg://ada@host/db",
        "http://host/",
        "://",
        " sqlite:///state.db",
        "sqlite:///a%00b.db",
        "sqlite:///a\0b.db",
        "postgresql://host:port/db",
        "postgresql://host:99999/db",
        "postgresql://[::1/db",
        "postgresql://host/db?unknown=5",
        "postgresql://host/db?connect_timeout=soon",
        "postgresql://ho%zzst/db",
    ],
)
def test_what_is_no_address(cls, url, here):
    if "unknown" in url and not postgres_can_be_had():
        pytest.skip("which parameters there are is known to psycopg's library")
    with pytest.raises(DatabaseURLError) as raised:
        cls(url)
    assert isinstance(raised.value, KhronosError)
    assert isinstance(raised.value, ValueError)
    message = str(raised.value)
    # What was given, and what is wanted.
    assert url.replace("\0", "")[:8].strip() in message or "''" in message
    assert "sqlite:///" in message or "postgresql://" in message
    assert os.listdir(here) == []


@CLASSES
@pytest.mark.parametrize("url", [5, b"sqlite:///state.db", Path("state.db"), ["sqlite://"], True], ids=repr)
def test_what_is_no_text(cls, url, here):
    with pytest.raises((TypeError, DatabaseURLError)) as raised:
        cls(url)
    assert "sqlite:///" in str(raised.value) or "str" in str(raised.value)
    assert os.listdir(here) == []


@CLASSES
def test_a_folder_that_is_not_there(cls, here):
    for url in ("sqlite:///missing/state.db", f"sqlite:///{here}/missing/state.db", "sqlite:///../nowhere/x.db"):
        with pytest.raises(DatabaseURLError, match=r"missing|nowhere"):
            cls(url)
    assert os.listdir(here) == []


@CLASSES
def test_a_folder_that_is_a_file(cls, here):
    (here / "file").write_text("")
    with pytest.raises(DatabaseURLError):
        cls("sqlite:///file/state.db")


@CLASSES
def test_a_file_that_is_a_folder(cls, here):
    (here / "folder").mkdir()
    with pytest.raises(DatabaseURLError):
        cls("sqlite:///folder")
    with pytest.raises(DatabaseURLError):
        cls("sqlite:///folder/")


def test_a_file_that_is_no_database(here):
    """Seen when it is used: by SQLite, whose error reaches the borrower, and soon."""
    (here / "text.db").write_text("This is no database at all. " * 100)
    with Database("sqlite:///text.db", acquire_timeout=0.3) as database:
        with pytest.raises((sqlite3.DatabaseError, TimeoutError)) as raised:
            database.query("SELECT 1")
        error = raised.value if isinstance(raised.value, sqlite3.Error) else raised.value.__cause__
        assert isinstance(error, sqlite3.DatabaseError)
        assert "not a database" in str(error)
        assert database.stats().pool.borrowed == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="whom permissions don't stop")
def test_a_file_that_may_only_be_read(here):
    file_of("sqlite:///a.db", here)
    (here / "a.db").chmod(0o400)
    with Database("sqlite:///a.db", acquire_timeout=0.3) as database:
        with pytest.raises((sqlite3.OperationalError, TimeoutError)):
            database.execute("INSERT INTO t VALUES (1)")


@CLASSES
def test_making_one_opens_nothing(cls, here):
    cls("sqlite:///a.db")
    cls("postgresql://ada:swordfish@127.0.0.1:1/db") if postgres_can_be_had() else None
    assert os.listdir(here) == []


def postgres_can_be_had():
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("name", ["Database", "AsyncDatabase"])
def test_psycopg_is_missing(name):
    """SQLite works without it; the other says what to install, when it is made and not when it is used."""
    run_script(f"""
import sys
sys.modules["psycopg"] = None
import khronos_fast
from khronos_fast.databases import Database, {name}
for url in ("postgresql://ada:swordfish@127.0.0.1:1/db", "postgres://ada:swordfish@127.0.0.1:1/db"):
    try:
        {name}(url)
    except ImportError as error:
        assert "pip install khronos-fast[postgres]" in str(error), error
        assert "swordfish" not in repr(error)
    else:
        raise AssertionError("it can't be had")
with Database("sqlite://") as database:
    assert database.query("SELECT 1 AS one")[0]["one"] == 1
""")


def test_nothing_is_imported_that_is_not_needed():
    run_script("""
import sys
import khronos_fast
assert "psycopg" not in sys.modules
assert "sqlite3" not in sys.modules
from khronos_fast.databases import Database
assert "psycopg" not in sys.modules
with Database("sqlite://") as database:
    database.query("SELECT 1")
assert "psycopg" not in sys.modules
assert "concurrent.futures" not in sys.modules
""")


def test_both_schemes_of_postgres(server):
    _, _, rest = server.url.partition("://")
    for url in (f"postgresql://{rest}", f"postgres://{rest}"):
        with Database(url) as database:
            assert database.query("SELECT 1 AS one") == [(1,)]


# ---------------------------------------------------------------- options


@CLASSES
@pytest.mark.parametrize("option", ["create", "destroy", "validate", "reset"])
def test_options_that_are_the_databases_own(cls, option):
    with pytest.raises(TypeError, match=option):
        cls("sqlite://", **{option: lambda *_: None})


@CLASSES
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///state.db"])
@pytest.mark.parametrize(
    "options",
    [
        {"min_size": 5, "max_size": 2},
        {"max_size": 0},
        {"min_size": -1},
        {"acquire_timeout": 0},
        {"acquire_timeout": float("nan")},
        {"idle_timeout": -1},
        {"max_lifetime": 0},
        {"max_waiting": -1},
        {"validate_after_idle": -1},
        {"max_size": "5"},
        {"max_size": 2.5},
        {"acquire_timeout": "soon"},
        {"on_event": 5},
        {"pool_size": 5},
        {"name": 5},
    ],
    ids=str,
)
def test_options_that_are_wrong(cls, url, options, here):
    """Also where a database in memory would have no use for them."""
    with pytest.raises((TypeError, ValueError)) as raised:
        cls(url, **options)
    if "pool_size" in options:
        assert "pool_size" in str(raised.value)
    assert os.listdir(here) == []


@CLASSES
def test_options_are_given_by_name(cls):
    with pytest.raises(TypeError):
        cls("sqlite://", 5)


def test_options_reach_the_pool(here):
    events = []
    options = {"min_size": 0, "max_size": 3, "max_waiting": 4, "on_event": events.append, "name": "orders"}
    with Database("sqlite:///a.db", **options) as database:
        database.execute("CREATE TABLE t (id INTEGER)")
        database.query("SELECT * FROM t")
        stats = database.stats()
        assert (stats.pool.min_size, stats.pool.max_size) == (0, 3)
        assert (stats.writer.min_size <= 1, stats.writer.max_size) == (True, 1)
        assert {event.kind for event in events} >= {"created", "acquired", "released"}
        assert all("orders" in event.pool for event in events)
        assert "orders" in repr(database)
        assert database.name == "orders"


def test_a_folder_that_goes_away(here):
    """Then it is the reason why nobody can be served."""
    (here / "folder").mkdir()
    with Database("sqlite:///folder/a.db", acquire_timeout=0.2) as database:
        (here / "folder").rmdir()
        with pytest.raises(TimeoutError) as raised:
            database.query("SELECT 1")
        assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
        (here / "folder").mkdir()
        database.execute("CREATE TABLE t (id INTEGER)")


@CLASSES
def test_databases_stay_in_their_process(cls):
    with pytest.raises(TypeError):
        pickle.dumps(cls("sqlite://"))
