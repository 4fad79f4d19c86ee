"""Caches in tiers: what a read costs that is answered by memory, by Redis, or by the function that loads."""

from collections.abc import Iterator, Sequence
from functools import partial

from khronos_fast.bench import tiered
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.tiering import Tier
from khronos_fast.bench.units import MICROSECONDS, NANOSECONDS
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads import tiers

FLOOR_OF = {Face.THREADS: tiered.FLOOR, Face.TASKS: tiered.FLOOR_OF_TASKS}
FLOOR_OF_HITS = {Face.THREADS: tiered.FLOOR[Tier.MEMORY], Face.TASKS: tiered.FLOOR_OF_COROUTINES}
PREFIX_OF = {Face.THREADS: "", Face.TASKS: "async-"}


def _workloads(settings: Settings) -> Sequence[Workload]:
    return [*_in_memory(settings), *_in_redis(settings)]


def _in_memory(settings: Settings) -> Iterator[Workload]:
    entries = f"{settings.memo_entries:,} entries"
    for face, prefix in PREFIX_OF.items():
        here = partial(Workload, floor=FLOOR_OF[face][Tier.MEMORY])
        title = f"read through a cache, for {face.value}, what is in memory; {entries}, shuffled"
        run = partial(tiers.hit, tier=Tier.MEMORY, face=face)
        yield here(f"{prefix}memory-hit", title, NANOSECONDS, run, floor=FLOOR_OF_HITS[face])
        title = f"call a decorated function, for {face.value}, whose result is in memory; {entries}, shuffled"
        yield here(f"{prefix}memory-decorated", title, NANOSECONDS, partial(tiers.decorated, face=face))
        title = f"read {tiers.KEYS_AT_ONCE} keys at once, for {face.value}, that are in memory; {entries}, shuffled"
        run = partial(tiers.many, tier=Tier.MEMORY, face=face)
        yield here(f"{prefix}memory-many", title, MICROSECONDS, run)
        title = f"read through a cache, for {face.value}, what has to be loaded; no Redis, memory full with {entries}"
        run = partial(tiers.miss, tier=Tier.MEMORY, face=face)
        yield here(f"{prefix}memory-miss", title, NANOSECONDS, run)


def _in_redis(settings: Settings) -> Iterator[Workload]:
    keys = f"{settings.redis_keys:,} keys, shuffled"
    for face, prefix in PREFIX_OF.items():
        there = partial(Workload, unit=MICROSECONDS, floor=FLOOR_OF[face][Tier.REDIS])
        title = f"read through a cache, for {face.value}, what is in Redis but not in memory; {keys}"
        yield there(f"{prefix}redis-hit", title, run=partial(tiers.hit, tier=Tier.REDIS, face=face))
        many = f"{tiers.KEYS_AT_ONCE} keys at once"
        title = f"read {many}, for {face.value}, that are in Redis but not in memory; {keys}"
        yield there(f"{prefix}redis-many", title, run=partial(tiers.many, tier=Tier.REDIS, face=face))
        title = f"read through a cache, for {face.value}, what has to be loaded, and is kept in Redis and in memory"
        yield there(f"{prefix}redis-miss", title, run=partial(tiers.miss, tier=Tier.REDIS, face=face))


GROUP = Group("tiers", "caches in tiers: memory, Redis, and a function that loads", _workloads)
