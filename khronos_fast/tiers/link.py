"""A link to Redis for threads.

The time that a call may take is a point in time from which every wait is counted: for a connection, for the name to be
resolved, to connect, and for every piece that comes in. redis-py waits its time-out anew for each of them, so its
connections are given a socket that knows that point.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError

from khronos_fast.tiers.connections import run
from khronos_fast.tiers.conversation import Conversation
from khronos_fast.tiers.wire import PING, pack, pong, too_old, unavailable

if TYPE_CHECKING:
    from khronos_fast.tiers.address import Address
    from khronos_fast.tiers.command import Command, Node
    from khronos_fast.tiers.connections import Channel, Place

T = TypeVar("T")


class Link:
    """How threads reach a Redis: every call takes at most `timeout` seconds, or raises RedisUnavailable."""

    def __init__(self, address: Address, timeout: float = 0.25, max_connections: int = 50) -> None:
        self.address = address
        self.timeout = timeout
        self.max_connections = max_connections
        self._closed = False
        self._pid = os.getpid()
        self._conversation = Conversation(address, _Kit(address), max_connections)

    def __repr__(self) -> str:
        return f"<Link to {self.address}{' (closed)' if self._closed else ''}>"

    @property
    def clustered(self) -> bool:
        """Whether there are many servers, each with a part of the keys."""
        return self.address.clustered

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands and return their replies in order; an error of one command is a ResponseError in its place.

        Raises RedisUnavailable if they can't all be answered within the time.
        """
        deadline = time.monotonic() + self.timeout
        try:
            return run(self._current().ask(commands, deadline))
        except (RedisError, OSError) as error:
            raise unavailable(error, self.address, self.timeout) from error

    def ask_node(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Send the commands to one of the `primaries`, whatever their keys."""
        deadline = time.monotonic() + self.timeout
        try:
            return run(self._current().ask(commands, deadline, node))
        except (RedisError, OSError) as error:
            raise unavailable(error, self.address, self.timeout) from error

    def primaries(self, *, afresh: bool = False) -> list[Node]:
        """All servers that hold keys: on one machine, the one. `afresh`: the one that was found before has failed."""
        deadline = time.monotonic() + self.timeout
        try:
            return run(self._current().primaries(deadline, afresh=afresh))
        except (RedisError, OSError) as error:
            raise unavailable(error, self.address, self.timeout) from error

    def relocate(self) -> None:
        """Ask the Sentinels, where there are any, who is the primary, before anything else is asked."""
        self._current().relocate()

    def ping(self) -> None:
        """Come back if Redis answers, else raise RedisUnavailable."""
        pong(self.ask((PING,)), self.address)

    def close(self) -> None:
        """Close the connections: those in use as they come back."""
        self._closed = True
        self._current().close()

    def _current(self) -> Conversation:
        if self._pid != os.getpid():
            # A fork's child: the connections are the parent's. That they are dropped here closes them here only.
            conversation = Conversation(self.address, _Kit(self.address), self.max_connections)
            if self._closed:
                conversation.close()
            self._conversation = conversation
            self._pid = os.getpid()
        return self._conversation


class _Kit:
    """What `Conversation` needs, blocking."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()

    def channel(self, node: Node, *, sentinel: bool) -> Channel:
        return _Channel(self._address, node, sentinel)

    def waiter(self) -> _Waiter:
        return _Waiter()

    def turn(self, deadline: float) -> _Turn:
        return _Turn(self._lock, deadline)

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:  # noqa: ARG002 - the work knows it
        return await work

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _Turn:
    def __init__(self, lock: threading.Lock, deadline: float) -> None:
        self._lock = lock
        self._deadline = deadline
        self._mine = False

    async def __aenter__(self) -> bool:
        self._mine = self._lock.acquire(timeout=max(self._deadline - time.monotonic(), 0))
        return self._mine

    async def __aexit__(self, *_: object) -> None:
        if self._mine:
            self._lock.release()


class _Waiter:
    def __init__(self) -> None:
        self.gift: Channel | Place | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    async def wait(self, deadline: float) -> None:
        self._lock.acquire(timeout=max(deadline - time.monotonic(), 0))

    def wake(self) -> None:
        self._lock.release()


class _Channel:
    def __init__(self, address: Address, node: Node, sentinel: bool) -> None:
        options = address.options(node, sentinel=sentinel, asynchronous=False)
        kind = _UnixWire if "path" in options else _TLSWire if options.pop("tls", False) else _TCPWire
        self._connection: Any = kind(**options)
        self._sentinel = sentinel
        self.reused = False
        self.place: Place | None = None

    @property
    def greeting(self) -> dict[Any, Any]:
        """What the server said of itself in the handshake."""
        found = self._connection.handshake_metadata
        return found if isinstance(found, dict) else {}

    async def open(self, deadline: float) -> None:
        self._connection.deadline = deadline
        self._connection.connect()
        if not self._sentinel:
            too_old(self.greeting)

    async def intact(self) -> bool:
        try:
            return not self._connection.can_read()
        except Exception:
            return False

    async def send(self, data: bytes, deadline: float) -> None:
        connection = self._connection
        connection.socket.deadline = deadline
        connection.send_packed_command((data,), False)

    async def receive(self, replies: list[Any], count: int) -> None:
        read = self._connection.read_response
        for _ in range(count):
            try:
                reply = read()
            except ResponseError as error:
                reply = error.with_traceback(None)
            replies.append(reply)

    @property
    def socket(self) -> Any:
        """To be waited for, where it is not the answer to a question that comes."""
        return self._connection._sock

    def hear(self, kind: Callable[[list[Any]], Any]) -> None:
        """From now on what the server sends unasked counts as a reply, of this kind."""
        parser = self._connection._parser
        parser.set_pubsub_push_handler(kind)
        parser.set_invalidation_push_handler(kind)

    def receive_now(self) -> Any:
        """What has come: one reply. Raises ResponseError for an error, redis-py's TimeoutError if nothing whole has."""
        return self._connection.read_response(timeout=0, disconnect_on_error=False, push_request=True)

    def close(self) -> None:
        self._connection.disconnect()


def open_channel(address: Address, node: Node, deadline: float, client_name: str) -> _Channel:
    """Connect to a server, for listening to it; under a name, if the server allows that."""
    channel = _Channel(address, node, False)
    try:
        run(channel.open(deadline))
        run(channel.send(pack((b"CLIENT", b"SETNAME", client_name)), deadline))
        run(channel.receive([], 1))
    except BaseException:
        channel.close()
        raise
    return channel


def greet(address: Address, node: Node, deadline: float) -> dict[Any, Any]:
    """Connect to a server, and return what it says of itself."""
    channel = _Channel(address, node, False)
    try:
        run(channel.open(deadline))
        return channel.greeting
    finally:
        channel.close()


class _Socket:
    """A socket whose every operation ends at the deadline."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self.deadline = deadline
        self._inner = inner
        self._polling = False
        self.fileno = inner.fileno

    def settimeout(self, seconds: float | None) -> None:
        """Only that there is to be no wait at all is heeded."""
        self._polling = seconds == 0
        if self._polling:
            self._inner.settimeout(0)

    def _prepare(self) -> socket.socket:
        if not self._polling:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("out of time")
            self._inner.settimeout(left)
        return self._inner

    def recv_into(self, buffer: Any) -> int:
        return self._prepare().recv_into(buffer)

    def recv(self, *args: Any) -> bytes:
        return self._prepare().recv(*args)

    def sendall(self, data: bytes) -> None:
        if not isinstance(self._inner, ssl.SSLSocket):
            self._prepare().sendall(data)
            return
        view = memoryview(data)  # ssl's own sendall waits anew for every piece
        while view:
            view = view[self._prepare().send(view) :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _DirectConnection(Connection):
    """Connects by the deadline, however many addresses the name has and however long it takes to find them."""

    deadline: float

    def _connect(self) -> socket.socket:
        error: OSError = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, address in resolve(self.host, self.port, self.socket_type, self.deadline):
            left = self.deadline - time.monotonic()
            if left <= 0:
                break
            inner = socket.socket(family, kind, protocol)
            try:
                inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.socket_keepalive:
                    inner.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option, value in cast("Mapping[int, int]", self.socket_keepalive_options).items():
                        inner.setsockopt(socket.IPPROTO_TCP, option, value)
                inner.settimeout(left)
                inner.connect(address)
                inner.settimeout(max(self.deadline - time.monotonic(), 0.001))  # for the handshake of TLS
                return inner
            except OSError as failure:
                inner.close()
                error = failure
            except BaseException:
                inner.close()
                raise
        raise error


class _TCPWire(_DirectConnection):
    deadline: float
    socket: _Socket

    def _connect(self) -> Any:
        self.socket = _Socket(super()._connect(), self.deadline)
        return self.socket


class _TLSWire(SSLConnection, _DirectConnection):
    deadline: float
    socket: _Socket

    def _connect(self) -> Any:
        self.socket = _Socket(super()._connect(), self.deadline)  # type: ignore[no-untyped-call]
        return self.socket


class _UnixWire(UnixDomainSocketConnection):
    deadline: float
    socket: _Socket
    # redis-py asks for it when it reports an error.
    host = ""  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    port = 0

    def _connect(self) -> Any:
        self.socket_connect_timeout = max(self.deadline - time.monotonic(), 0.001)
        self.socket = _Socket(super()._connect(), self.deadline)  # type: ignore[no-untyped-call]
        return self.socket


# ---------------------------------------------------------------------- names


class _Resolution:
    """A name that is being resolved. The system's resolver takes no time-out, so a thread waits for it."""

    running: dict[tuple[Any, ...], _Resolution] = {}  # noqa: RUF012

    def __init__(self, query: tuple[Any, ...]) -> None:
        self.query = query
        # Held until it is known. Not an Event, at which a signal handler could hang that comes by in the midst of one.
        self._pending = threading.Lock()
        self._pending.acquire()
        self.found: list[Any] = []
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            host, port, kind, _ = self.query
            self.found = socket.getaddrinfo(host, port, kind, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self.error = error if isinstance(error, OSError) else OSError(f"{self.query[0]!r} is no name of a host")
        finally:
            self.end()

    def end(self, error: OSError | None = None) -> None:
        """It is over: whoever waits for it is told, and whoever comes begins anew."""
        if error is not None:
            self.error = error
        if self.running.get(self.query) is self:
            self.running.pop(self.query, None)
        with contextlib.suppress(RuntimeError):  # it is released already
            self._pending.release()

    def wait(self, deadline: float) -> bool:
        """Whether it is over by the deadline."""
        if not self._pending.acquire(timeout=max(deadline - time.monotonic(), 0)):
            return False
        with contextlib.suppress(RuntimeError):
            self._pending.release()
        return True


def resolve(host: str, port: int, family: int, deadline: float) -> list[Any]:
    """The addresses of a host, by the deadline."""
    try:
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass
    query = (host, port, family, os.getpid())
    work = _Resolution.running.get(query)
    if work is None:
        mine = _Resolution(query)
        try:
            work = _Resolution.running.setdefault(query, mine)
            if work is mine:
                threading.Thread(target=mine.run, name="khronos_fast resolver", daemon=True).start()
        except BaseException as error:  # no more threads, say: that must not be so for ever
            mine.end(OSError(f"the name {host!r} can't be resolved ({error or type(error).__name__})"))
            if not isinstance(error, Exception):
                raise
            work = mine
    if not work.wait(deadline):
        raise TimeoutError(f"the name {host!r} was not resolved in time")
    if work.error is not None:
        raise OSError(*work.error.args)
    return work.found
