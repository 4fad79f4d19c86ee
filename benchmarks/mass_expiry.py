"""A million entries expire at once, and what operations take after that: `python benchmarks/mass_expiry.py`.

Prints, for each kind of operation, its median, 99.9th percentile and worst time while the backlog is cleared, and how
many operations that took; none of them asks for an expired key.
"""

import gc
import time

from khronos_fast import MemoryCache

ENTRIES = 1_000_000
TTL = 8.0
OPERATIONS = {
    "get": lambda cache, key: cache.get(key),
    "in": lambda cache, key: key in cache,
    "set": lambda cache, key: cache.set(key, key, ttl=None),
    "setdefault": lambda cache, key: cache.setdefault(key, key, ttl=None),
    "pop": lambda cache, key: cache.pop(key, None),
}


def main() -> None:
    gone = 0

    def count(*_: object) -> None:
        nonlocal gone
        gone += 1

    cache: MemoryCache[str, object] = MemoryCache(2 * ENTRIES, on_removal=count)
    print(f"filling a cache with {ENTRIES:,} entries")
    for number in range(ENTRIES):
        cache.set(f"key:{number}", [number], ttl=TTL)
    print("waiting until all have expired")
    time.sleep(TTL)
    gc.collect()
    gc.disable()
    times: dict[str, list[int]] = {name: [] for name in OPERATIONS}
    turns = 0
    while gone < ENTRIES:
        for name, operation in OPERATIONS.items():
            key = f"other:{turns}"
            start = time.perf_counter_ns()
            operation(cache, key)
            times[name].append(time.perf_counter_ns() - start)
        turns += 1
    print(f"all had gone after {turns * len(OPERATIONS):,} operations\n")
    print(f"{'µs':<12}{'median':>10}{'99.9 %':>10}{'worst':>10}")
    for name, taken in times.items():
        taken.sort()
        middle, late, worst = taken[len(taken) // 2], taken[len(taken) * 999 // 1000], taken[-1]
        print(f"{name:<12}{middle / 1e3:>10.2f}{late / 1e3:>10.2f}{worst / 1e3:>10.2f}")


if __name__ == "__main__":
    main()
