# The entries of one cache, in one array; everything that links them does it by their four-byte place in it.
#
# An entry is 48 bytes. With the index's 7.5 (index.pxd) that is all a large cache spends on it; as an object with
# pointers the same fields would be 96, and the allocator's rounding. Place 0 is the anchor of the recency list,
# so that linking needs no case for an end, and so that 0 can mean "no entry" everywhere else.

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

cdef extern from "<stdint.h>":
    const int64_t NEVER "INT64_MAX"     # the expiry of what does not expire

cdef enum:
    NO_ENTRY = 0
    SMALLEST_SLAB = 8


cdef struct Entry:
    PyObject *key           # NULL while the place is free
    PyObject *value
    int64_t expiry          # nanoseconds on the cache's clock, or NEVER
    uint32_t hash           # mixed (keys.pxd)
    uint32_t older          # the recency list (recency.pxd); in a free place, newer is the next free one
    uint32_t newer
    uint32_t before         # the list of one leaf of the deadlines (deadlines.pxd)
    uint32_t after
    uint32_t leaf


cdef struct Slab:
    Entry *entries
    int64_t *weights        # beside the entries, and only for a cache that has a weigher
    uint32_t capacity       # entries there is room for, the anchor not counted
    uint32_t touched        # places that were ever in use; those above are not even paged in
    uint32_t free           # the list of free places below touched
    uint32_t count


cdef inline bint slab_reserve(Slab *slab, uint32_t capacity, bint weighted) noexcept nogil:
    # Makes room, or returns False and leaves everything as it was.
    cdef Entry *entries
    cdef int64_t *weights
    if weighted:
        weights = <int64_t *> PyMem_RawRealloc(slab.weights, (<size_t> capacity + 1) * sizeof(int64_t))
        if weights == NULL:
            return False
        slab.weights = weights
    entries = <Entry *> PyMem_RawRealloc(slab.entries, (<size_t> capacity + 1) * sizeof(Entry))
    if entries == NULL:
        return False
    if slab.entries == NULL:
        entries[0].key = NULL
        entries[0].older = entries[0].newer = 0
    slab.entries = entries
    slab.capacity = capacity
    return True


cdef inline uint32_t slab_take(Slab *slab) noexcept nogil:
    # The caller has seen to it that count < capacity.
    cdef uint32_t place = slab.free
    if place != NO_ENTRY:
        slab.free = slab.entries[place].newer
    else:
        slab.touched += 1
        place = slab.touched
    slab.count += 1
    return place


cdef inline void slab_give(Slab *slab, uint32_t place) noexcept nogil:
    # Last in, first out: the next entry finds these lines still in the processor's cache.
    cdef Entry *entry = &slab.entries[place]
    entry.key = entry.value = NULL
    entry.newer = slab.free
    slab.free = place
    slab.count -= 1


cdef inline void slab_release(Slab *slab) noexcept nogil:
    PyMem_RawFree(slab.entries)
    PyMem_RawFree(slab.weights)
    slab.entries = NULL
    slab.weights = NULL
    slab.capacity = slab.touched = slab.free = slab.count = 0
