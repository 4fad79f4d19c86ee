# The order of use: a circular doubly linked list over the places of the slab, anchored at place 0.
# The anchor's `newer` is the least recently used entry, its `older` the most recently used one. Every step is O(1).

from libc.stdint cimport uint32_t

from khronos_fast._core.prefetch cimport prefetch_to_write
from khronos_fast._core.slab cimport NO_ENTRY, Slab, slab_used


cdef inline uint32_t recency_oldest(const Slab *slab) noexcept nogil:
    return NO_ENTRY if slab.entries == NULL else slab_used(slab, NO_ENTRY).newer


cdef inline uint32_t recency_next(const Slab *slab, uint32_t place) noexcept nogil:
    # The next more recently used one; NO_ENTRY after the newest.
    return slab_used(slab, place).newer


cdef inline void recency_unlink(Slab *slab, uint32_t place) noexcept nogil:
    cdef uint32_t older = slab_used(slab, place).older
    cdef uint32_t newer = slab_used(slab, place).newer
    slab_used(slab, older).newer = newer
    slab_used(slab, newer).older = older


cdef inline void recency_append(Slab *slab, uint32_t place) noexcept nogil:
    cdef uint32_t newest = slab_used(slab, NO_ENTRY).older
    slab_used(slab, place).older = newest
    slab_used(slab, place).newer = NO_ENTRY
    slab_used(slab, newest).newer = place
    slab_used(slab, NO_ENTRY).older = place


cdef inline void recency_touch(Slab *slab, uint32_t place) noexcept nogil:
    if slab_used(slab, NO_ENTRY).older != place:
        recency_unlink(slab, place)
        recency_append(slab, place)


cdef inline void recency_foresee(Slab *slab, uint32_t later, uint32_t soon) noexcept nogil:
    # Two places that will be touched: has the first fetched, and, by when that has come, its neighbours.
    prefetch_to_write(slab_used(slab, later))
    prefetch_to_write(slab_used(slab, slab_used(slab, soon).older))
    prefetch_to_write(slab_used(slab, slab_used(slab, soon).newer))
