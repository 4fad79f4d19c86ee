"""aiocache (Python), with its cache in memory, which has no bound.

By default it gives every operation a time-out of five seconds, and with it a task. `timeout=0` spares it both.
"""

from khronos_fast.bench.memoizer import Kind, Memoizer

CACHED = Memoizer(
    name="aiocache cached",
    module="aiocache",
    distribution="aiocache",
    decorator="aiocache.cached(timeout=0)",
    kinds=frozenset({Kind.COROUTINE}),
    remark="never evicts",
)

MEMOIZERS = (CACHED,)
