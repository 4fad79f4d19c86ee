"""`cached`: the decorator that remembers what a function returned, and runs it once for all who ask at a time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from khronos_fast._core.cached_function import CachedFunction
from khronos_fast._core.memory import MemoryCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from datetime import timedelta

    from khronos_fast._core.cached_coroutine import CachedCoroutineFunction

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Decorator(Protocol):
    """What `cached(...)` returns: it keeps the signature of what it decorates, and an `async` function one."""

    @overload
    def __call__(self, function: Callable[_P, Coroutine[Any, Any, _R]], /) -> CachedCoroutineFunction[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...


@overload
def cached(cache: Callable[_P, Coroutine[Any, Any, _R]], /) -> CachedCoroutineFunction[_P, _R]: ...
@overload
def cached(cache: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...
@overload
def cached(
    cache: MemoryCache[Any, Any] | None = None,
    *,
    maxsize: int = 1000,
    ttl: float | timedelta | None = None,
    key: Callable[..., Hashable] | None = None,
    typed: bool = False,
    single_flight: bool = True,
    name: str | None = None,
) -> Decorator: ...
def cached(
    cache: Any = None,
    *,
    maxsize: int = 1000,
    ttl: float | timedelta | None = None,
    key: Callable[..., Hashable] | None = None,
    typed: bool = False,
    single_flight: bool = True,
    name: str | None = None,
) -> Any:
    """Decorate a function, plain or `async def`, or a method, to remember what it returned.

    However many threads or tasks call it at once with the same arguments, the function runs once, and all get what it
    returns or raises; what it raises is not remembered. A call whose wait would never end, as the function needs its
    own result, raises `LoaderCycle`.

    An `async` function stays one. It runs in a task of its own, for all who wait; cancelling one of them cancels that
    one, cancelling the last one cancels the run. Results are looked up when the call is awaited. A task that the
    function starts counts as part of its run, as long as that lasts: to wait there for the result of that run is a
    circle.

    Two calls are the same if their positional arguments are equal and so are their keyword arguments, in whatever
    order. The instance that a method belongs to is an argument like others, and is kept alive by what is remembered.

    The decorated function also has `cache` (the `MemoryCache`), `cache_info()`, `cache_clear()`, `cache_key(...)`,
    `cache_delete(...)` and `refresh(...)`, the last three with the arguments of a call. On a class method they want the
    class as the first one.

    Args:
        cache: a `MemoryCache` to keep results in, which functions may share; without it, each function gets its own.
        maxsize: the most results, where the function has a cache of its own.
        ttl: seconds (int, float or timedelta) that a result is remembered; None: as long as the cache does by itself.
        key: `key(*args, **kwargs)` makes a hashable key of a call's arguments; without it, all of them make the key.
        typed: whether arguments of different types are different calls even where they are equal.
        single_flight: False: every call that finds nothing runs the function.
        name: what logs and metrics call it; without it, the function's full name.

    Raises:
        TypeError, ValueError: at decoration, for generators and for settings that make no sense; TypeError at a call
            with an argument that has no hash, which it names.

    >>> @cached(ttl=60)
    ... def area(width, height):
    ...     print("computing")
    ...     return width * height
    >>> area(2, 3), area(2, 3)
    computing
    (6, 6)
    >>> area.cache_delete(2, 3), area(2, 3)
    computing
    (True, 6)
    >>> area.cache_info()
    CacheInfo(hits=1, misses=2, maxsize=1000, currsize=1)
    """
    import inspect  # it takes as long as all the rest, and who decorates nothing does not need it

    function = None
    if callable(cache) and not (isinstance(cache, type) and issubclass(cache, MemoryCache)):
        function, cache = cache, None
    if cache is not None and not isinstance(cache, MemoryCache):
        raise TypeError(f"cache must be a MemoryCache or None, not {cache!r}")
    if cache is not None and maxsize != 1000:
        raise ValueError("maxsize is for a cache of the function's own; give either that or cache=")
    # Makes sure of its own arguments, here rather than when the decorator is applied.
    MemoryCache(maxsize, ttl, name=name)
    if key is not None and not callable(key):
        raise TypeError(f"key must be callable or None, not {type(key).__name__}")
    if key is not None and is_any(inspect.iscoroutinefunction, key):
        raise TypeError("key must be a plain function: it is called before there is anything to wait for")
    if key is not None and typed:
        raise ValueError("typed is about the arguments, of which key= makes what it likes; give either")
    for setting, value in {"typed": typed, "single_flight": single_flight}.items():
        if not isinstance(value, bool):
            raise TypeError(f"{setting} must be True or False, not {value!r}")
    decorator = functools.partial(
        _decorate,
        cache=cache,
        maxsize=maxsize,
        ttl=ttl,
        key=key,
        typed=typed,
        single_flight=single_flight,
        name=name,
    )
    return decorator if function is None else decorator(function)


def _decorate(function: Callable[..., Any], /, **settings: Any) -> Any:
    import inspect

    if not callable(function):
        raise TypeError(f"cached needs a function to decorate, not {type(function).__name__}")
    if is_any(inspect.isgeneratorfunction, function) or is_any(inspect.isasyncgenfunction, function):
        raise TypeError(
            f"{function!r} is a generator: it could be run through only once; return a list or a tuple instead"
        )
    kind: type[CachedFunction[..., Any]] = CachedFunction
    if is_any(inspect.iscoroutinefunction, function):
        # Here, as it imports asyncio, which nobody else needs.
        from khronos_fast._core.cached_coroutine import CachedCoroutineFunction

        kind = CachedCoroutineFunction
    memo: Any = functools.update_wrapper(kind(function, **settings), function)
    if not hasattr(function, "__name__"):
        memo.__name__ = memo.__qualname__ = memo.name
    return memo


def is_any(what: Callable[[Any], bool], function: Any) -> bool:
    """Whether this holds for a function or, where it is an instance that can be called, for how that is called."""
    return what(function) or (not isinstance(function, type) and what(type(function).__call__))
