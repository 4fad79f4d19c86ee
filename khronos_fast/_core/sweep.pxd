# An invalidation under way.
#
# Its entries disappear at once, at the moment it begins, and go one after another, in slices between which others use
# the cache. Where one slice is enough nobody can tell. Where it is not, the sweep is announced: until it is over, every
# look-up that finds an entry asks whether the sweep hides it, and then takes it out itself. The hot path only sees that
# there is a sweep, and leaves everything to the long way.
#
# Hidden is what matches and was stored before the sweep began. Places that are filled while it is under way are marked
# as fresh in a map of one bit a place, and those beyond the places that it knows are fresh without a mark.
#
# It has a copy of the pattern, and memory of its own, not that of its thread's stack: after a fork others finish it.

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from khronos_fast._core.departures cimport Departures, departures_init
from khronos_fast._core.pattern cimport Pattern
from khronos_fast._core.prefixes cimport Prefixes
from khronos_fast._core.slab cimport Slab

cdef struct Sweep:
    Pattern pattern
    int64_t now                 # what had expired by then is not the sweep's
    bint by_prefix              # it walks through the tree of prefixes; else over all places
    bint over                   # there is nothing left
    uint8_t *fresh              # NULL before it is announced
    uint32_t places             # there were when it began
    uint32_t cursor             # the last place that it has looked at
    uint32_t top                # the node below which it walks
    uint64_t removed
    Departures gone             # what others have taken out for it


cdef inline void sweep_init(Sweep *self, const Pattern *pattern) noexcept nogil:
    self.pattern = pattern[0]
    self.over = False
    self.fresh = NULL
    self.cursor = 0
    self.removed = 0
    departures_init(&self.gone)


cdef inline bint sweep_announce(Sweep *self) noexcept nogil:
    self.fresh = <uint8_t *> PyMem_RawCalloc(self.places // 8 + 1, 1)
    return self.fresh != NULL


cdef inline void sweep_end(Sweep *self) noexcept nogil:
    PyMem_RawFree(self.fresh)
    self.fresh = NULL


cdef inline bint sweep_is_fresh(const Sweep *self, uint32_t place) noexcept nogil:
    return place > self.places or (self.fresh != NULL and (self.fresh[place >> 3] >> (place & 7)) & 1)


cdef inline void sweep_mark_fresh(Sweep *self, uint32_t place) noexcept nogil:
    if place <= self.places:
        self.fresh[place >> 3] |= <uint8_t> (1 << (place & 7))


# Apart from their callers, who seldom need them, so that the hot paths there stay small.

# 1, 0, or -1 where memory is out.
cdef int key_matches(const Pattern *pattern, PyObject *key) noexcept
# Whether an entry is hidden: 1, 0, or -1 where memory is out.
cdef int sweep_hides(const Sweep *self, const Slab *slab, uint32_t place) noexcept
# Finds its place in the tree of prefixes again, which may have changed since it was left.
cdef void sweep_resume(Sweep *self, const Prefixes *prefixes) noexcept nogil
# The next entry that is to go. NO_ENTRY when it is over, or the effort (of looking at so many short keys) is spent.
cdef uint32_t sweep_next(Sweep *self, const Slab *slab, Prefixes *prefixes, int64_t *effort) noexcept
