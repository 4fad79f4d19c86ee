# The hash table: from a key's hash to its place in the slab.
#
# Open addressing with linear probing, four bytes a slot. A slot holds a place in its upper bits and, in the bits that
# the places of this slab leave over, a tag: the low bits of the entry's hash. A probe touches an entry only where the
# tag agrees, so that looking past others, and most misses, never leaves the slots' own cache lines. The home of a hash
# is (hash * slots) >> 32 (Lemire, "Fast random integer generation in an interval", 2019): it uses the upper bits of the
# hash, so that tag and home tell different things, and it takes any number of slots.
#
# Up to 65,536 entries there are four slots for one: nearly every walk is one step, which a processor predicts. Above,
# fifteen for eight, 7.5 bytes an entry, where a hit looks at 1.6 slots on average and a miss at 3.1 (Knuth, TAOCP 3,
# 6.4): each step less would cost a million entries more memory than their misses in the processor's cache are worth.
#
# Removal shifts back what follows (the same, algorithm R) in place of leaving tombstones: a cache that evicts at every
# insertion would have to sweep those out by rebuilding the table, and a rebuild is a pause.

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from khronos_fast._core.keys cimport UNSURE, same_key
from khronos_fast._core.prefetch cimport prefetch
from khronos_fast._core.slab cimport NO_ENTRY, Entry, Slab

cdef extern from "<stdint.h>":
    const uint32_t ASK_PYTHON "UINT32_MAX"      # index_probe: only the keys' own __eq__ can tell

cdef enum:
    ROOMY = 65536       # entries


cdef struct Index:
    uint32_t *slots         # 0: empty, as no entry is in place 0
    uint32_t size
    uint32_t tag_bits
    uint32_t tag_mask


cdef inline uint32_t index_home(const Index *index, uint32_t hash) noexcept nogil:
    return <uint32_t> ((<uint64_t> hash * index.size) >> 32)


cdef inline uint32_t index_next(const Index *index, uint32_t slot) noexcept nogil:
    slot += 1
    return 0 if slot == index.size else slot


cdef inline void index_foresee(const Index *index, uint32_t hash) noexcept nogil:
    # Has the slots of a hash fetched while other things are done.
    prefetch(&index.slots[index_home(index, hash)])


cdef inline uint32_t index_probe(
    const Index *index, const Entry *entries, PyObject *key, uint32_t hash, uint32_t *slot
) noexcept:
    # Walks on from *slot to the entry of this key and returns its place, NO_ENTRY, or ASK_PYTHON with *slot at an entry
    # of the same hash. Runs no Python code. There is always an empty slot, so it ends.
    cdef uint32_t at = slot[0]
    cdef uint32_t found = index.slots[at]
    cdef uint32_t place
    cdef int same
    while found != 0:
        if ((found ^ hash) & index.tag_mask) == 0:
            place = found >> index.tag_bits
            if entries[place].hash == hash:
                same = same_key(entries[place].key, key)
                if same == 1:
                    slot[0] = at
                    return place
                if same == UNSURE:
                    slot[0] = at
                    return ASK_PYTHON
        at = index_next(index, at)
        found = index.slots[at]
    slot[0] = at
    return NO_ENTRY


cdef inline void index_add(Index *index, uint32_t hash, uint32_t place) noexcept nogil:
    cdef uint32_t slot = index_home(index, hash)
    while index.slots[slot] != 0:
        slot = index_next(index, slot)
    index.slots[slot] = (place << index.tag_bits) | (hash & index.tag_mask)


cdef inline void index_discard(Index *index, const Entry *entries, uint32_t place) noexcept nogil:
    cdef uint32_t hash = entries[place].hash
    cdef uint32_t hole = index_home(index, hash)
    cdef uint32_t slot, found, home, from_home, from_hole
    while (index.slots[hole] >> index.tag_bits) != place:
        hole = index_next(index, hole)
    slot = index_next(index, hole)
    found = index.slots[slot]
    while found != 0:
        # What lies behind the hole moves into it unless its home is behind the hole as well.
        home = index_home(index, entries[found >> index.tag_bits].hash)
        from_home = slot - home if slot >= home else slot + index.size - home
        from_hole = slot - hole if slot >= hole else slot + index.size - hole
        if from_home >= from_hole:
            index.slots[hole] = found
            hole = slot
        slot = index_next(index, slot)
        found = index.slots[slot]
    index.slots[hole] = 0


cdef inline bint index_rebuild(Index *index, const Slab *slab, uint32_t capacity) noexcept nogil:
    # A table for that many entries with those of the slab in it; False, and nothing changed, where memory is out.
    cdef uint64_t size = <uint64_t> capacity * 4 + 1 if capacity <= ROOMY else <uint64_t> capacity * 15 // 8
    cdef uint32_t place, place_bits = 1
    cdef uint32_t *slots
    if size > <uint64_t> 0xFFFFFFFFu:
        return False
    slots = <uint32_t *> PyMem_RawCalloc(<size_t> size, sizeof(uint32_t))
    if slots == NULL:
        return False
    while (<uint64_t> capacity >> place_bits) != 0:
        place_bits += 1
    PyMem_RawFree(index.slots)
    index.slots = slots
    index.size = <uint32_t> size
    index.tag_bits = 32 - place_bits
    index.tag_mask = (<uint32_t> 1 << index.tag_bits) - 1
    for place in range(1, slab.touched + 1):
        if slab.entries[place].key != NULL:
            index_add(index, slab.entries[place].hash, place)
    return True


cdef inline void index_release(Index *index) noexcept nogil:
    PyMem_RawFree(index.slots)
    index.slots = NULL
    index.size = 0
