"""The thread that works for one connection of an `AsyncDatabase`, and what it is given to do.

A driver's statement blocks, so it is run in a thread; and always in the same one, the connection's own: one hop a
statement, in the order in which they were asked for, and however many are asked for there are no more threads than
connections. The results come back by `call_soon_threadsafe`, and with them, in the same turn of the loop, the
connection goes back to its pool. So it goes back when its statement has ended and not before, whether anybody still
waits for it or not.

Whoever stops waiting gets away at once. In the background the statement is interrupted, again and again until it has
ended: it may not have begun yet where it can be interrupted. A lock keeps that apart from the next statement.

The threads are daemons, and not those of `concurrent.futures`, which the interpreter waits for at its exit. A thread
refers to its worker only while there is something to do: so a worker that nobody knows any more, as its event loop is
gone with everything in it, is collected, closes its connection, and its thread ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from khronos_fast._core.async_pool import AsyncPool
    from khronos_fast.databases.engine import Engine
    from khronos_fast.databases.session import Session

_T = TypeVar("_T")

LONGEST_PAUSE = 0.25
"""Seconds between two interruptions of a statement. Each pause is longer than the one before, up to this."""

_Jobs: TypeAlias = "SimpleQueue[Callable[[], object] | None]"


class Worker:
    """A session and its thread: what the pool of an `AsyncDatabase` lends."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._desk = Desk(engine)
        self._jobs: _Jobs = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=_work, args=(self._jobs.get, self._desk), name=name, daemon=True).start()

    @property
    def session(self) -> Session:
        """The session. It is used by the thread only."""
        assert self._desk.session is not None
        return self._desk.session

    @property
    def connection(self) -> Any:
        """The driver's connection."""
        return self.session.connection

    async def open(self, readonly: bool) -> None:
        """Open the session."""
        await self.run(self._desk.open, readonly, stubborn=True)

    async def run(
        self,
        function: Callable[..., _T],
        *arguments: Any,
        back_to: AsyncPool[Worker] | None = None,
        stubborn: bool = False,
    ) -> _T:
        """Have the thread call a function, and wait for what it returns or raises.

        Whoever is cancelled meanwhile does not wait on. The function is interrupted then, or not even begun; but for a
        `stubborn` one, which is done in any case. When it has ended, the worker goes `back_to` its pool.
        """
        future: asyncio.Future[_T] = self._loop.create_future()
        job = Job(self, function, arguments, future, back_to)
        self._jobs.put(job.run)
        try:
            return await future
        except BaseException:
            if not stubborn:
                job.cancel()
            raise
        finally:
            # An exception refers to this frame; it must not keep what it was about alive.
            del future, job, arguments

    def post(self, function: Callable[..., object], *arguments: Any, back_to: AsyncPool[Worker] | None = None) -> None:
        """Have the thread call a function that never raises, and do not wait."""
        self._jobs.put(Job(self, function, arguments, None, back_to).run)

    def validate(self) -> Any:
        """Ask the session whether it still works: an awaitable."""
        return self.run(self._desk.engine.validate, self.session, stubborn=True)

    async def close(self) -> None:
        """Close the session and end the thread."""
        try:
            await self.run(self._desk.close, stubborn=True)
        finally:
            self._jobs.put(None)

    def __del__(self) -> None:
        self._jobs.put(None)

    def __repr__(self) -> str:
        return f"<Worker of {self._desk.session!r}>"


class Desk:
    """Where the thread has its session, which it closes in its own time when the worker is collected."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.session: Session | None = None

    def open(self, readonly: bool) -> None:
        """Open the session."""
        self.session = self.engine.open(readonly)

    def close(self) -> None:
        """Close the session, if it is open."""
        session, self.session = self.session, None
        if session is not None:
            self.engine.close(session)


def _work(next_job: Callable[[], Callable[[], object] | None], desk: Desk) -> None:
    while (job := next_job()) is not None:
        job()
        del job
    # Of a worker that nobody knows any more; nobody is there to be told what the driver says.
    with contextlib.suppress(Exception):
        desk.close()


class Job:
    """One call in a worker's thread."""

    def __init__(
        self,
        worker: Worker,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        future: asyncio.Future[Any] | None,
        back_to: AsyncPool[Worker] | None,
    ) -> None:
        self._worker: Worker | None = worker
        self._function: Callable[..., Any] | None = function
        self._arguments = arguments
        self._future = future
        self._back_to = back_to
        self._result: Any = None
        self._error: BaseException | None = None
        # An interruption is only sent inside, while the job is under way.
        self._lock = threading.Lock()
        self._is_under_way = self._is_cancelled = self._has_ended = False

    def run(self) -> None:
        """Call the function, in the worker's thread."""
        worker, function, arguments = self._worker, self._function, self._arguments
        assert worker is not None
        assert function is not None
        self._function, self._arguments = None, ()
        with self._lock:
            self._is_under_way = not self._is_cancelled
            if worker._desk.session is not None:
                worker._desk.session.interrupted = False
        if self._is_under_way:
            try:
                self._result = function(*arguments)
            except BaseException as error:
                self._error = error
            # What was asked for is gone before anybody has the answer.
            del function, arguments
        with self._lock:
            self._has_ended = True
        try:
            worker._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            # The loop has been closed. Nobody waits, and the pool has let go of the worker.
            self._forget()

    def _deliver(self) -> None:
        """Give the worker back and tell who waits, in the loop."""
        worker, back_to, future = self._worker, self._back_to, self._future
        result, error = self._result, self._error
        self._forget()
        try:
            if back_to is not None:
                assert worker is not None
                session = worker._desk.session
                back_to.release(worker, discard=session is None or not session.usable)
        finally:
            if future is not None and not future.done():
                if error is None:
                    future.set_result(result)
                elif isinstance(error, StopIteration):
                    # A future can't raise it.
                    future.set_exception(RuntimeError(f"{error!r} was raised in a statement"))
                else:
                    future.set_exception(error)
            # They are in a circle: an exception, its traceback, this frame.
            del result, error, future

    def _forget(self) -> None:
        self._worker = self._back_to = self._future = self._result = self._error = None

    def cancel(self) -> None:
        """Nobody waits any more: do not begin, or end soon. In the loop; returns at once."""
        worker = self._worker
        with self._lock:
            self._is_cancelled = True
            if not self._is_under_way or self._has_ended or worker is None:
                return
            if worker.session.prompt:
                worker.session.interrupt()
        # At the end of the interpreter no thread can be had any more; then nothing is waited for either.
        with contextlib.suppress(RuntimeError):
            threading.Thread(
                target=self._interrupt, args=(worker.session,), name="khronos_fast interrupt", daemon=True
            ).start()

    def _interrupt(self, session: Session) -> None:
        pause = session.pause
        while True:
            with self._lock:
                if self._has_ended:
                    return
                session.interrupt()
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
