from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, type_check_only

from khronos_fast._core.call_key import Scope

_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)
_T_contra = TypeVar("_T_contra", contravariant=True)

# What may be a method of it.
@type_check_only
class TakesFirst(Protocol[_T_contra]):
    def __call__(self, first: _T_contra, /, *args: Any, **kwargs: Any) -> Any: ...

class Memo(Generic[_P, _R_co]):
    __name__: str
    __qualname__: str
    __wrapped__: Callable[_P, _R_co]
    @property
    def _scope(self) -> Scope | None: ...
    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Self: ...
