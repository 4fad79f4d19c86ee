from collections.abc import Callable
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload, type_check_only

from khronos_fast._core.memo import Memo, TakesFirst
from khronos_fast._core.stats import CacheInfo

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_S = TypeVar("_S")

# `instance.method`, and a class method: a bound method, which passes attributes on.
@type_check_only
class _BoundLruCacheFunction(Generic[_P, _R_co]):
    @property
    def __wrapped__(self) -> Callable[_P, _R_co]: ...
    def __call__(
        self: _BoundLruCacheFunction[Concatenate[Any, _Q], _R], /, *args: _Q.args, **kwargs: _Q.kwargs
    ) -> _R: ...
    def cache_info(self) -> CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> dict[str, Any]: ...

class LruCacheFunction(Memo[_P, _R_co], Generic[_P, _R_co]):
    def __new__(
        cls, function: Callable[_P, _R_co], maxsize: int | None, typed: bool, ttl: float | timedelta | None
    ) -> Self: ...
    # mypy asks this of what `@classmethod` or `@staticmethod` is put around, too, and does not say so. The first one of
    # the parameters tells: a class method takes types, and not every object; a static method takes no such instance.
    @overload
    def __get__(
        self: LruCacheFunction[Concatenate[object, ...], Any], instance: None, owner: type | None = None, /
    ) -> LruCacheFunction[_P, _R_co]: ...
    @overload
    def __get__(
        self: LruCacheFunction[Concatenate[type, ...], Any], instance: None, owner: type | None = None, /
    ) -> _BoundLruCacheFunction[_P, _R_co]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Self: ...
    @overload
    def __get__(
        self: TakesFirst[_S], instance: _S, owner: type | None = None, /
    ) -> _BoundLruCacheFunction[_P, _R_co]: ...
    @overload
    def __get__(
        self: LruCacheFunction[Concatenate[type, ...], Any], instance: object, owner: type | None = None, /
    ) -> _BoundLruCacheFunction[_P, _R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Self: ...
    def cache_info(self) -> CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> dict[str, Any]: ...

@type_check_only
class _LruCache(Protocol):
    def __call__(self, user_function: Callable[_P, _R], /) -> LruCacheFunction[_P, _R]: ...

@overload
def lru_cache(maxsize: Callable[_P, _R], typed: bool = False) -> LruCacheFunction[_P, _R]: ...
@overload
def lru_cache(maxsize: int | None = 128, typed: bool = False, *, ttl: float | timedelta | None = None) -> _LruCache: ...
def cache(user_function: Callable[_P, _R], /) -> LruCacheFunction[_P, _R]: ...
