"""What comes with Python: `functools.lru_cache`, in C, and for coroutines, which it can't memoize, no memoizing at all.

An async hit can't cost less than awaiting a coroutine function that does nothing, because that is what it looks like to
its caller.
"""

from khronos_fast.bench.candidate import STANDARD
from khronos_fast.bench.memoizer import Kind, Memoizer


async def _empty(_key: object) -> None:
    pass


LRU_CACHE = Memoizer(
    name="functools.lru_cache",
    module="functools",
    distribution=STANDARD,
    decorator="functools.lru_cache(maxsize=size)",
    remark="the floor: never expires",
)

EMPTY_COROUTINE = Memoizer(
    name="empty coroutine",
    module="builtins",
    distribution=STANDARD,
    decorator="lambda _function: empty",
    constants={"empty": _empty},
    kinds=frozenset({Kind.COROUTINE}),
    remark="the floor of coroutines: remembers nothing",
)

MEMOIZERS = (LRU_CACHE, EMPTY_COROUTINE)
