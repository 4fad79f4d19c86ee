# The order of use: a circular doubly linked list through the slab, anchored at place 0.
# The anchor's `newer` is the least recently used entry, its `older` the most recently used one. Every step is O(1).

from libc.stdint cimport uint32_t

from khronos_fast._core.slab cimport Entry


cdef inline uint32_t recency_oldest(const Entry *entries) noexcept nogil:
    return entries[0].newer


cdef inline void recency_unlink(Entry *entries, uint32_t place) noexcept nogil:
    cdef uint32_t older = entries[place].older
    cdef uint32_t newer = entries[place].newer
    entries[older].newer = newer
    entries[newer].older = older


cdef inline void recency_append(Entry *entries, uint32_t place) noexcept nogil:
    cdef uint32_t newest = entries[0].older
    entries[place].older = newest
    entries[place].newer = 0
    entries[newest].newer = place
    entries[0].older = place


cdef inline void recency_touch(Entry *entries, uint32_t place) noexcept nogil:
    # A hit on what is the newest already writes nothing, and so costs no other core a cache line.
    if entries[0].older != place:
        recency_unlink(entries, place)
        recency_append(entries, place)
