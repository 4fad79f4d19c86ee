"""The tasks that work for an `AsyncPool`: they open, validate, clean and close its resources; a timer keeps its alarm.

They belong to the pool and not to whoever made it need them. So no borrower's cancellation reaches them, they do not
inherit a borrower's context, and they refer to the pool weakly while functions of its user run.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from khronos_fast._core.pool_events import log_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


PAUSE = 0.05
"""Seconds without new tasks after one has been cancelled: a loop that comes to its end cancels all, and waits for none
that is begun later."""


class TaskCrew:
    """The tasks of one pool, in one event loop."""

    def __init__(self, pool: Any, work: Callable[..., Coroutine[Any, Any, None]]) -> None:
        self._pool = weakref.ref(pool)
        self._work = work
        self._label = "khronos_fast pool" if pool.name is None else f"khronos_fast pool {pool.name}"
        self._context = contextvars.copy_context()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def call(self, count: int) -> bool:
        """Have that many tasks look for jobs. False if there is no loop for them."""
        return self._in_loop(self._begin, count)

    def set_alarm(self, seconds: float) -> bool:
        """Have the pool look again in so many seconds."""
        return self._in_loop(self._set_timer, seconds)

    def close_all(self, destroy: Callable[[Any], Any], resources: list[Any]) -> None:
        """Destroy what a pool has left behind that is no more."""
        self._in_loop(self._begin_closing, destroy, resources)

    def dismiss(self) -> None:
        """No alarm is wanted any more."""
        if self._timer is not None:
            self._in_loop(self._cancel_timer)

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> bool:
        loop = self.loop
        if loop is None or loop.is_closed():
            return False
        if asyncio._get_running_loop() is loop:
            function(*arguments)
            return True
        try:
            loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # it has been closed in this very moment
            return False
        return True

    def pause_if_cancelled(self, task: asyncio.Task[None] | None = None) -> None:
        """Begin no task for a moment where this one has been cancelled, maybe as the loop comes to its end."""
        if self.loop is None or self.loop.is_closed() or self._paused:
            return
        task = task or asyncio.current_task(self.loop)
        if task is not None and task.cancelling():
            self._paused = True
            self.loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._paused = False

    def _begin(self, count: int) -> None:
        assert self.loop is not None
        if self._paused:
            self.loop.call_later(PAUSE, self._begin, count)
            return
        for _ in range(count):
            if self.loop.get_task_factory() is None:
                self._run(self._work, self._pool)
            else:
                # It may begin tasks at once; a job that begins others would then run within them.
                self.loop.call_soon(self._run, self._work, self._pool)

    def _run(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        assert self.loop is not None
        coroutine = function(*arguments)
        try:
            # Whatever factory the loop has, it takes a coroutine.
            task = self._context.copy().run(self.loop.create_task, coroutine)
        except BaseException:
            coroutine.close()
            self._report(False)
            raise
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.pause_if_cancelled(task)
        else:
            error = task.exception()
            if error is None:
                return
            if isinstance(error, Exception):
                log_failure(self._label, "a task", error)
        # It may not even have begun.
        self._report(True)

    def _report(self, again: bool) -> None:
        pool = self._pool()
        if pool is not None and self.loop is not None and not self.loop.is_closed():
            pool._worker_gone(again)

    def _begin_closing(self, destroy: Callable[[Any], Any], resources: list[Any]) -> None:
        for resource in resources:
            self._run(_destroy, destroy, resource, self._label)

    def _set_timer(self, seconds: float) -> None:
        assert self.loop is not None
        due = self.loop.time() + seconds
        if self._timer is None or due < self._timer.when():
            self._cancel_timer()
            self._timer = self.loop.call_at(due, self._ring)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        pool = self._pool()
        if pool is not None:
            pool._look_again()


async def _destroy(destroy: Callable[[Any], Any], resource: Any, label: str) -> None:
    try:
        result = destroy(resource)
        if hasattr(result, "__await__"):
            await result
    except Exception:
        log_failure(label, "destroy")
