"""What is in a memory may be out of date: until when it may be given out, and how to forget what is.

A cache that hears of others' changes can only rely on its memory while it hears them. Whoever listens says so again and
again, for a little while each time. When that is over, be it that the link is silent, the thread held up or the whole
process stopped, look-ups find nothing: every one of them compares the time, which it has read anyway, with the
deadline. (The shortest path does so by the comparison that it makes with what is due, deadlines.pxd.) What is in memory
stays there, to be given out again once somebody says so.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from khronos_fast._core.arguments cimport nanoseconds
from khronos_fast._core.clock cimport clock_setup, fine_now
from khronos_fast._core.deadlines cimport deadlines_trust
from khronos_fast._core.keys cimport key_hash, mix
from khronos_fast._core.memory cimport MemoryCache, detach, discard, loads_of_others
from khronos_fast._core.slab cimport NEVER
from khronos_fast._core.store cimport store_enter, store_leave

clock_setup()


def moment():
    """Seconds on the clock that `trust` is told by: monotonic, and that of the entries' times to live."""
    return fine_now() / 1e9


def trust(MemoryCache cache not None, until):
    """Let look-ups find what they look for, until this `moment`; None: for ever. O(1)."""
    cdef int64_t deadline = NEVER
    if cache.timer is not None:
        raise ValueError("a MemoryCache with a timer of its own can't be told until when it is to be trusted")
    if until is not None:
        deadline = nanoseconds(until)
        if deadline <= fine_now():
            deadline = 0        # the coarse clock lags behind; what is over must lie in the past for it, too
    store_enter(&cache.store)
    deadlines_trust(&cache.store.deadlines, deadline)
    store_leave(&cache.store)


def forget(MemoryCache cache not None, object key, bint sparing_loads):
    """Delete a key. `sparing_loads`: loads of it that are under way are stored all the same; reads are not. O(1)."""
    return discard(cache, key, sparing_loads)


def overtake(MemoryCache cache not None, object key):
    """Have no read of a key that is under way be stored; what is there stays, and so do loads. O(1)."""
    cdef uint32_t hash = mix(key_hash(<PyObject *> key))
    cdef list spared = None if cache.flights.count == 0 else loads_of_others(cache, <PyObject *> key, hash)
    store_enter(&cache.store)
    detach(cache, <PyObject *> key, hash, spared, True)
    store_leave(&cache.store)
