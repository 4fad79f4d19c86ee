"""What `TieredCache.cached(...)` and `AsyncTieredCache.cached(...)` make of a function.

A decorated function is an object, and no function around a function, so that the method of an instance can tell what is
that instance's (`shop.orders.cache_delete(...)`). All that it does itself is to make the key; the cache does the rest,
and what the cache returns, a value or a coroutine, is what the call returns. So one class does for both kinds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from types import GenericAlias, MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, overload

from khronos_fast._core.cached import is_any
from khronos_fast.tiers.template import KeyFunction, Template, name_of, parameters_of

if TYPE_CHECKING:
    from khronos_fast.tiers.settings import TTL

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_D = TypeVar("_D")
_D_co = TypeVar("_D_co", covariant=True)
_S = TypeVar("_S")

_Kind = Literal["function", "class method", "static method"]


class DecoratedFunction(Generic[_P, _R_co, _D_co]):
    """What `cached` of a tiered cache makes of a function: call it as the function itself.

    It has the name, documentation and signature of the function, and the function as `__wrapped__`. An `async` function
    stays one, and what `cache_delete` and `refresh` return is to be awaited too.
    """

    def __init__(
        self,
        function: Callable[_P, _R_co],
        cache: Any,
        key: Template | KeyFunction,
        ttl: TTL,
        memory_ttl: TTL,
        kind: _Kind = "function",
    ) -> None:
        functools.update_wrapper(self, function)
        if not hasattr(function, "__name__"):
            self.__name__ = self.__qualname__ = name_of(function)
        if is_any(inspect.iscoroutinefunction, function):
            # By these, `inspect` knows it as a coroutine function too.
            self.__code__ = _coroutine_function.__code__
            self.__defaults__ = self.__kwdefaults__ = None
        self._function = function
        self._cache = cache
        self._key = key
        self._make = key.make
        self._ttl = ttl
        self._memory_ttl = memory_ttl
        self._kind = kind

    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        key = self._make(*args, **kwargs)
        loader = functools.partial(self._function, *args, **kwargs)
        result: _R_co = self._cache.get_or_compute(key, loader, ttl=self._ttl, memory_ttl=self._memory_ttl)
        return result

    @property
    def cache(self) -> Any:
        """The tiered cache that keeps the results."""
        return self._cache

    def cache_key(self, /, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """Return the key in `cache` of a call with these arguments."""
        return self._make(*args, **kwargs)

    def cache_delete(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _D_co:
        """Delete the result of a call with these arguments from both tiers; True if there was one."""
        was_there: _D_co = self._cache.delete(self._make(*args, **kwargs))
        return was_there

    def refresh(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the function with these arguments now, keep the result in place of an older one, and return it."""
        key = self._make(*args, **kwargs)
        loader = functools.partial(self._function, *args, **kwargs)
        result: _R_co = self._cache.refresh(key, loader, ttl=self._ttl, memory_ttl=self._memory_ttl)
        return result

    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Self: ...
    @overload
    def __get__(
        self: DecoratedFunction[Concatenate[_S, _Q], _R, _D], instance: _S, owner: type | None = None, /
    ) -> DecoratedMethod[_Q, _R, _D]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        if self._kind != "function":
            owner = type(instance) if owner is None else owner
            return DecoratedMethod(self, owner) if self._kind == "class method" else self
        if instance is None:
            return self
        if instance is owner:
            # Up to Python 3.12 a class method that is put around this asks like that. From then on it does not ask, and
            # a plain method comes.
            return MethodType(self, instance)
        return DecoratedMethod(self, instance)

    def __reduce__(self) -> str:
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<{self._function!r} cached by {self._key!r} in {self._cache!r}>"


class DecoratedMethod(Generic[_P, _R_co, _D_co]):
    # A decorated function as a method: the instance, or the class, goes before all arguments. It has no docstring of
    # its own, as that of the method would not be found then.

    __slots__ = ("__func__", "__self__", "__weakref__")

    def __init__(self, function: DecoratedFunction[..., _R_co, _D_co], instance: Any) -> None:
        self.__func__ = function
        self.__self__ = instance

    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__func__.__doc__

    @property
    def __module__(self) -> str:  # type: ignore[override]
        return self.__func__.__module__

    @property
    def __signature__(self) -> inspect.Signature:
        """That of the method, without the instance."""
        return inspect.signature(MethodType(self.__func__._function, self.__self__))

    @property
    def cache(self) -> Any:
        """The tiered cache that keeps the results."""
        return self.__func__.cache

    def cache_key(self, /, *args: _P.args, **kwargs: _P.kwargs) -> str:
        """Return the key in `cache` of a call with these arguments on this instance."""
        return self.__func__.cache_key(self.__self__, *args, **kwargs)

    def cache_delete(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _D_co:
        """Delete the result of a call with these arguments on this instance; True if there was one."""
        return self.__func__.cache_delete(self.__self__, *args, **kwargs)

    def refresh(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the method with these arguments now, and keep the result in place of an older one."""
        return self.__func__.refresh(self.__self__, *args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DecoratedMethod):
            return NotImplemented
        return self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((self.__func__, id(self.__self__)))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, str]]:
        return getattr, (self.__self__, self.__func__.__name__)

    def __repr__(self) -> str:
        return f"<method {self.__func__!r} of {self.__self__!r}>"


async def _coroutine_function() -> None: ...


# ---------------------------------------------------------------------- decorators


class Decorator(Protocol):
    """What `TieredCache.cached(...)` returns: it keeps the signature of what it decorates."""

    def __call__(self, function: Callable[_P, _R], /) -> DecoratedFunction[_P, _R, bool]:
        """Decorate a function."""
        ...


class AsyncDecorator(Protocol):
    """What `AsyncTieredCache.cached(...)` returns: it keeps the signature of what it decorates."""

    def __call__(
        self, function: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> DecoratedFunction[_P, Coroutine[Any, Any, _R], Coroutine[Any, Any, bool]]:
        """Decorate an `async def` function."""
        ...


def decorator(
    cache: Any, template_or_key: str | Callable[..., str], ttl: TTL = ..., memory_ttl: TTL = ...
) -> Decorator:
    """Return what `TieredCache.cached` does. Raises TypeError."""
    decorate: Decorator = _decorator(cache, template_or_key, ttl, memory_ttl, wants_async=False)
    return decorate


def async_decorator(
    cache: Any, template_or_key: str | Callable[..., str], ttl: TTL = ..., memory_ttl: TTL = ...
) -> AsyncDecorator:
    """Return what `AsyncTieredCache.cached` does. Raises TypeError."""
    decorate: AsyncDecorator = _decorator(cache, template_or_key, ttl, memory_ttl, wants_async=True)
    return decorate


def _decorator(
    cache: Any, template_or_key: str | Callable[..., str], ttl: TTL, memory_ttl: TTL, *, wants_async: bool
) -> Any:
    if not isinstance(template_or_key, str):
        if not callable(template_or_key) and not isinstance(template_or_key, classmethod):
            raise TypeError(
                'cached needs a template, such as "user:{user_id}", or a function that makes the key of a call\'s '
                f"arguments, not {type(template_or_key).__name__}"
            )
        if _makes_no_key(template_or_key):
            raise _bare(template_or_key)
        KeyFunction(template_or_key)

    def decorate(*args: Any, **kwargs: Any) -> DecoratedFunction[..., Any, Any]:
        if len(args) != 1 or kwargs or not (callable(args[0]) or isinstance(args[0], classmethod)):
            if isinstance(template_or_key, str):
                raise TypeError(f"cached({template_or_key!r}) is a decorator, and is called with a function alone")
            # A function that had its decorator taken for the function itself.
            raise _bare(template_or_key)
        function, kind = _unwrapped(args[0])
        _check(function, wants_async=wants_async)
        key: Template | KeyFunction
        if isinstance(template_or_key, str):
            key = Template(template_or_key, function)
            _check_fields(key, function, kind)
        else:
            key = KeyFunction(template_or_key)
        return DecoratedFunction(function, cache, key, ttl, memory_ttl, kind)

    return decorate


def _unwrapped(function: Any) -> tuple[Any, _Kind]:
    if isinstance(function, classmethod):
        return function.__func__, "class method"
    if isinstance(function, staticmethod):
        return function.__func__, "static method"
    return function, "function"


def _check(function: Any, *, wants_async: bool) -> None:
    """Raise TypeError for a function that such a cache is not for."""
    name = name_of(function)
    if is_any(inspect.isgeneratorfunction, function) or is_any(inspect.isasyncgenfunction, function):
        raise TypeError(f"{name} is a generator: it could be run through only once; return a list or a tuple instead")
    is_async = is_any(inspect.iscoroutinefunction, function)
    if is_async and not wants_async:
        raise TypeError(f"{name} is async, and TieredCache is for plain functions; use AsyncTieredCache")
    if wants_async and not is_async:
        raise TypeError(f"{name} is a plain function, and AsyncTieredCache is for async ones; use TieredCache")


def _check_fields(template: Template, function: Any, kind: _Kind) -> None:
    """Raise ValueError where all calls would have one key, for want of fields."""
    names = _own_parameters(function, kind)
    if names and not template.fields:
        raise ValueError(
            f"the template {template.text!r} has no field, so all calls of {name_of(function)} would share one result, "
            f'whatever their arguments; write "{template.text}:{{{names[0]}}}", say, or give a key function'
        )


def _own_parameters(function: Any, kind: _Kind = "function") -> list[str]:
    """Name the parameters but for the instance or class of a method."""
    names = list(parameters_of(function, name_of(function)))
    return names[1:] if kind == "class method" or (kind == "function" and names[:1] in (["self"], ["cls"])) else names


def _makes_no_key(function: Any) -> bool:
    """Whether it surely is no key function, so what was to be decorated: it is async, or says that it returns no str.

    What says nothing is taken for one. If it is none, the first call of it comes to the decorator, and is refused.
    """
    function, kind = _unwrapped(function)
    if kind != "function" or is_any(inspect.iscoroutinefunction, function):
        return True
    try:
        returned = inspect.get_annotations(function, eval_str=True).get("return", str)
        if returned is None or isinstance(returned, GenericAlias):
            return True
        return returned not in (Any, object) and not issubclass(returned, str)
    except Exception:  # it has none, or none that can be told here
        return False


def _bare(function: Any) -> TypeError:
    function, kind = _unwrapped(function)
    name = getattr(function, "__name__", "").strip("<>") or "result"
    try:
        template = ":".join([name, *(f"{{{each}}}" for each in _own_parameters(function, kind))])
    except TypeError:
        template = name
    return TypeError(
        f'{name_of(function)} is decorated by cached without a template; write @cache.cached("{template}"), say, where '
        "cache is the tiered cache, or give a function that makes a str of a call's arguments"
    )
