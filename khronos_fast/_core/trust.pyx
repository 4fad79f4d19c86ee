"""What is in a memory may be out of date: until when it may be given out, and how to forget what is.

A cache that hears of others' changes can only rely on its memory while it hears them. Whoever listens says so again and
again, for a little while each time. When that is over, be it that the link is silent, the thread held up or the whole
process stopped, look-ups find nothing: every one of them compares the time with the deadline, by the comparison that
it makes anyway (deadlines.pxd). What is in memory stays there, to be given out again once somebody says so.
"""

from libc.stdint cimport int64_t

from khronos_fast._core.arguments cimport nanoseconds
from khronos_fast._core.clock cimport clock_setup, fine_now
from khronos_fast._core.deadlines cimport deadlines_trust
from khronos_fast._core.memory cimport MemoryCache, discard
from khronos_fast._core.slab cimport NEVER
from khronos_fast._core.store cimport store_enter, store_leave

clock_setup()


def trust(MemoryCache cache not None, seconds):
    """Let look-ups find what they look for, for so many seconds from now on (0: no more); None: for ever. O(1)."""
    cdef int64_t until = NEVER
    if cache.timer is not None:
        raise ValueError("a MemoryCache with a timer of its own can't be told until when it is to be trusted")
    if seconds is not None:
        # The coarse clock lags behind: what is over now must lie in the past for it, too.
        until = fine_now() + nanoseconds(seconds) if seconds > 0 else 0
    store_enter(&cache.store)
    deadlines_trust(&cache.store.deadlines, until)
    store_leave(&cache.store)


def forget(MemoryCache cache not None, object key, bint sparing_loads):
    """Delete a key. `sparing_loads`: loads of it that are under way are stored all the same; reads are not. O(1)."""
    return discard(cache, key, sparing_loads)
