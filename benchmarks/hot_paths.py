"""The hottest paths of the package, each in a loop of its own between two marks: what `instructions.py` counts.

It is run as a program under callgrind, on one build of the package and then on another, and prints the paths in the
order of their loops. A mark is a call of `getppid`, which nobody else calls, and at which callgrind begins a new part
of its output. Each loop has run once before it counts: by then the interpreter has specialised it, and what is made at
a first call is there.

Only names that the package exports are used here, as the other build may be an older one.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import khronos_fast
from khronos_fast import Glob, MemoryCache, Pool, cached

ENTRIES = 1_000
OPERATIONS = 10_000
"""In the loop of each path."""
TTL = 3600.0
Keys = Sequence[str]


def keys(first: int = 0, count: int = ENTRIES) -> list[str]:
    """New objects each time, equal for equal arguments: what is asked for is not what was stored."""
    made = [f"user:{number}:profile" for number in range(first, first + count)]
    for key in made:
        hash(key)  # `str` remembers it
    return made


def full() -> MemoryCache[str, int]:
    """A cache with as many entries as it may have."""
    cache = MemoryCache[str, int](ENTRIES, ttl=TTL)
    for key in keys():
        cache[key] = 1
    return cache


def get() -> Callable[[Keys], None]:
    """`get` of what is there."""
    cache = full()

    def loop(asked: Keys, get: Callable[[str], object] = cache.get) -> None:
        for key in asked:
            get(key)

    return loop


def subscript() -> Callable[[Keys], None]:
    """`cache[key]` of what is there."""
    cache = full()

    def loop(asked: Keys) -> None:
        for key in asked:
            cache[key]

    return loop


def overwrite() -> Callable[[Keys], None]:
    """`cache[key] = value` over what is there."""
    cache = full()

    def loop(asked: Keys) -> None:
        for key in asked:
            cache[key] = 2

    return loop


def evict() -> Callable[[Keys], None]:
    """`cache[key] = value` of keys that are not there, into a full cache."""
    cache = full()
    new = iter(keys(ENTRIES, 2 * OPERATIONS))  # the loop runs twice

    def loop(asked: Keys) -> None:
        for key in islice(new, len(asked)):
            cache[key] = 2

    return loop


def call() -> Callable[[Keys], None]:
    """A call that `cached` remembers."""
    remembered = cached(maxsize=ENTRIES, ttl=TTL)(len)

    def loop(asked: Keys) -> None:
        for key in asked:
            remembered(key)

    return loop


def await_() -> Callable[[Keys], Awaitable[None]]:
    """A call of a coroutine function that `cached` remembers."""

    @cached(maxsize=ENTRIES, ttl=TTL)
    async def remembered(key: str) -> int:
        return len(key)

    async def loop(asked: Keys) -> None:
        for key in asked:
            await remembered(key)

    return loop


def match_prefix() -> Callable[[Keys], None]:
    """`Glob.match` with a pattern that is a prefix and a star."""
    return matching(Glob("user:42:*"))


def match_general() -> Callable[[Keys], None]:
    """`Glob.match` with a pattern of another kind."""
    return matching(Glob("*:4?2:*"))


def matching(glob: Glob) -> Callable[[Keys], None]:
    def loop(asked: Keys, match: Callable[[str], bool] = glob.match) -> None:
        for key in asked:
            match(key)

    return loop


def borrow() -> Callable[[Keys], None]:
    """`acquire` and `release` of what is open and idle."""
    # By the clock that stands still the usual time to wait may be over before the first one is open.
    pool = Pool(object, min_size=1, max_size=10, acquire_timeout=TTL)

    acquire, release = pool.acquire, pool.release

    def loop(asked: Keys) -> None:
        for _ in asked:
            release(acquire())

    return loop


PATHS = {
    "get": get,
    "subscript": subscript,
    "overwrite": overwrite,
    "evict": evict,
    "call": call,
    "await": await_,
    "match-prefix": match_prefix,
    "match-general": match_general,
    "borrow": borrow,
}


async def main(package: str) -> None:
    """Be the process that is counted, with the package that lies in that folder."""
    assert khronos_fast.__file__.startswith(package), f"{khronos_fast.__file__} is not in {package}"
    asked = keys() * (OPERATIONS // ENTRIES)
    for name, make in PATHS.items():
        loop = make()
        gc.collect()
        gc.disable()  # a collection would count where it happens to begin
        for is_counted in (False, True):
            if is_counted:
                os.getppid()
            done = loop(asked)
            if done is not None:
                await done
            if is_counted:
                os.getppid()
        gc.enable()
        print(name)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
