from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from khronos_fast._core.cached_method import CachedMethod
from khronos_fast._core.memo import Memo
from khronos_fast._core.memory import MemoryCache
from khronos_fast._core.stats import CacheInfo

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_S = TypeVar("_S")

class CachedFunction(Memo[_P, _R_co], Generic[_P, _R_co]):
    @property
    def cache(self) -> MemoryCache[Any, Any]: ...
    @property
    def name(self) -> str: ...
    def __new__(
        cls,
        function: Callable[_P, _R_co],
        *,
        cache: MemoryCache[Any, Any] | None,
        maxsize: int,
        ttl: float | timedelta | None,
        key: Callable[..., Hashable] | None,
        typed: bool,
        single_flight: bool,
        name: str | None,
    ) -> Self: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[_S, _Q], _R], instance: _S, owner: type | None = None, /
    ) -> CachedMethod[_Q, _R]: ...
    def cache_info(self) -> CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_key(self, /, *args: _P.args, **kwargs: _P.kwargs) -> Hashable: ...
    def cache_delete(self, /, *args: _P.args, **kwargs: _P.kwargs) -> bool: ...
    def refresh(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
