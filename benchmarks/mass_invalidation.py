"""How long others are held up while a tenth of a million entries is invalidated in one thread.

`python benchmarks/mass_invalidation.py`. A thread, then an event loop, reads and writes the cache all the time, and
looks after each turn how long that took. Beside the longest turn stands the longest of as many milliseconds in which
nobody invalidates: that is the machine's. Also checks at each turn that what matches has gone all at once.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Callable

from khronos_fast import MemoryCache

ENTRIES = 1_000_000
GROUPS = 10
MATCHING = [f"group:3:{number}" for number in range(0, ENTRIES // GROUPS, 997)]
CASES = {
    "group:3:*, the first prefix pattern": ("group:3:*", None),
    "group:3:*": ("group:3:*", "group:none:*"),
    "*:3:*": ("*:3:*", None),
}


def filled() -> MemoryCache[str, object]:
    cache: MemoryCache[str, object] = MemoryCache(ENTRIES, ttl=600)
    for number in range(ENTRIES):
        cache[f"group:{number % GROUPS}:{number // GROUPS}"] = [number]
    return cache


class Turns:
    """What one who uses the cache does again and again, and the longest it took."""

    def __init__(self, cache: MemoryCache[str, object]) -> None:
        self.cache = cache
        self.longest = 0.0
        self.done = 0
        self.last = time.perf_counter()

    def turn(self) -> None:
        key = MATCHING[self.done % len(MATCHING)]
        if self.cache.get(key) is None and self.cache.get(MATCHING[-1]) is not None:
            raise SystemExit(f"{key} has gone and {MATCHING[-1]} is there")
        self.cache["other"] = self.done
        now = time.perf_counter()
        self.longest = max(self.longest, now - self.last)
        self.last = now
        self.done += 1


def in_thread(turns: Turns, over: Callable[[], bool]) -> None:
    turns.last = time.perf_counter()
    while not over():
        turns.turn()


def in_event_loop(turns: Turns, over: Callable[[], bool]) -> None:
    async def run() -> None:
        turns.last = time.perf_counter()
        while not over():
            turns.turn()
            await asyncio.sleep(0)

    asyncio.run(run())


def main() -> None:
    print(f"{ENTRIES:,} entries, of which {ENTRIES // GROUPS:,} go; milliseconds\n")
    print(f"{'pattern':<38}{'held up':<12}{'took':>8}{'longest':>10}{'without':>10}")
    for title, (pattern, before) in CASES.items():
        for who, run in {"a thread": in_thread, "an event loop": in_event_loop}.items():
            cache = filled()
            if before is not None:
                cache.invalidate(before)
            gc.collect()
            gc.disable()
            begin, over = threading.Event(), threading.Event()
            removed = took = 0.0

            def invalidate(
                cache: MemoryCache[str, object] = cache,
                pattern: str = pattern,
                begin: threading.Event = begin,
                over: threading.Event = over,
            ) -> None:
                nonlocal removed, took
                begin.wait()
                start = time.perf_counter()
                removed = cache.invalidate(pattern)
                took = time.perf_counter() - start
                over.set()

            thread = threading.Thread(target=invalidate)
            thread.start()
            turns = Turns(cache)
            begin.set()
            run(turns, over.is_set)
            thread.join()
            assert removed == ENTRIES // GROUPS, removed
            alone = Turns(cache)
            end = time.perf_counter() + took
            run(alone, lambda end=end: time.perf_counter() > end)
            gc.enable()
            print(f"{title:<38}{who:<12}{took * 1e3:>8.0f}{turns.longest * 1e3:>10.2f}{alone.longest * 1e3:>10.2f}")


if __name__ == "__main__":
    main()
