from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from khronos_fast._core.pool_events import PoolEvent
from khronos_fast._core.pool_stats import PoolStats

_R = TypeVar("_R")

class Pool(Generic[_R]):
    name: str | None
    min_size: int
    max_size: int
    is_closed: bool
    def __init__(
        self,
        create: Callable[[], _R],
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
    def acquire(self, timeout: float | timedelta | None = ...) -> _R: ...
    def release(self, resource: _R, discard: bool = False) -> None: ...
    def connection(self, timeout: float | timedelta | None = ...) -> AbstractContextManager[_R, None]: ...
    def warm(self, timeout: float | timedelta | None = ...) -> None: ...
    def resize(self, min_size: int, max_size: int) -> None: ...
    def drain(self) -> None: ...
    def close(self, timeout: float | timedelta | None = 5.0) -> bool: ...
    def stats(self) -> PoolStats: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> Any: ...
