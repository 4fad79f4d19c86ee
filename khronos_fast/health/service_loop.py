"""The event loop of the service: there coroutines run that belong to it (checks, an async `authorize`)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any

GRACE = 0.1
"""Seconds after its time is over that a task is given to say so by itself."""


class EscapeError(Exception):
    """A task has raised what would have ended its whole loop: SystemExit, KeyboardInterrupt. It is the cause."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"a task has raised {type(error).__name__}")
        self.error = error


async def bounded(awaitable: Awaitable[Any], timeout: float) -> Any:
    """Wait for it, and not a moment longer than that: if it does not let itself be cancelled, it is left alone."""
    task = asyncio.ensure_future(_kept_in(awaitable))
    try:
        done, _pending = await asyncio.wait({task}, timeout=timeout)
    except BaseException:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise TimeoutError
    return task.result()


async def _kept_in(awaitable: Awaitable[Any]) -> Any:
    """Wait for it. What would get out of a task and end the whole loop is made an exception like others."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise EscapeError(error) from error


class ServiceLoop:
    """The loop, where it is known. Any thread may use it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def note(self) -> None:
        """The running loop serves requests: it is the service's, unless another one is that runs."""
        if self._loop is None or not self._loop.is_running():
            self.adopt()

    def adopt(self) -> None:
        """The running loop, if there is one, is the service's."""
        loop = asyncio._get_running_loop()
        if loop is not None:
            self._loop = loop

    def is_here(self) -> bool:
        """Whether the caller runs in it: then nothing else does until the caller has returned."""
        return self._loop is not None and asyncio._get_running_loop() is self._loop

    def forget(self) -> None:
        """In a forked child it does not run."""
        self._loop = None

    def begin(self, awaitable: Awaitable[Any], timeout: float) -> Task:
        """Have it run there, or in a loop of its own where there is none.

        Raises RuntimeError where a loop runs in this thread, which would stand still for it.
        """
        loop = self._loop
        if asyncio._get_running_loop() is not None:
            _close(awaitable)
            raise RuntimeError("an event loop runs in this thread, and would stand still")
        return Task(awaitable, timeout, loop if loop is not None and loop.is_running() else None)


class Task:
    """Something that runs in an event loop of another thread, for a limited time."""

    def __init__(self, awaitable: Awaitable[Any], timeout: float, loop: asyncio.AbstractEventLoop | None) -> None:
        self._awaitable = awaitable
        self._timeout = timeout
        self._loop = loop
        self._has_begun = False
        self._ended = threading.Event()
        self._coroutine = self._run()
        self._future: Future[Any] = Future()
        if loop is None:
            # Of its own, as it ends with a loop that waits for whatever has been begun in it.
            threading.Thread(target=self._run_apart, name="khronos_fast task", daemon=True).start()
            return
        try:
            self._future = asyncio.run_coroutine_threadsafe(self._coroutine, loop)
        except RuntimeError:  # it was closed a moment ago
            self._discard()
            raise

    async def _run(self) -> Any:
        self._has_begun = True
        task = asyncio.ensure_future(_kept_in(self._awaitable))
        task.add_done_callback(lambda _task: self._ended.set())
        return await bounded(task, self._timeout)

    def _run_apart(self) -> None:
        self._future.set_running_or_notify_cancel()
        try:
            value = asyncio.run(self._coroutine)
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(value)
        self._ended.set()

    def result(self) -> Any:
        """Wait for what it returns, or raise what it raises; TimeoutError when its time is over."""
        try:
            return self._future.result(self._timeout + GRACE)
        except TimeoutError:  # also of a loop that stands still
            self._future.cancel()
            raise

    def wait_for_its_end(self) -> None:
        """Wait until it has really ended: it may not let itself be cancelled. But not for a loop that has gone."""
        while not self._ended.wait(1.0):
            is_over = self._loop is not None and not self._loop.is_running()
            if is_over or (self._future.cancelled() and not self._has_begun):
                # What was cancelled before it began never will begin.
                self._discard()
                return

    def _discard(self) -> None:
        if not self._has_begun:
            self._coroutine.close()
            _close(self._awaitable)


def _close(awaitable: Awaitable[Any]) -> None:
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
