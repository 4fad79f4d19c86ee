"""Does a cache's every structure tell the same story? For tests, and for whoever hunts a bug."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from khronos_fast._core.deadlines cimport (
    BURST,
    FANOUT,
    FANOUT_SHIFT,
    INNER,
    ROOT_LEVEL,
    Deadlines,
    deadlines_end_of_tick,
    deadlines_tick,
)
from khronos_fast._core.index cimport ASK_PYTHON, Index, index_home, index_probe
from khronos_fast._core.memory cimport MemoryCache
from khronos_fast._core.slab cimport NEVER, NO_ENTRY, Slab, slab_used
from khronos_fast._core.store cimport Store, store_enter, store_leave


def audit(MemoryCache cache not None):
    """Raise AssertionError where a cache's structures disagree. O(n); nobody may write to the cache meanwhile.

    >>> from khronos_fast import MemoryCache
    >>> audit(MemoryCache())
    """
    store_enter(&cache.store)
    store_leave(&cache.store)
    audit_recency(&cache.store)
    audit_index(&cache.store)
    audit_deadlines(&cache.store)
    if cache.store.max_weight != 0:
        audit_weights(&cache.store)


cdef bint audit_recency(Store *store) except -1:
    cdef Slab *slab = &store.slab
    cdef uint32_t place, older, seen = 0, free = 0
    assert slab.count <= store.limit, f"{slab.count} entries, more than maxsize {store.limit}"
    assert slab.count <= slab.touched <= slab.capacity or slab.entries == NULL, "more places in use than there are"
    if slab.entries == NULL:
        assert slab.count == 0, "entries without a slab"
        return True
    older = NO_ENTRY
    place = slab_used(slab, NO_ENTRY).newer
    while place != NO_ENTRY:
        seen += 1
        assert seen <= slab.count, "the recency list has more entries than the slab, or a circle"
        assert slab.entries[place].key != NULL, f"place {place} is in the recency list and free"
        assert slab_used(slab, place).older == older, f"place {place} does not link back to {older}"
        older = place
        place = slab_used(slab, place).newer
    assert seen == slab.count, f"{seen} entries in the recency list, {slab.count} in the slab"
    assert slab_used(slab, NO_ENTRY).older == older, "the anchor does not know the newest entry"
    place = slab.free
    while place != NO_ENTRY:
        free += 1
        assert slab.entries[place].key == NULL, f"place {place} is free and in use"
        place = slab_used(slab, place).newer
    assert free + slab.count == slab.touched, "places have been lost"
    return True


cdef bint audit_index(Store *store) except -1:
    cdef Index *index = &store.index
    cdef Slab *slab = &store.slab
    cdef uint32_t slot, place, at, found, seen = 0
    for slot in range(index.size):
        if index.slots[slot] == 0:
            continue
        seen += 1
        place = index.slots[slot] >> index.tag_bits
        assert place <= slab.touched and slab.entries[place].key != NULL, f"slot {slot} leads to the free place {place}"
        assert (index.slots[slot] ^ slab.entries[place].hash) & index.tag_mask == 0, f"slot {slot} has a wrong tag"
        at = index_home(index, slab.entries[place].hash)
        found = index_probe(index, slab.entries, slab.entries[place].key, slab.entries[place].hash, &at)
        assert found == place or found == ASK_PYTHON, f"places {found} and {place} have the same key"
        at = index_home(index, slab.entries[place].hash)
        while at != slot:
            assert index.slots[at] != 0, f"an empty slot before the entry in slot {slot}"
            at = 0 if at + 1 == index.size else at + 1
    assert seen == slab.count, f"{seen} entries in the index, {slab.count} in the slab"
    return True


cdef bint audit_deadlines(Store *store) except -1:
    cdef Deadlines *deadlines = &store.deadlines
    cdef Slab *slab = &store.slab
    cdef uint32_t place, expiring = 0
    cdef int64_t earliest = NEVER
    for place in range(1, slab.touched + 1):
        if slab.entries[place].key != NULL and slab.entries[place].expiry != NEVER:
            expiring += 1
            earliest = min(earliest, slab.entries[place].expiry)
    assert expiring == deadlines.count, f"{expiring} entries expire, {deadlines.count} have a deadline"
    if expiring == 0:
        assert deadlines.due == NEVER, "something is due where nothing expires"
        return True
    assert deadlines.due <= deadlines_end_of_tick(deadlines, deadlines_tick(deadlines, earliest)), (
        "the next look at what has expired is too late"
    )
    assert audit_inner(store, 1, 0, ROOT_LEVEL - 1, 0) == expiring, "deadlines have been lost"
    return True


cdef uint32_t audit_inner(
    Store *store, uint32_t inner, uint64_t run, uint32_t level, uint32_t parent
) except 0xFFFFFFFFu:
    # How many entries are below this node, whose children each stand for 16^level ticks; `run` is its first tick.
    cdef Deadlines *deadlines = &store.deadlines
    cdef uint32_t slot, child, below, count = 0
    cdef uint64_t first
    assert deadlines.inners[inner].parent == parent, f"inner node {inner} has a wrong parent"
    assert deadlines.inners[inner].level == level, f"inner node {inner} has a wrong level"
    for slot in range(<uint32_t> FANOUT):
        child = deadlines.inners[inner].child[slot]
        assert (child != 0) == ((deadlines.inners[inner].present >> slot) & 1), f"inner node {inner} has a wrong bit"
        if child == 0:
            continue
        first = run + (<uint64_t> slot << (FANOUT_SHIFT * level))
        if child & INNER:
            below = audit_inner(store, child & ~<uint32_t> INNER, first, level - 1, inner)
        else:
            below = audit_leaf(store, child, first, level, inner)
        assert below > 0, f"an empty child of inner node {inner}"
        count += below
    return count


cdef uint32_t audit_leaf(
    Store *store, uint32_t leaf, uint64_t first, uint32_t level, uint32_t parent
) except 0xFFFFFFFFu:
    cdef Deadlines *deadlines = &store.deadlines
    cdef Slab *slab = &store.slab
    cdef uint32_t place = deadlines.leaves[leaf].first
    cdef uint32_t before = NO_ENTRY, count = 0
    cdef uint64_t tick
    assert deadlines.leaves[leaf].parent == parent, f"leaf {leaf} has a wrong parent"
    assert deadlines.leaves[leaf].level == level, f"leaf {leaf} has a wrong level"
    assert level == 0 or deadlines.leaves[leaf].count <= BURST, f"leaf {leaf} should have burst"
    while place != NO_ENTRY:
        count += 1
        assert count <= deadlines.leaves[leaf].count, f"leaf {leaf} has more entries than it counts, or a circle"
        tick = deadlines_tick(deadlines, slab.entries[place].expiry)
        assert first <= tick < first + (<uint64_t> 1 << (FANOUT_SHIFT * level)), f"place {place} is in a wrong leaf"
        assert slab.entries[place].leaf == leaf, f"place {place} does not know its leaf"
        assert slab.due[place].before == before, f"place {place} does not link back to {before}"
        before = place
        place = slab.due[place].after
    assert count == deadlines.leaves[leaf].count, f"leaf {leaf} has lost entries"
    return count


cdef bint audit_weights(Store *store) except -1:
    cdef int64_t weight = 0
    cdef uint32_t place
    for place in range(1, store.slab.touched + 1):
        if store.slab.entries[place].key != NULL:
            weight += store.slab.weights[place]
    assert weight == store.weight, f"the entries weigh {weight}, the cache says {store.weight}"
    assert weight <= store.max_weight, f"the entries weigh {weight}, more than {store.max_weight}"
    return True
