"""Connections that lead nowhere: what the pools are given to lend, so that only the pools are measured."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

Made = TypeVar("Made")


class Connection:
    """What pools call a connection's methods for, done at once."""

    def cursor(self) -> "Connection":
        """It stands in for its cursors as well."""
        return self

    def execute(self, *_: object) -> None:
        """Nothing."""

    def commit(self) -> None:
        """Nothing."""

    def rollback(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class AsyncConnection:
    """The same with coroutines."""

    async def execute(self, *_: object) -> None:
        """Nothing."""

    async def rollback(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""


class Connector:
    """Opens connections, counts them, and takes as long over each as it is told."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.opened = 0
        """Those that are being opened included."""
        self.opening = 0
        self._lock = threading.Lock()

    def connect(self, make: Callable[[], Made]) -> Made:
        """Open one."""
        with self._counted():
            if self.seconds:
                time.sleep(self.seconds)
            return make()

    async def connect_later(self, make: Callable[[], Made]) -> Made:
        """Open one while other tasks run."""
        with self._counted():
            if self.seconds:
                await asyncio.sleep(self.seconds)
            return make()

    def plain(self) -> Connection:
        """Open one of the usual kind: what most pools take for their factory."""
        return self.connect(Connection)

    async def plain_later(self) -> Connection:
        """The same for tasks."""
        return await self.connect_later(Connection)

    @contextmanager
    def _counted(self) -> Generator[None]:
        with self._lock:
            self.opened += 1
            self.opening += 1
        try:
            yield
        finally:
            with self._lock:
                self.opening -= 1
