"""`AsyncTieredCache`: memory, Redis and a loader, for tasks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from khronos_fast._core.glob import Glob
from khronos_fast._core.loads import Loaded
from khronos_fast._core.task_flight import within  # type: ignore[attr-defined]  # its stub says nothing
from khronos_fast._core.task_load import load_in_task
from khronos_fast.tiers import writes
from khronos_fast.tiers.coherence import FAREWELL
from khronos_fast.tiers.decorated import AsyncDecorator, async_decorator
from khronos_fast.tiers.errors import LoaderTimeout
from khronos_fast.tiers.face import Face, keys_of, pairs_of, pattern_of
from khronos_fast.tiers.front import TaskFront
from khronos_fast.tiers.many_keys import read_many
from khronos_fast.tiers.one_key import load, read
from khronos_fast.tiers.pattern_deletion import invalidate
from khronos_fast.tiers.steps import Failed, Later, Load, Outcome, Pause, Plan, Request
from khronos_fast.tiers.tasks import run_plan_async

if TYPE_CHECKING:
    from types import TracebackType

    from khronos_fast.tiers.settings import TTL

_T = TypeVar("_T")


class AsyncTieredCache(Face, TaskFront):
    """A cache in memory, before a cache in Redis, before the function that computes what is in neither, for asyncio.

    As `TieredCache`, which see, with coroutines; its settings are the same. `loader_timeout` cancels the loader here.
    Making one with Redis connects to that once, and blocks until it has.

    >>> async def main():
    ...     async with AsyncTieredCache(memory=10_000, ttl=300) as cache:
    ...         @cache.cached("user:{user_id}:projects")
    ...         async def projects(user_id):
    ...             print("querying")
    ...             return [{"user": user_id, "name": "Analytical engine"}]
    ...         print(await projects(1) == await projects(1))
    ...         return await cache.invalidate("user:1:*")
    >>> asyncio.run(main())
    querying
    True
    1
    """

    most_refreshes = 64

    # ---------------------------------------------------------------------- reading and loading

    async def _find(self, key: str, default: Any) -> Any:
        rules = self._check_open()
        rules.full_key(key)
        known = await self._run(read(rules, key, rules.settings.memory_ttl))
        return default if known is None else known.value

    async def _load(self, key: str, loader: Callable[[], Any], ttl: TTL, memory_ttl: TTL) -> Any:
        return await self._load_shared(self._request(key, loader, ttl, memory_ttl), forced=False)

    async def refresh(
        self, key: str, loader: Callable[[], Awaitable[_T] | _T], ttl: TTL = ..., memory_ttl: TTL = ...
    ) -> _T:
        """Call the loader now, replace what is cached by what it returns, and return that.

        Where it fails, what is cached stays. What was being loaded before answers those who wait for it, and is not
        cached.
        """
        result: _T = await self._load_shared(self._request(key, loader, ttl, memory_ttl), forced=True)
        return result

    async def _load_shared(self, request: Request, *, forced: bool) -> Any:
        self._check_open()
        later: list[Later] = []
        work = self._run_load, (request, forced, later)
        try:
            return await load_in_task(self.memory, request.key, *work, "khronos_fast load", forced)
        finally:
            self._begin_later(later)

    async def _run_load(self, request: Request, forced: bool, later: list[Later]) -> Loaded:
        result = await self._run(load(self._rules, request, forced, later))
        if isinstance(result, Failed):
            try:
                raise result.error
            finally:
                del result  # or the error would refer to itself
        return result

    def _refresh_later(self, request: Request) -> bool:
        loop = asyncio.get_running_loop()
        if self._closed or not self._refreshes.begin(request.key, loop):
            return False
        self._drop_dead()
        # It is no part of the load that it is begun within, if any: nobody there waits for it.
        context = contextvars.copy_context()
        context.run(within.set, None)
        work = self._load_shared(request, forced=True)
        try:
            task = context.run(loop.create_task, work)  # a task factory of the user's may take no context
        except BaseException:
            work.close()
            self._refreshes.given_up(request.key)
            raise
        self._background.add(task)  # the loop refers to tasks weakly

        def done(task: asyncio.Task[Any]) -> None:
            self._background.discard(task)
            error = None if task.cancelled() else task.exception()
            if task.cancelled():
                self._refreshes.given_up(request.key)
            elif error is None:
                self._refreshes.loaded(request.key)
            else:
                try:
                    if not self._closed:
                        self._refreshes.log_failure(self._rules.label, error)
                finally:
                    self._refreshes.failed(request.key)

        task.add_done_callback(done)
        return True

    def _drop_dead(self) -> None:
        """Let go of the tasks whose loop was closed under them: they come to no end."""
        for task in list(self._background):
            if task.get_loop().is_closed():
                self._background.discard(task)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return those of the keys that have a value, with it. One round trip to Redis for 500 that memory misses."""
        rules = self._check_open()
        return await self._run(read_many(rules, keys_of(keys), rules.settings.memory_ttl))

    # ---------------------------------------------------------------------- writing and deleting

    async def set(self, key: str, value: Any, ttl: TTL = ..., memory_ttl: TTL = ...) -> None:
        """Store a value in both tiers: as `TieredCache.set`."""
        rules = self._check_open()
        rules.full_key(key)
        await self._run(writes.write(rules, {key: value}, *self._ttls(ttl, memory_ttl)))

    async def set_many(
        self, mapping: Mapping[str, Any] | Iterable[tuple[str, Any]], ttl: TTL = ..., memory_ttl: TTL = ...
    ) -> None:
        """Store many values in both tiers: as `TieredCache.set_many`."""
        await self._run(writes.write(self._check_open(), pairs_of(mapping), *self._ttls(ttl, memory_ttl)))

    async def delete(self, key: str) -> bool:
        """Delete a key from both tiers; True if one had it."""
        return await self._run(writes.delete(self._check_open(), [key])) > 0

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Delete keys from both tiers, and return how many either had."""
        return await self._run(writes.delete(self._check_open(), keys_of(keys)))

    async def invalidate(self, pattern: str | bytes | Glob[Any]) -> int:
        """Delete all keys that match a pattern from both tiers, and return how many: as `TieredCache.invalidate`."""
        return await self._run(invalidate(self._check_open(), pattern_of(pattern)))

    async def clear(self) -> None:
        """Delete all keys of the namespace from both tiers: `invalidate("*")`."""
        await self.invalidate("*")

    def cached(
        self, template_or_key: str | Callable[..., str], ttl: TTL = ..., memory_ttl: TTL = ...
    ) -> AsyncDecorator:
        """Decorate an `async def` function, or method, to cache what it returns: as `TieredCache.cached`."""
        self._ttls(ttl, memory_ttl)
        return async_decorator(self, template_or_key, ttl, memory_ttl)

    # ---------------------------------------------------------------------- I/O

    async def _run(self, plan: Plan[_T]) -> _T:
        return await run_plan_async(self._do, plan)

    async def _do(self, step: Any) -> Any:
        if type(step) is Load:
            return await self._call(step.loader)
        if type(step) is Pause:
            return await asyncio.sleep(step.seconds)
        assert self._rules.tier is not None
        return await self._rules.tier.call_async(step)

    async def _call(self, loader: Callable[[], Any]) -> Outcome:
        seconds = self._rules.settings.loader_timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                value = loader()
                return Outcome((await value) if inspect.isawaitable(value) else value)
        except BaseException as error:
            if seconds is None or not isinstance(error, TimeoutError) or not limit.expired():
                return Outcome(error=error)
            self._rules.counters.add("loader_timeouts")
            late = LoaderTimeout(
                f"the loader has taken longer than loader_timeout={seconds:g} seconds, and there is no last value to "
                "serve"
            )
            late.__cause__ = error
            return Outcome(error=late)

    async def close(self) -> None:
        """Forget what is in memory, end what runs in the background, and close the connections, unless it was given a
        `RedisTier`. Twice is fine.
        """
        self._forget_all()
        here = asyncio.get_running_loop()
        self._drop_dead()
        for task in list(self._background):
            loop = task.get_loop()
            if loop is here:
                task.cancel()
            else:
                with contextlib.suppress(RuntimeError):  # it has been closed just now
                    loop.call_soon_threadsafe(task.cancel)
        if self._owns_tier and self._rules.tier is not None:
            await self._rules.tier.aclose()
        if self._rules.listener is not None:
            deadline = time.monotonic() + FAREWELL
            while self._rules.listener.is_ending and time.monotonic() < deadline:
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
