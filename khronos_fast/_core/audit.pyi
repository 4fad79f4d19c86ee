from typing import Any

from khronos_fast._core.memory import MemoryCache

def audit(cache: MemoryCache[Any, Any]) -> None: ...
