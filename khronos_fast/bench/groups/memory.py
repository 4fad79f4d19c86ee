"""The memory cache, called by one thread: what an operation costs, what an entry weighs, and how both grow."""

from collections.abc import Sequence
from functools import partial

from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import BYTES, NANOSECONDS
from khronos_fast.bench.workload import Group, Workload
from khronos_fast.bench.workloads import churn, footprint, lookup, requests, store


def _workloads(settings: Settings) -> Sequence[Workload]:
    entries = f"{settings.entries:,} entries"
    timed = partial(Workload, unit=NANOSECONDS)
    return [
        timed("get-hit", f"get(key) of a key that is there; {entries}, shuffled", run=lookup.get_hit),
        timed("subscript-hit", f"cache[key] of a key that is there; {entries}, shuffled", run=lookup.subscript_hit),
        timed("get-miss", f"get(key) of a key that is not there; {entries}, shuffled", run=lookup.get_miss),
        timed("set-new", f"set into an empty cache until it holds {entries}", run=store.set_new),
        timed("set-evict", f"set of a new key into a full cache of {entries}", run=store.set_evict),
        timed("set-existing", f"set of a key that is there; {entries}, shuffled", run=store.set_existing),
        timed(
            "mixed-zipf",
            f"get, and set on a miss: Zipf's law over {settings.zipf_keys:,} keys, a cache of {entries}",
            run=requests.mixed_zipf,
        ),
        timed(
            "replay",
            "get, and set on a miss: a request log, an empty cache of a tenth of its distinct keys",
            run=requests.replay,
        ),
        timed(
            "ttl-churn",
            f"set of a new key into a full cache of {settings.churn_entries:,}, every third with a TTL of "
            f"{churn.SHORT_TTL * 1_000:g} ms",
            run=churn.ttl_churn,
        ),
        Workload(
            "bytes-per-entry",
            f"resident memory of the cache itself, per entry; {settings.footprint_entries:,} entries in a new process",
            BYTES,
            footprint.bytes_per_entry,
        ),
        *(
            timed(
                f"scaling-{size}",
                f"get(key) of a key that is there; {size:,} entries, shuffled",
                run=partial(lookup.scaling, size=size),
                curve=("get(key) of a key that is there, by the number of entries", float(size)),
            )
            for size in settings.scaling_sizes
        ),
    ]


GROUP = Group("memory", "MemoryCache, one thread", _workloads)
