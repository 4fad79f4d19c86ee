"""What a pool is to the bench: how it is made over connections that lead nowhere, and statements that borrow from it.

The statements are source text, as those of the caches are. Each borrows a connection and gives it back, and has a gap
where the connection is held.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from khronos_fast.bench.candidate import Candidate, Found, Missing, find
from khronos_fast.bench.connections import Connector
from khronos_fast.bench.loops import LoopMaker, awaiting_loop, coroutine_loop, put_in, timed_loop
from khronos_fast.bench.together import in_tasks, in_threads

HELD = "{held}"
"""The gap in the statements."""
PATIENCE = 30.0
"""Seconds that a borrower waits at most: the default of most rivals, and what is never reached."""
QUIET = 0.02
"""Seconds without a connection being opened after which none is on its way any more."""


class Face(Enum):
    """Whom a pool serves."""

    THREADS = "threads"
    TASKS = "tasks"


class Size(NamedTuple):
    """How many connections a pool keeps, and how many it opens at most."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Pooler(Candidate):
    """A pool: one row of the group pool."""

    build: Callable[[Any, Connector, Size], Any]
    """Makes a pool out of the imported module, or for tasks a coroutine that does."""
    cycle: str
    """The fastest documented way to borrow a connection and to give it back, with a gap, `{held}`, in between."""
    block: str
    """The same by way of a context manager; for queues, which have none, by what is written in its place."""
    methods: tuple[str, ...] = ()
    """The bound methods that the statements use."""
    face: Face = Face.THREADS
    close: Callable[[Any], Any] | None = None
    """Ends the pool; for tasks a coroutine function."""
    connects: bool = True
    """False for queues, which lend what has been put into them and never open more."""
    can_start_cold: bool = True
    """False where a pool serves nobody before it has opened the least that it keeps."""


class OpenPool:
    """A pool, what it opens its connections with, and the event loop that it lives in if it serves tasks."""

    def __init__(self, pooler: Pooler, package: Any, size: Size, seconds: float) -> None:
        self.pooler = pooler
        self.connector = Connector(seconds)
        self.make_loop: LoopMaker = timed_loop
        self.runner: asyncio.Runner | None = None
        if pooler.face is Face.TASKS:
            self.runner = asyncio.Runner()
            self.make_loop = partial(awaiting_loop, self.runner.run)
        try:
            self.pool = self._finished(pooler.build(package, self.connector, size))
        except BaseException:
            self._close_loop()
            raise

    def names(self) -> dict[str, object]:
        """The pool, and its methods that the statements call."""
        return {"pool": self.pool, **{method: getattr(self.pool, method) for method in self.pooler.methods}}

    def open(self, count: int) -> None:
        """Have so many connections open: they are borrowed by so many borrowers, all of whom hold theirs at once."""
        if self.runner is None:
            crowd = Crowd(self, "barrier.wait(patience)", barrier=threading.Barrier(count), patience=PATIENCE)
        else:
            meet = partial(asyncio.wait_for, timeout=PATIENCE)
            crowd = Crowd(self, "await meet(barrier.wait())", barrier=asyncio.Barrier(count), meet=meet)
        crowd.run([(0,)] * count)
        if self.connector.opened < count:
            raise RuntimeError(f"{count} borrowers had {self.connector.opened} connections, all at the same time")

    def settle(self) -> int:
        """Wait for what is still being opened, for whomever, and say how many connections have been opened in all."""
        end = time.monotonic() + PATIENCE
        quiet_since = time.monotonic()
        while time.monotonic() < end:
            self.turn(QUIET / 10)
            if self.connector.opening:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= QUIET:
                return self.connector.opened
        raise TimeoutError(f"connections are still being opened after {PATIENCE:g} s")

    def turn(self, seconds: float) -> None:
        """Wait, and let the event loop run meanwhile."""
        if self.runner is None:
            time.sleep(seconds)
        else:
            self.runner.run(asyncio.sleep(seconds))

    def close(self) -> None:
        """End the pool, and its event loop."""
        try:
            if self.pooler.close is not None:
                self._finished(self.pooler.close(self.pool))
        finally:
            self._close_loop()

    def _finished(self, result: Any) -> Any:
        return result if self.runner is None else self.runner.run(result)

    def _close_loop(self) -> None:
        if self.runner is not None:
            self.runner.close()


class Crowd:
    """Threads or tasks that borrow from one pool side by side."""

    def __init__(self, opened: OpenPool, held: str, before: str = "pass", **more: object) -> None:
        """`held` is done with a connection, `before` before one is asked for; `more` are names that they use."""
        self._opened = opened
        self._more = more
        statement = f"{before}\n{put_in(opened.pooler.cycle, HELD, held)}"
        make_loop: Callable[..., Any] = timed_loop if opened.runner is None else coroutine_loop
        self._loop = make_loop(statement, self._names())

    def run(self, shares: Sequence[Iterable[Any]]) -> int:
        """Nanoseconds until all have ended. Each share has one of them, who takes a turn for each thing in it."""
        runner = self._opened.runner
        if runner is None:
            # Each thread has its own bound methods: without the GIL, another's cost much more.
            return in_threads(lambda share: partial(self._loop, share, 1, self._names()), shares)
        return runner.run(in_tasks([self._loop(share, 1, self._names()) for share in shares]))

    def _names(self) -> dict[str, object]:
        return {**self._opened.names(), **self._more}


def holding_crowd(opened: OpenPool, seconds: float, waits: list[int]) -> Crowd:
    """A crowd that holds each connection for so long, and notes how many nanoseconds it has waited for it."""
    tasks = opened.runner is not None
    return Crowd(
        opened,
        f"waited(clock() - start)\n{'await ' * tasks}sleep(seconds)",
        before="start = clock()",
        clock=time.perf_counter_ns,
        waited=waits.append,
        sleep=asyncio.sleep if tasks else time.sleep,
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class PresentPooler(Found):
    """A pool whose package could be imported."""

    contender: Pooler

    def open(self, size: Size, seconds: float = 0.0) -> OpenPool:
        """Make the pool; a connection takes so many seconds to open."""
        return OpenPool(self.contender, self.package, size, seconds)

    def names(self, subject: OpenPool) -> dict[str, object]:
        """The pool and its methods."""
        return subject.names()

    def dispose(self, subject: OpenPool) -> None:
        """Close the pool."""
        subject.close()


def look_for_pooler(pooler: Pooler) -> PresentPooler | Missing:
    """Import the pool's package, or say why that does not work."""
    return find(pooler, PresentPooler)
