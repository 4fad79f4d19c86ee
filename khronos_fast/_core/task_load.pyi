from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from khronos_fast._core.loads import Loaded
from khronos_fast._core.memory import MemoryCache

def load_in_task(
    cache: MemoryCache[Any, Any],
    key: str,
    function: Callable[..., Awaitable[Loaded]],
    args: tuple[Any, ...],
    name: str,
    fresh: bool,
) -> Coroutine[Any, Any, Any]: ...
