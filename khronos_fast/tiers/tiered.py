"""`TieredCache`: memory, Redis and a loader, for threads."""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from khronos_fast._core.glob import Glob
from khronos_fast._core.loads import Loaded, OutOfPatience, load_in_thread
from khronos_fast.tiers import writes
from khronos_fast.tiers.decorated import Decorator, decorator
from khronos_fast.tiers.errors import LoaderTimeout
from khronos_fast.tiers.face import Face, keys_of, pairs_of, pattern_of
from khronos_fast.tiers.front import BlockingFront
from khronos_fast.tiers.many_keys import read_many
from khronos_fast.tiers.one_key import load, read
from khronos_fast.tiers.pattern_deletion import invalidate
from khronos_fast.tiers.refreshes import Refreshes, start_thread
from khronos_fast.tiers.steps import Failed, Later, Load, Outcome, Pause, Plan, Request
from khronos_fast.tiers.threads import run_plan

if TYPE_CHECKING:
    from types import TracebackType

    from khronos_fast.tiers.settings import TTL

_T = TypeVar("_T")


class TieredCache(Face, BlockingFront):
    """A cache in memory, before a cache in Redis, before the function that computes what is in neither.

    Redis that fails, is slow, restarts or answers garbage fails no call: what it does not answer, the loader does.
    After `set`, `delete` or `invalidate` has returned, this process never serves the older value, whatever was under
    way in this or another process, and whatever Redis was not reached for meanwhile. What other processes have in
    memory they keep for `memory_ttl`, or, with `coherence`, until they hear of it, which takes a millisecond or so and
    never more than a second from when Redis has been told; caches of one process that share a `RedisTier` and a
    namespace forget together.

    Args:
        memory: the most entries in memory; or a `MemoryCache`, which from then on belongs to this cache (its own ttl
            does not count: `memory_ttl` does).
        redis: a URL, a client of redis-py that lends its address and credentials, a `RedisTier` that several caches
            share; None: memory and loader only.
        namespace: what keys begin with in Redis, before a colon. Taken literally.
        ttl: seconds (int, float or timedelta) that an entry is good for; None: for ever.
        memory_ttl: the same in memory, where it is never longer than in Redis.
        stale_ttl: for how much longer the last value is kept, to be served where the loader fails or Redis can't
            answer.
        beta: how early an entry is refreshed before its time is over, in the background: 1.0 is usual, more is earlier;
            None: it is not.
        lease: the most seconds to wait for another process that is loading the same key; None: all of them load.
        loader_timeout: the most seconds to wait for another thread's load of the same key.
        coherence: "pubsub": hear of what other processes change with this package and this setting; "tracking": of all
            changes in the namespace, which Redis itself tells; None: of none. While others can't be heard, an entry
            lives in memory for a second at most. With "tracking" memory is filled by what was read from Redis, so after
            a write or a load the next read is a round trip; what is in memory only lives there for a second, too.
        codec: "json"; "pickle", with a signing key; or an object with `encode` and `decode`.
        signing_key: bytes with which pickles are signed.
        name: what logs and metrics call it.

    Raises:
        TypeError, ValueError: for settings that make no sense.
        RedisURLError, RedisUnavailable: Redis can't be reached as it is told, or does not tell of changes.

    >>> cache = TieredCache(memory=10_000, ttl=300)
    >>> @cache.cached("user:{user_id}:projects")
    ... def projects(user_id):
    ...     print("querying")
    ...     return [{"user": user_id, "name": "Analytical engine"}]
    >>> projects(1) == projects(1)
    querying
    True
    >>> cache.invalidate("user:1:*")
    1
    """

    most_refreshes = 4

    # ---------------------------------------------------------------------- reading and loading

    def _find(self, key: str, default: Any) -> Any:
        rules = self._check_open()
        rules.full_key(key)
        known = run_plan(self._do, read(rules, key, rules.settings.memory_ttl))
        return default if known is None else known.value

    def _load(self, key: str, loader: Callable[[], Any], ttl: TTL, memory_ttl: TTL) -> Any:
        return self._load_shared(self._request(key, loader, ttl, memory_ttl), forced=False)

    def refresh(self, key: str, loader: Callable[[], _T], ttl: TTL = ..., memory_ttl: TTL = ...) -> _T:
        """Call the loader now, replace what is cached by what it returns, and return that.

        Where it fails, what is cached stays. What was being loaded before answers those who wait for it, and is not
        cached.
        """
        result: _T = self._load_shared(self._request(key, loader, ttl, memory_ttl), forced=True)
        return result

    def _load_shared(self, request: Request, *, forced: bool) -> Any:
        self._check_open()
        patience = self._rules.settings.loader_timeout
        later: list[Later] = []
        work = functools.partial(self._run_load, request, forced, later)
        try:
            return load_in_thread(self.memory, request.key, work, forced, patience)
        except OutOfPatience:
            pass
        finally:
            self._begin_later(later)
        self._rules.counters.add("loader_timeouts")
        last = self._rules.last_of(request.key)
        if last is None:
            raise LoaderTimeout(
                f"another thread's load has taken longer than loader_timeout={patience:g} seconds, and there is no "
                "last value to serve"
            )
        self._rules.counters.add("stale_served")
        return last.value

    def _run_load(self, request: Request, forced: bool, later: list[Later]) -> Loaded:
        result = run_plan(self._do, load(self._rules, request, forced, later))
        if isinstance(result, Failed):
            try:
                raise result.error
            finally:
                del result  # or the error would refer to itself
        return result

    def _refresh_later(self, request: Request) -> bool:
        if self._closed or not self._refreshes.begin(request.key):
            return False
        started = start_thread(functools.partial(_refresh, weakref.ref(self), self._refreshes, request))
        if not started:
            self._refreshes.given_up(request.key)
        return started

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return those of the keys that have a value, with it. One round trip to Redis for 500 that memory misses."""
        rules = self._check_open()
        return self._run(read_many(rules, keys_of(keys), rules.settings.memory_ttl))

    # ---------------------------------------------------------------------- writing and deleting

    def set(self, key: str, value: Any, ttl: TTL = ..., memory_ttl: TTL = ...) -> None:
        """Store a value in both tiers. One round trip.

        Raises:
            CodecError: the codec does not take it; nothing has changed.
        """
        rules = self._check_open()
        rules.full_key(key)
        self._run(writes.write(rules, {key: value}, *self._ttls(ttl, memory_ttl)))

    def set_many(
        self, mapping: Mapping[str, Any] | Iterable[tuple[str, Any]], ttl: TTL = ..., memory_ttl: TTL = ...
    ) -> None:
        """Store many values in both tiers. One round trip for 500.

        Raises:
            CodecError: the codec does not take one of them; nothing has changed.
        """
        self._run(writes.write(self._check_open(), pairs_of(mapping), *self._ttls(ttl, memory_ttl)))

    def delete(self, key: str) -> bool:
        """Delete a key from both tiers; True if one had it. One round trip."""
        return self._run(writes.delete(self._check_open(), [key])) > 0

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete keys from both tiers, and return how many either had. One round trip for 500."""
        return self._run(writes.delete(self._check_open(), keys_of(keys)))

    def invalidate(self, pattern: str | bytes | Glob[Any]) -> int:
        """Delete all keys that match a pattern from both tiers; how many, of the tier that had more of them.

        The pattern is a glob as Redis has them (see `Glob`), for keys without the namespace. In Redis the time is in
        proportion to all keys of the database; it is deleted in batches, and nobody else is held up.

        Raises:
            ValueError: it is "*", with Redis and an empty namespace: it would delete what others own.
        """
        return self._run(invalidate(self._check_open(), pattern_of(pattern)))

    def clear(self) -> None:
        """Delete all keys of the namespace from both tiers: `invalidate("*")`."""
        self.invalidate("*")

    def cached(self, template_or_key: str | Callable[..., str], ttl: TTL = ..., memory_ttl: TTL = ...) -> Decorator:
        """Decorate a function, or a method, to cache what it returns.

        Args:
            template_or_key: the key, with fields for arguments: "user:{user_id}:projects". Values go in as `str` has
                them, whatever is in them; a pattern for `invalidate` is built the same way. Or a function that makes
                the key of a call's arguments.
            ttl: as for `get_or_compute`.
            memory_ttl: as for `get_or_compute`.

        Raises:
            TypeError, ValueError: at decoration, for a field that the function lacks, and for an `async` function.
        """
        self._ttls(ttl, memory_ttl)
        return decorator(self, template_or_key, ttl, memory_ttl)

    # ---------------------------------------------------------------------- I/O

    def _run(self, plan: Plan[_T]) -> _T:
        return run_plan(self._do, plan)

    def _do(self, step: Any) -> Any:
        if type(step) is Load:
            return _call(step.loader)
        if type(step) is Pause:
            return time.sleep(step.seconds)
        assert self._rules.tier is not None
        return self._rules.tier.call(step)

    def close(self) -> None:
        """Forget what is in memory, and close the connections, unless it was given a `RedisTier`. Twice is fine."""
        self._forget_all()
        if self._owns_tier and self._rules.tier is not None:
            self._rules.tier.close()
        if self._rules.listener is not None:
            self._rules.listener.wait_for_end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _call(loader: Callable[[], Any]) -> Outcome:
    try:
        value = loader()
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError("the loader is async, and TieredCache is for plain ones; use AsyncTieredCache")
        return Outcome(value)
    except BaseException as error:
        return Outcome(error=error)


def _refresh(reference: weakref.ref[TieredCache], refreshes: Refreshes, request: Request) -> None:
    """Run in a thread of its own."""
    cache = reference()
    try:
        if cache is not None:
            cache._load_shared(request, forced=True)
    except BaseException as error:
        try:
            if cache is not None and not cache._closed:
                refreshes.log_failure(cache._rules.label, error)
        finally:
            refreshes.failed(request.key)
    else:
        refreshes.loaded(request.key)
