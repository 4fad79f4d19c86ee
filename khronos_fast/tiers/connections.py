"""The connections to one node, lent out one by one: in threads and in tasks alike.

This module and `conversation` are written once, as coroutines over a `Kit`, which brings what differs: sockets,
waiting, sleeping. In tasks they are what they look like. In threads every coroutine of the kit blocks instead of
suspending, so that one step runs the whole of it (`run`), and the price is that of a few plain calls.

A connection is lent to one holder at a time, and comes back only with nothing left unread on it; in any other state it
is closed. The newest one is lent first, so that those which aren't needed grow old and are cut by the server.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from redis.exceptions import ReadOnlyError

from khronos_fast.tiers.errors import Exhausted, RedisUnavailable
from khronos_fast.tiers.wire import ROLE

if TYPE_CHECKING:
    from khronos_fast.tiers.command import Node

T = TypeVar("T")


class Place:
    """The right to have a connection open."""

    __slots__ = ("__weakref__",)


class Channel(Protocol):
    """A connection to a server, with its handshake done once it is open."""

    reused: bool
    """Whether it has answered before."""
    place: Place | None
    """Its place among the connections."""

    async def open(self, deadline: float) -> None:
        """Connect and shake hands."""

    async def intact(self) -> bool:
        """Whether the peer is still there and nothing lies unread."""
        ...

    async def send(self, data: bytes, deadline: float) -> None:
        """Send it all."""

    async def receive(self, replies: list[Any], count: int) -> None:
        """Append so many replies; an error that is one command's is a reply."""

    def close(self) -> None:
        """Close it at once, whatever state it is in."""


class Waiter(Protocol):
    """Somebody who waits for a connection."""

    gift: Channel | Place | None
    """A connection, or the right to open one."""

    async def wait(self, deadline: float) -> None:
        """Come back when something is given, or time is up."""

    def wake(self) -> None:
        """Something is given."""


class Kit(Protocol):
    """What is different in threads and in tasks."""

    def channel(self, node: Node, *, sentinel: bool) -> Channel:
        """Make a channel, not yet open."""
        ...

    def waiter(self) -> Waiter:
        """Make a waiter."""
        ...

    def turn(self, deadline: float) -> AbstractAsyncContextManager[bool]:
        """Wait for one's turn to find out where the servers are; False if time is up before."""
        ...

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; in tasks, it is cancelled and TimeoutError raised after so many seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""


class Connections:
    """The connections to one node.

    A signal handler, or a finalizer, may use them while its own thread is in the midst of these very methods: it gets a
    connection, or an error when its time is up. So the lock is reentrant, and what it protects is changed in single
    steps that leave it consistent, and that may be done twice. Nor is there a counter, which would be wrong for ever
    once somebody was interrupted between taking a place and using it: a place that nobody has any more is free.
    """

    def __init__(self, node: Node, kit: Kit, limit: int, *, sentinel: bool = False, primary: bool = False) -> None:
        self.node = node
        self.sentinel = sentinel
        self._primary = primary  # sentinels look after it, so who was the primary may be one no more
        self._kit = kit
        self._limit = limit
        self._lock = threading.RLock()
        self._idle: list[Channel] = []
        self._all: weakref.WeakSet[Channel] = weakref.WeakSet()
        # Of connections that are open, or being opened; and those promised to a waiter.
        self._places: weakref.WeakSet[Place] = weakref.WeakSet()
        self._waiting: deque[Waiter] = deque()
        self._closed = False

    async def borrow(self, deadline: float, *, fresh: bool = False) -> Channel:
        """A connection: an idle one that is still good (unless a fresh one is wanted), else a new one."""
        while True:
            if self._closed:
                raise RedisUnavailable(f"the connections to {self.node} are closed")
            found = self._take(fresh)
            if found is None:
                found = await self._wait(deadline)
            if isinstance(found, Place):
                return await self._open(found, deadline)
            try:
                if await found.intact():
                    return found
            except BaseException:
                self.drop(found)
                raise
            self.drop(found)

    def _take(self, fresh: bool) -> Channel | Place | None:
        """What is free: a connection, or the place for one."""
        with self._lock:
            if self._idle and not fresh:
                try:
                    return self._idle.pop()
                except IndexError:  # a signal handler has been quicker
                    return self._take(fresh)
            if len(self._places) < self._limit:
                place = Place()
                self._places.add(place)
                if len(self._places) <= self._limit:
                    return place
                self._places.discard(place)
            if self._idle:  # a fresh one is wanted, and an old one is in its place
                with contextlib.suppress(IndexError):
                    channel = self._idle.pop()
                    self._all.discard(channel)
                    channel.close()
                    return channel.place
            return None

    async def _wait(self, deadline: float) -> Channel | Place:
        waiter = self._kit.waiter()
        with self._lock:
            self._waiting.append(waiter)
            self._hand_out()  # what came back before it stood in line
        try:
            await waiter.wait(deadline)
            gift = self._leave(waiter)
        except BaseException:
            # It may have been given something in the same moment, which the next one may have.
            self._restore(self._leave(waiter))
            raise
        if self._closed:
            self._restore(gift)
            raise RedisUnavailable(f"the connections to {self.node} are closed")
        if gift is None:
            raise Exhausted(f"all {self._limit} connections to {self.node} were in use")
        return gift

    def _leave(self, waiter: Waiter) -> Channel | Place | None:
        with self._lock:
            if waiter.gift is None:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(waiter)
            return waiter.gift  # who stands in line no more is given nothing more

    def _restore(self, found: Channel | Place | None) -> None:
        if isinstance(found, Place):
            self._free(found)
        elif found is not None:
            self.give_back(found)

    async def _open(self, place: Place, deadline: float) -> Channel:
        channel = None
        try:
            channel = self._kit.channel(self.node, sentinel=self.sentinel)
            channel.place = place
            self._all.add(channel)
            await channel.open(deadline)
            if self._primary:
                replies: list[Any] = []
                await channel.send(ROLE, deadline)
                await channel.receive(replies, 1)
                if not isinstance(replies[0], list) or replies[0][0] != b"master":
                    raise ReadOnlyError(f"{self.node} is not the primary")
        except BaseException:
            if channel is None:
                self._free(place)
            else:
                channel.place = place
                self.drop(channel)
            raise
        return channel

    def give_back(self, channel: Channel) -> None:
        """Take back a connection on which nothing is left unread."""
        channel.reused = True
        with self._lock:
            self._idle.append(channel)
            if self._waiting:
                self._hand_out()
        if self._closed:
            self.drop_idle()

    def drop(self, channel: Channel) -> None:
        """Close a connection that was borrowed."""
        self._all.discard(channel)
        try:
            channel.close()
        finally:
            self._free(channel.place)

    def drop_idle(self) -> None:
        """Close all that are idle: one of them turned out dead, and they are of one age."""
        for _ in range(len(self._idle)):
            try:
                channel = self._idle.pop()
            except IndexError:
                return
            self.drop(channel)

    def close(self) -> None:
        """Close all that are idle now, and the others as they come back. Who waits for one is told."""
        self._closed = True
        self.drop_idle()
        with self._lock:
            while self._waiting:
                with contextlib.suppress(IndexError):
                    self._waiting.popleft().wake()

    def seize(self) -> list[Channel]:
        """All connections, those in use too, for one who knows that nobody can use them any more."""
        self._closed = True
        found = list(self._all)
        self._all.clear()
        self._idle.clear()
        self._waiting.clear()
        return found

    @property
    def _count(self) -> int:
        return len(self._places)

    def _free(self, place: Place | None) -> None:
        with self._lock:
            if place is not None:
                self._places.discard(place)
            if self._waiting:
                self._hand_out()

    def _hand_out(self) -> None:  # under the lock
        while self._waiting:
            found = self._take(False)
            if found is None:
                return
            try:
                waiter = self._waiting.popleft()
            except IndexError:  # a signal handler has been quicker
                if isinstance(found, Place):
                    self._places.discard(found)
                else:
                    self._idle.append(found)
                return
            waiter.gift = found
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
