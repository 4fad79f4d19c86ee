from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from khronos_fast._core.pool_events import PoolEvent
from khronos_fast._core.pool_stats import PoolStats

_R = TypeVar("_R")

class AsyncPool(Generic[_R]):
    name: str | None
    min_size: int
    max_size: int
    is_closed: bool
    def __init__(
        self,
        create: Callable[[], Awaitable[_R]],
        *,
        destroy: Callable[[_R], object] | None = None,
        validate: Callable[[_R], object] | None = None,
        reset: Callable[[_R], object] | None = None,
        min_size: int = 2,
        max_size: int = 10,
        acquire_timeout: float | timedelta | None = 5.0,
        idle_timeout: float | timedelta | None = 30.0,
        max_lifetime: float | timedelta | None = None,
        max_waiting: int | None = None,
        validate_after_idle: float | timedelta = 0.5,
        on_event: Callable[[PoolEvent], object] | None = None,
        name: str | None = None,
    ) -> None: ...
    def acquire(self, timeout: float | timedelta | None = ...) -> Coroutine[Any, Any, _R]: ...
    def release(self, resource: _R, discard: bool = False) -> None: ...
    def connection(self, timeout: float | timedelta | None = ...) -> AbstractAsyncContextManager[_R, None]: ...
    async def warm(self, timeout: float | timedelta | None = ...) -> None: ...
    def resize(self, min_size: int, max_size: int) -> Awaitable[None]: ...
    def drain(self) -> Awaitable[None]: ...
    async def close(self, timeout: float | timedelta | None = 5.0) -> bool: ...
    def stats(self) -> PoolStats: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> Any: ...
