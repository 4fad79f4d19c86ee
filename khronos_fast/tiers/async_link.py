"""A link to Redis for tasks: the same as `Link`, with coroutines, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError

from khronos_fast._core.errors import WrongLoop
from khronos_fast.tiers.conversation import Conversation
from khronos_fast.tiers.wire import PING, pong, unavailable

if TYPE_CHECKING:
    from khronos_fast.tiers.address import Address
    from khronos_fast.tiers.command import Command, Node
    from khronos_fast.tiers.connections import Channel, Place

T = TypeVar("T")

LATE = 0.02
"""Seconds by which the loop may be late without having been busy with something else."""
GRACE = 0.1
"""Seconds that a call may take longer, at most, if the loop was busy."""


class AsyncLink:
    """How the tasks of one event loop reach a Redis: every call takes at most `timeout` seconds, or raises
    RedisUnavailable. A call that is cancelled closes the connection that it was using.
    """

    def __init__(self, address: Address, timeout: float = 0.25, max_connections: int = 50) -> None:
        self.address = address
        self.timeout = timeout
        self.max_connections = max_connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._conversation = Conversation(address, _Kit(address), max_connections)

    def __repr__(self) -> str:
        return f"<AsyncLink to {self.address}>"

    @property
    def clustered(self) -> bool:
        """Whether there are many servers, each with a part of the keys."""
        return self.address.clustered

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands and return their replies in order; an error of one command is a ResponseError in its place.

        Raises RedisUnavailable if they can't all be answered within the time.
        """
        return await self._bounded(self._conversation.ask(commands, time.monotonic() + self.timeout))

    async def ask_node(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Send the commands to one of the `primaries`, whatever their keys."""
        return await self._bounded(self._conversation.ask(commands, time.monotonic() + self.timeout, node))

    async def primaries(self) -> list[Node]:
        """All servers that hold keys: on one machine, the one."""
        return await self._bounded(self._conversation.primaries(time.monotonic() + self.timeout))

    def relocate(self) -> None:
        """Ask the Sentinels, where there are any, who is the primary, before anything else is asked.

        The one thing that may be called from any thread.
        """
        self._conversation.relocate()

    async def ping(self) -> None:
        """Come back if Redis answers, else raise RedisUnavailable."""
        pong(await self.ask((PING,)), self.address)

    async def close(self) -> None:
        """Close the connections: those in use as they come back."""
        if self._loop is None:
            self._conversation.close()
            return
        self._check_loop()
        self.shut()
        await asyncio.sleep(0)  # the transports say good-bye to the loop

    def shut(self) -> None:
        """Close the connections, from within the loop, and do not wait until it is done."""
        self._conversation.close()

    def discard(self) -> None:
        """Free all sockets, where the loop is closed (or the parent's, before a fork) and nobody can use them."""
        for group in self._conversation.groups():
            for channel in group.seize():
                assert isinstance(channel, _Channel)
                channel.free()
        self._conversation.close()

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            self._check_loop()
        except BaseException:
            work.close()
            raise
        try:
            return await _within(self.timeout, work)
        except (RedisError, OSError) as error:
            raise unavailable(error, self.address, self.timeout) from error

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._pid != os.getpid():
            if self._loop is not None:
                raise WrongLoop(f"{self!r} belongs to another event loop; make one for each")
            self._loop = loop


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, or raise TimeoutError after so many seconds, which are those of the server.

    Where the loop itself was busy when they were over, the answer may lie there unread, and nobody is to blame for it
    but the loop: so then the work has another moment, as long as the loop was late, to take it.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    excused = False
    handle: asyncio.TimerHandle

    def over() -> None:
        nonlocal handle, excused
        late = loop.time() - end
        if late > LATE and not excused:
            excused = True
            handle = loop.call_later(min(late, GRACE), over)
        else:
            # In the next turn: who has waited for a connection until now is to say that himself.
            scope.reschedule(loop.time())

    async with asyncio.timeout(None) as scope:
        handle = loop.call_at(end, over)
        try:
            return await work
        finally:
            handle.cancel()


class _Kit:
    """What `Conversation` needs, in tasks."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = asyncio.Lock()
        self._shared: dict[str, Any] = {}

    def channel(self, node: Node, *, sentinel: bool) -> Channel:
        return _Channel(self._address, node, sentinel, self._shared)

    def waiter(self) -> _Waiter:
        return _Waiter()

    def turn(self, deadline: float) -> _Turn:  # noqa: ARG002 - the whole call is bounded
        return _Turn(self._lock)

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        return await _within(seconds, work)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Turn:
    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> bool:
        return await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class _Waiter:
    def __init__(self) -> None:
        self.gift: Channel | Place | None = None
        self._future = asyncio.get_running_loop().create_future()

    async def wait(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._future

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


async def _write(connection: Any, data: bytes) -> None:
    """Send it all, if the connection is still open.

    redis-py calls `writelines`, which since CPython 3.12 doesn't look whether the transport has lost its connection,
    and registers a writer for a socket that is about to be closed. The next socket gets the same number, and the
    selector never reports it: its `sock_connect` hangs. `write` does look, but is not relied on: what is closing
    already can't be written to.
    """
    writer = connection._writer
    if writer is None or writer.transport.is_closing():
        raise ConnectionResetError("the connection was closed while it was idle")
    writer.write(data)
    await writer.drain()


class _Wire:
    """For the handshake too, which redis-py sends by itself."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ARG002
        if isinstance(command, str):
            command = command.encode()
        await _write(self, command if isinstance(command, bytes) else b"".join(command))


class _TCPWire(_Wire, Connection):
    pass


class _TLSWire(_Wire, SSLConnection):
    pass


class _UnixWire(_Wire, UnixDomainSocketConnection):
    pass


class _Channel:
    def __init__(self, address: Address, node: Node, sentinel: bool, shared: dict[str, Any]) -> None:
        options = address.options(node, sentinel=sentinel, asynchronous=True)
        kind: Any = _UnixWire if "path" in options else _TCPWire
        if options.pop("tls", False):
            kind = _TLSWire
        self._connection: Any = kind(**options)
        self.reused = False
        self.place: Place | None = None
        if kind is _TLSWire:
            # To read the certificates takes longer than to connect, so it is done once.
            name = "sentinel" if sentinel else "redis"
            self._connection.ssl_context = shared.setdefault(name, self._connection.ssl_context)

    async def open(self, deadline: float) -> None:  # noqa: ARG002 - the whole call is bounded
        await self._connection.connect()

    async def intact(self) -> bool:
        try:
            return not await self._connection.can_read()
        except Exception:
            return False

    async def send(self, data: bytes, deadline: float) -> None:  # noqa: ARG002
        await _write(self._connection, data)

    async def receive(self, replies: list[Any], count: int) -> None:
        read = self._connection.read_response
        for _ in range(count):
            try:
                reply = await read()
            except ResponseError as error:
                reply = error.with_traceback(None)
            replies.append(reply)

    def close(self) -> None:
        writer = self._take()
        if writer is not None:
            writer.transport.abort()

    def free(self) -> None:
        """Close the socket behind the back of a loop that can't do it any more.

        Nothing is asked of the loop: it is closed, or is a copy of the parent's, whose selector it would still reach.
        """
        writer = self._take()
        if writer is None:
            return
        transport = writer.transport
        protocol = getattr(transport, "_ssl_protocol", None)
        if protocol is not None:  # TLS: a transport over another one
            transport._closed = True
            transport = protocol._transport
        inner = getattr(transport, "_sock", None)
        if inner is None:  # not asyncio's own: its loop closed it when it was closed itself
            with contextlib.suppress(Exception):
                transport.abort()
            return
        inner.close()
        transport._sock = None
        transport._closing = True

    def _take(self) -> Any:
        """The stream, if there is one, that then nobody uses any more. It complains if it dies before its transport."""
        connection = self._connection
        writer = connection._writer
        if writer is None:
            return None
        connection._writer = connection._reader = None
        connection._parser.on_disconnect()
        return writer
