"""The password in a URL stays there: no error, log line, representation or record of ours or the driver's has it."""

import asyncio
import contextlib
import logging
import socket
import threading

import pytest

from khronos_fast.databases import AsyncDatabase, Database, DatabaseURLError

from .conftest import NEEDED, PASSWORD, USER
from .support import chain, drive, told

pytest.importorskip("psycopg", reason=NEEDED, exc_type=ImportError)

SECRET = "swordfish"

FACES = pytest.mark.parametrize("face", ["plain", "async"])


@pytest.fixture(autouse=True)
def listened(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def failure(face, url, sql="SELECT 1", **options):
    """What using the database came to, and everything that could be printed about it."""
    options = {"acquire_timeout": 0.3, "min_size": 0} | options
    printed = []

    def on_event(event):
        printed.append(repr(event) + str(event))
        if event.error is not None:
            printed.append(told(event.error))

    def look(database):
        printed.extend([repr(database), str(database), repr(database.stats()), repr(database.stats().as_dict())])
        printed.extend(thread.name for thread in threading.enumerate())

    # Whoever is still connecting is not waited for.
    async def use_async():
        database = AsyncDatabase(url, on_event=on_event, **options)
        try:
            await database.query(sql)
        finally:
            look(database)
            await database.close(timeout=0.2)

    def use():
        database = Database(url, on_event=on_event, **options)
        try:
            database.query(sql)
        finally:
            look(database)
            database.close(timeout=0.2)

    error = None
    try:
        asyncio.run(use_async()) if face == "async" else use()
    except Exception as raised:
        error = raised
        printed.append(told(raised))
    return error, "\n".join(printed)


def logged(caplog):
    formatter = logging.Formatter()
    return "\n".join(formatter.format(record) + repr(record.args) for record in caplog.records)


def discreet(text, *secrets):
    for secret in secrets:
        where = text.find(secret)
        assert where < 0, f"{secret!r} is in: ...{text[max(0, where - 200) : where + 100]}..."


@contextlib.contextmanager
def silent():
    """A port where somebody listens and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@FACES
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@127.0.0.1:1/db",
        f"postgresql://ada:{SECRET}@no-such-host.invalid/db",
        f"postgresql://ada:{SECRET}@/db?host=/nowhere/at/all",
        f"postgresql://127.0.0.1:1/db?user=ada&password={SECRET}",
        f"postgresql://ada:{SECRET}@127.0.0.1:1,127.0.0.1:2/db",
        f"postgresql://ada:{SECRET}@127.0.0.1:1/db?sslpassword={SECRET}&sslmode=prefer",
        f"postgres://:{SECRET}@127.0.0.1:1",
        f"postgresql://ada:{SECRET}@127.0.0.1:1/db?connect_timeout=2",
    ],
)
def test_a_server_that_is_not_there(face, url, listened):
    error, printed = failure(face, url)
    assert isinstance(error, TimeoutError)
    # The driver's own words reach the user, without the secret.
    causes = [each for each in chain(error) if type(each).__module__.startswith("psycopg")]
    assert causes or error.__cause__ is not None
    discreet(printed, SECRET)
    discreet(logged(listened), SECRET)


@FACES
def test_a_server_that_does_not_answer(face, listened):
    with silent() as port:
        error, printed = failure(face, f"postgresql://ada:{SECRET}@127.0.0.1:{port}/db", acquire_timeout=0.2)
    assert isinstance(error, TimeoutError)
    discreet(printed, SECRET)
    discreet(logged(listened), SECRET)


@FACES
def test_a_wrong_password(face, own_server, listened):
    with own_server.database() as name:
        error, printed = failure(face, own_server.url_of(name, user=f"{USER}:{SECRET}"))
        assert isinstance(error, TimeoutError)
        assert "password authentication failed" in str(error.__cause__)
        discreet(printed, SECRET)
        discreet(logged(listened), SECRET)


@FACES
def test_a_right_password(face, own_server, listened):
    with own_server.database() as name:
        url = own_server.url_of(name, user=f"{USER}:{PASSWORD}")
        error, printed = failure(face, url)
        assert error is None
        discreet(printed, PASSWORD)
        error, printed = failure(face, url, "SELECT * FROM nowhere")
        assert "nowhere" in str(error)
        discreet(printed, PASSWORD)
        discreet(logged(listened), PASSWORD)


@FACES
def test_a_database_that_is_not_there(face, own_server, listened):
    error, printed = failure(face, own_server.url_of("nowhere", user=f"{USER}:{PASSWORD}"))
    assert "nowhere" in told(error)
    discreet(printed, PASSWORD)
    discreet(logged(listened), PASSWORD)


# What is no URL, or not the one that was meant: parts of it land where nobody expects a password.
ODD = [
    (f"mysql://ada:{SECRET}@host/db", [SECRET]),
    (f"postgresql+psycopg://ada:{SECRET}@host/db", [SECRET]),
    (f"postgresql:/ada:{SECRET}@host/db", [SECRET]),
    (f"postgresql:ada:{SECRET}@host/db", [SECRET]),
    (f"postgresql//ada:{SECRET}@host/db", [SECRET]),
    (f"ada:{SECRET}@host/db", [SECRET]),
    (f" postgresql://ada:{SECRET}@host:port/db", [SECRET]),
    (f"sqlite://ada:{SECRET}@host/db", [SECRET]),
    (f"POSTGRESQL://ada:{SECRET}@host:x/db", [SECRET]),
    # Characters that ought to have been escaped.
    ("postgresql://ada:mackerel/halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel?halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel#halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel@halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel:halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel[halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel]halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel%zzhalibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel%00halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel\nhalibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel\\halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("postgresql://ada:mackerel\u2100halibut@127.0.0.1:1/db", ["mackerel", "halibut"]),
    ("mysql://ada:mackerel/halibut@host/db", ["mackerel", "halibut"]),
    ("mysql://ada:mackerel?halibut@host/db", ["mackerel", "halibut"]),
    ("mysql://ada:mackerel@halibut@host/db", ["mackerel", "halibut"]),
    # Escaped: neither as it is written nor as it is meant.
    (
        "postgresql://ada:mackerel%40halibut@127.0.0.1:1/db",
        ["mackerel%40halibut", "mackerel@halibut", "mackerelhalibut", "mackerel"],
    ),
    ("postgresql://ada:s%77ordfish@127.0.0.1:1/db", ["s%77ordfish", "swordfish"]),
    ("postgresql://127.0.0.1:1/db?user=ada&password=mackerel%40halibut", ["mackerel"]),
    ("postgresql://127.0.0.1:1/db?password=swordfish;x", ["swordfish"]),
    ("postgresql://127.0.0.1:1/db?passwd=swordfish", ["swordfish"]),
    ("postgresql://127.0.0.1:1/db?passwrod=swordfish", ["swordfish"]),
    ("postgresql://127.0.0.1:1/db?user=ada&pwd=swordfish", ["swordfish"]),
    ("postgresql://127.0.0.1:1/db?pass%77ord=swordfish", ["swordfish"]),
    ("postgresql://127.0.0.1:1/db?PASSWORD=swordfish", ["swordfish"]),
    ("postgresql://127.0.0.1:port/db?password=swordfish", ["swordfish"]),
    ("postgresql://ada:swordfish@127.0.0.1:1/db?unknown=5", ["swordfish"]),
    ("postgresql://ada:swordfish@127.0.0.1:1/db?connect_timeout=soon", ["swordfish"]),
    ("postgresql://ada:swordfish@127.0.0.1:1/db?password=mackerel%zzhalibut", ["mackerel", "halibut"]),
]


@FACES
@pytest.mark.parametrize(("url", "secrets"), ODD, ids=[url for url, _ in ODD])
def test_odd_urls(face, url, secrets, listened):
    """Refused, or taken and then failing: either way nobody reads the password."""
    error, printed = failure(face, url, acquire_timeout=0.1)
    assert error is not None
    discreet(printed, *secrets)
    discreet(logged(listened), *secrets)


@FACES
def test_the_environment(face, monkeypatch, listened):
    monkeypatch.setenv("DATABASE_URL", f"mysql://ada:{SECRET}@host/db")
    error, printed = failure(face, None)
    assert isinstance(error, DatabaseURLError)
    discreet(printed, SECRET)


def test_what_is_masked_can_still_be_recognised():
    with Database(f"postgresql://ada:{SECRET}@127.0.0.1:1/accounts", min_size=0) as database:
        assert "127.0.0.1" in repr(database)
        assert "accounts" in repr(database)
        discreet(repr(database), SECRET)


def test_a_secret_that_is_a_part_of_everything():
    """A short password is not looked for in texts and starred out: it would be told by the stars."""
    with Database("postgresql://ada:a@127.0.0.1:1/accounts", min_size=0) as database:
        assert "127.0.0.1" in repr(database)
        assert "accounts" in repr(database)
        assert "ada" in repr(database)


def test_an_object_that_is_looked_at(own_server):
    """Whatever is printed while all is well."""
    with own_server.database() as name:
        with Database(own_server.url_of(name, user=f"{USER}:{PASSWORD}"), min_size=0) as database:
            with database.connection() as connection:
                discreet(repr(connection), PASSWORD)
            database.query("SELECT 1")
            discreet(repr(database), PASSWORD)
            discreet(repr(database.stats()), PASSWORD)


def test_cancelled_while_it_connects(listened):
    async def main():
        with silent() as port:
            database = AsyncDatabase(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/db", min_size=0)
            task = asyncio.create_task(database.query("SELECT 1"))
            await asyncio.sleep(0.1)
            discreet(repr(task), SECRET)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await database.close(timeout=0.5)

    drive(main, leftovers=True)
    discreet(logged(listened), SECRET)
