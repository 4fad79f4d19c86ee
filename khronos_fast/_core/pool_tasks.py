"""The tasks that work for an `AsyncPool`: they open, validate, clean and close its resources; a timer keeps its alarm.

They belong to the pool and not to whoever made it need them. So no borrower's cancellation reaches them, they do not
inherit a borrower's context, and they refer to the pool weakly while functions of its user run.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


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

    def _begin(self, count: int) -> None:
        assert self.loop is not None
        if self.loop.get_task_factory() is not None:
            # It may begin tasks at once; a job that begins others would then run within them.
            for _ in range(count):
                self.loop.call_soon(self._run, self._work, self._pool)
        else:
            for _ in range(count):
                self._run(self._work, self._pool)

    def _run(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        assert self.loop is not None
        task = self.loop.create_task(function(*arguments), name=self._label, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # an interrupt, which the loop has raised; nobody else is going to ask for it
            return
        pool = self._pool()
        if pool is not None and self.loop is not None and not self.loop.is_closed():
            pool._worker_gone()

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
    from khronos_fast._core.pool_events import log_failure

    try:
        result = destroy(resource)
        if hasattr(result, "__await__"):
            await result
    except Exception:
        log_failure(label, "destroy")
