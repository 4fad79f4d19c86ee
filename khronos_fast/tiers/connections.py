"""The connections to one node, lent out one by one: in threads and in tasks alike.

This module and `conversation` are written once, as coroutines over a `Kit`, which brings what differs: sockets,
waiting, sleeping. In tasks they are what they look like. In threads every coroutine of the kit blocks instead of
suspending, so that one step runs the whole of it (`run`), and the price is that of a few plain calls.

A connection is lent to one holder at a time, and comes back only with nothing left unread on it; in any other state it
is closed. The newest one is lent first, so that those which aren't needed grow old and are cut by the server.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from redis.exceptions import ReadOnlyError

from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.wire import ROLE

if TYPE_CHECKING:
    from khronos_fast.tiers.command import Node

T = TypeVar("T")


class Channel(Protocol):
    """A connection to a server, with its handshake done once it is open."""

    reused: bool
    """Whether it has answered before."""

    async def open(self, deadline: float) -> None:
        """Connect and shake hands."""

    async def intact(self) -> bool:
        """Whether the peer is still there and nothing lies unread."""

    async def send(self, data: bytes, deadline: float) -> None:
        """Send it all."""

    async def receive(self, replies: list[Any], count: int) -> None:
        """Append so many replies; an error that is one command's is a reply."""

    def close(self) -> None:
        """Close it at once, whatever state it is in."""


class Waiter(Protocol):
    """Somebody who waits for a connection."""

    gift: Channel | None
    """A connection, or None: the right to open one."""
    given: bool

    async def wait(self, deadline: float) -> None:
        """Come back when something is given, or time is up."""

    def wake(self) -> None:
        """Something is given."""


class Kit(Protocol):
    """What is different in threads and in tasks."""

    def channel(self, node: Node, *, sentinel: bool) -> Channel:
        """Make a channel, not yet open."""

    def waiter(self) -> Waiter:
        """Make a waiter."""

    def turn(self, deadline: float) -> AbstractAsyncContextManager[bool]:
        """Wait for one's turn to find out where the servers are; False if time is up before."""

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; in tasks, it is cancelled and TimeoutError raised after so many seconds."""

    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""


class Exhausted(RedisUnavailable):
    """All connections were in use all the time. The server is not to blame."""


class Connections:
    """The connections to one node."""

    def __init__(self, node: Node, kit: Kit, limit: int, *, sentinel: bool = False, primary: bool = False) -> None:
        self.node = node
        self.sentinel = sentinel
        self._primary = primary  # sentinels look after it, so who was the primary may be one no more
        self._kit = kit
        self._limit = limit
        self._lock = threading.Lock()
        self._idle: list[Channel] = []
        self._all: set[Channel] = set()
        self._count = 0  # open, being opened, or promised to a waiter
        self._waiting: deque[Waiter] = deque()
        self._closed = False

    async def borrow(self, deadline: float, *, fresh: bool = False) -> Channel:
        """A connection: an idle one that is still good (unless a fresh one is wanted), else a new one."""
        while True:
            waiter = None
            with self._lock:
                if self._closed:
                    raise RedisUnavailable(f"the connections to {self.node} are closed")
                if self._idle and not fresh:
                    channel: Channel | None = self._idle.pop()
                elif self._count < self._limit:
                    self._count += 1
                    channel = None
                elif self._idle:  # a fresh one is wanted, and an old one is in its place
                    channel = self._idle.pop()
                    self._all.discard(channel)
                    channel.close()
                    channel = None
                else:
                    waiter = self._kit.waiter()
                    self._waiting.append(waiter)
            if waiter is not None:
                channel = await self._wait(waiter, deadline)
            if channel is None:
                return await self._open(deadline)
            try:
                if await channel.intact():
                    return channel
            except BaseException:
                self.drop(channel)
                raise
            self.drop(channel)

    async def _wait(self, waiter: Waiter, deadline: float) -> Channel | None:
        try:
            await waiter.wait(deadline)
        except BaseException:
            with self._lock:
                if not waiter.given:
                    self._waiting.remove(waiter)
                    raise
            # It was given in the same moment, so the next one may have it.
            if waiter.gift is None:
                self._yield_place()
            else:
                self.give_back(waiter.gift)
            raise
        with self._lock:
            given = waiter.given
            if not given:
                self._waiting.remove(waiter)
        if given and not self._closed:
            return waiter.gift
        if given:
            self._yield_place()
            raise RedisUnavailable(f"the connections to {self.node} are closed")
        raise Exhausted(f"all {self._limit} connections to {self.node} were in use")

    async def _open(self, deadline: float) -> Channel:
        channel = None
        try:
            channel = self._kit.channel(self.node, sentinel=self.sentinel)
            self._all.add(channel)
            await channel.open(deadline)
            if self._primary:
                replies: list[Any] = []
                await channel.send(ROLE, deadline)
                await channel.receive(replies, 1)
                if not isinstance(replies[0], list) or replies[0][0] != b"master":
                    raise ReadOnlyError(f"{self.node} is not the primary")
        except BaseException:
            if channel is not None:
                self._all.discard(channel)
                channel.close()
            self._yield_place()
            raise
        return channel

    def give_back(self, channel: Channel) -> None:
        """Take back a connection on which nothing is left unread."""
        with self._lock:
            if not self._closed:
                channel.reused = True
                if self._waiting:
                    self._give(channel)
                else:
                    self._idle.append(channel)
                return
        self.drop(channel)

    def drop(self, channel: Channel) -> None:
        """Close a connection that was borrowed."""
        self._all.discard(channel)
        channel.close()
        self._yield_place()

    def drop_idle(self) -> None:
        """Close all that are idle: one of them turned out dead, and they are of one age."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._count -= len(idle)
        for channel in idle:
            self._all.discard(channel)
            channel.close()

    def close(self) -> None:
        """Close all that are idle now, and the others as they come back. Who waits for one is told."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            for waiter in waiting:
                waiter.given = True
                waiter.gift = None
                self._count += 1
        self.drop_idle()
        for waiter in waiting:
            waiter.wake()

    def seize(self) -> list[Channel]:
        """All connections, those in use too, for one who knows that nobody can use them any more."""
        self._closed = True
        found = list(self._all)
        self._all.clear()
        self._idle.clear()
        self._waiting.clear()
        return found

    def _yield_place(self) -> None:
        with self._lock:
            if self._waiting:
                self._give(None)
            else:
                self._count -= 1

    def _give(self, gift: Channel | None) -> None:  # under the lock
        waiter = self._waiting.popleft()
        waiter.gift = gift
        waiter.given = True
        waiter.wake()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, since all that it awaits blocks instead."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a coroutine that was to block has suspended")
