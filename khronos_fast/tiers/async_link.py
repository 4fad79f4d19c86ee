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
    from khronos_fast.tiers.connections import Channel

T = TypeVar("T")


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
        return self._conversation.clustered

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

    async def ping(self) -> None:
        """Come back if Redis answers, else raise RedisUnavailable."""
        pong(await self.ask((PING,)), self.address)

    async def close(self) -> None:
        """Close the connections: those in use as they come back."""
        if self._loop is None:
            self._conversation.close()
            return
        self._check_loop()
        self._conversation.close()
        await asyncio.sleep(0)  # the transports say good-bye to the loop

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
            async with asyncio.timeout(self.timeout):
                return await work
        except (RedisError, OSError) as error:
            raise unavailable(error, self.address, self.timeout) from error

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._pid != os.getpid():
            if self._loop is not None:
                raise WrongLoop(f"{self!r} belongs to another event loop; make one for each")
            self._loop = loop


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
        async with asyncio.timeout(seconds):
            return await work

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
        self.gift: Channel | None = None
        self.given = False
        self._future = asyncio.get_running_loop().create_future()

    async def wait(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._future

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class _Channel:
    def __init__(self, address: Address, node: Node, sentinel: bool, shared: dict[str, Any]) -> None:
        options = address.options(node, sentinel=sentinel, asynchronous=True)
        kind: Any = UnixDomainSocketConnection if "path" in options else Connection
        if options.pop("tls", False):
            kind = SSLConnection
        self._connection: Any = kind(**options)
        self.reused = False
        if kind is SSLConnection:
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
        await self._connection.send_packed_command((data,), False)

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
