from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from types import EllipsisType
from typing import Any, TypeAlias, TypeVar, final, overload

from khronos_fast._core.memory import MemoryCache

_T = TypeVar("_T")
_TTL: TypeAlias = float | timedelta | EllipsisType | None

@final
class Last:
    value: Any
    fresh_until: float
    mark: bytes
    def __init__(self, value: Any, fresh_until: float, delta: float, beta: float, mark: bytes) -> None: ...
    def is_over(self) -> bool: ...

class Front:
    @property
    def memory(self) -> MemoryCache[str, Any]: ...
    def _set_up(self, memory: MemoryCache[str, Any], early: MemoryCache[str, Last] | None) -> None: ...

class BlockingFront(Front):
    def get(self, key: str, default: Any = None) -> Any: ...
    def get_or_compute(self, key: str, loader: Callable[[], _T], ttl: _TTL = ..., memory_ttl: _TTL = ...) -> _T: ...

class TaskFront(Front):
    def get(self, key: str, default: Any = None) -> Coroutine[Any, Any, Any]: ...
    @overload
    def get_or_compute(
        self, key: str, loader: Callable[[], Awaitable[_T]], ttl: _TTL = ..., memory_ttl: _TTL = ...
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_or_compute(
        self, key: str, loader: Callable[[], _T], ttl: _TTL = ..., memory_ttl: _TTL = ...
    ) -> Coroutine[Any, Any, _T]: ...
