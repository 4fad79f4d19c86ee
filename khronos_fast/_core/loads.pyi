from collections.abc import Callable
from typing import Any, final, type_check_only

from khronos_fast._core.memory import MemoryCache

class OutOfPatience(Exception): ...  # noqa: N818

@final
class Loaded:
    value: Any
    def __init__(self, value: Any, seconds: float | None = None, kept: bool = True) -> None: ...

@type_check_only
class _Flight: ...

def load_in_thread(
    cache: MemoryCache[Any, Any], key: str, load: Callable[[], Loaded], fresh: bool, patience: float | None
) -> Any: ...
def begin(cache: MemoryCache[Any, Any], key: str, writes: bool = False, loads: bool = False) -> _Flight: ...
def end(cache: MemoryCache[Any, Any], flight: _Flight, loaded: Loaded | None) -> bool: ...
