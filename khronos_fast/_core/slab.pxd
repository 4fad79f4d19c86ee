# The entries of one cache, in arrays; everything that links them does it by their four-byte place in these.
#
# 40 bytes an entry, and eight more, its neighbours in the order of expiry, once something in the cache expires (and
# twelve, its neighbours below a prefix, once patterns over prefixes are used). With
# the index's 7.5 (index.pxd) that is all a large cache spends on it; as an object with pointers the same fields would
# be 96, and the allocator's rounding. Place 0 is the anchor of the recency list, so that linking needs no case for an
# end, and so that 0 can mean "no entry" everywhere else.
#
# The neighbours in the order of use, which every hit rewrites, are part of the entry where there is a GIL: a hit finds
# them in the line of the processor's cache that it reads anyway. Without the GIL they have an array of their own: a
# core that puts entries in order must not take away the lines in which another one is looking.

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

cdef extern from "<stdint.h>":
    const int64_t NEVER "INT64_MAX"     # the expiry of what does not expire

cdef enum:
    NO_ENTRY = 0
    SMALLEST_SLAB = 8

cdef extern from *:
    """
    typedef struct { uint32_t older, newer; } kf_used;
    typedef struct {
        PyObject *key, *value;
        int64_t expiry;
        uint32_t hash, leaf;
    #ifndef Py_GIL_DISABLED
        kf_used used;
    #endif
    } kf_entry;
    #ifndef Py_GIL_DISABLED
      #define kf_used_of(slab, place) (&(slab)->entries[place].used)
      #define kf_used_apart 0
    #else
      #define kf_used_of(slab, place) (&(slab)->used[place])
      #define kf_used_apart 1
    #endif
    """
    ctypedef struct Used "kf_used":
        uint32_t older
        uint32_t newer          # in a free place: the next free one
    ctypedef struct Entry "kf_entry":
        PyObject *key           # NULL while the place is free
        PyObject *value
        int64_t expiry          # nanoseconds on the cache's clock, or NEVER
        uint32_t hash           # mixed (keys.pxd)
        uint32_t leaf           # of the deadlines (deadlines.pxd)
    const bint USED_APART "kf_used_apart"


cdef struct Due:
    uint32_t before
    uint32_t after


cdef struct Member:
    uint32_t prefix             # the node that it belongs to (prefixes.pxd), or 0
    uint32_t before
    uint32_t after


cdef struct Slab:
    Entry *entries
    Used *used                  # only without the GIL
    Due *due                    # NULL until something expires
    int64_t *weights            # NULL without a weigher
    Member *members             # NULL until patterns over prefixes are used
    uint32_t capacity           # entries there is room for, the anchor not counted
    uint32_t touched            # places that were ever in use; those above are not even paged in
    uint32_t free               # the list of free places below touched
    uint32_t count


cdef extern from *:
    Used *slab_used "kf_used_of"(const Slab *slab, uint32_t place) noexcept nogil


cdef inline bint slab_reserve(Slab *slab, uint32_t capacity, bint weighted, bint with_prefixes) noexcept nogil:
    # Makes room, or returns False and leaves everything as it was.
    cdef size_t places = <size_t> capacity + 1
    cdef bint fresh = slab.entries == NULL
    cdef void *memory
    if slab.due != NULL and not slab_reserve_due(slab, capacity):
        return False
    if weighted:
        memory = PyMem_RawRealloc(slab.weights, places * sizeof(int64_t))
        if memory == NULL:
            return False
        slab.weights = <int64_t *> memory
    if with_prefixes:
        memory = PyMem_RawRealloc(slab.members, places * sizeof(Member))
        if memory == NULL:
            return False
        slab.members = <Member *> memory
    if USED_APART:
        memory = PyMem_RawRealloc(slab.used, places * sizeof(Used))
        if memory == NULL:
            return False
        slab.used = <Used *> memory
    memory = PyMem_RawRealloc(slab.entries, places * sizeof(Entry))
    if memory == NULL:
        return False
    slab.entries = <Entry *> memory
    slab.capacity = capacity
    if fresh:
        slab_used(slab, NO_ENTRY).older = slab_used(slab, NO_ENTRY).newer = NO_ENTRY
    return True


cdef inline bint slab_reserve_due(Slab *slab, uint32_t capacity) noexcept nogil:
    cdef void *memory = PyMem_RawRealloc(slab.due, (<size_t> capacity + 1) * sizeof(Due))
    if memory == NULL:
        return False
    slab.due = <Due *> memory
    return True


cdef inline uint32_t slab_take(Slab *slab) noexcept nogil:
    # The caller has seen to it that count < capacity.
    cdef uint32_t place = slab.free
    if place != NO_ENTRY:
        slab.free = slab_used(slab, place).newer
    else:
        slab.touched += 1
        place = slab.touched
    slab.count += 1
    return place


cdef inline void slab_give(Slab *slab, uint32_t place) noexcept nogil:
    # Last in, first out: the next entry finds these lines still in the processor's cache.
    slab.entries[place].key = NULL
    slab_used(slab, place).newer = slab.free
    slab.free = place
    slab.count -= 1


cdef inline size_t slab_bytes(const Slab *slab) noexcept nogil:
    cdef size_t place = sizeof(Entry)
    if slab.entries == NULL:
        return 0
    if USED_APART:
        place += sizeof(Used)
    if slab.due != NULL:
        place += sizeof(Due)
    if slab.weights != NULL:
        place += sizeof(int64_t)
    if slab.members != NULL:
        place += sizeof(Member)
    return (<size_t> slab.capacity + 1) * place


cdef inline void slab_release(Slab *slab) noexcept nogil:
    PyMem_RawFree(slab.entries)
    PyMem_RawFree(slab.used)
    PyMem_RawFree(slab.due)
    PyMem_RawFree(slab.weights)
    PyMem_RawFree(slab.members)
    slab.entries = NULL
    slab.used = NULL
    slab.due = NULL
    slab.weights = NULL
    slab.members = NULL
    slab.capacity = slab.touched = slab.free = slab.count = 0
