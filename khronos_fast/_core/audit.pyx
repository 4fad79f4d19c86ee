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
from khronos_fast._core.prefixes cimport (
    NO_NODE,
    Path,
    Prefixes,
    node_in_use,
    node_is,
    path_find_of_key,
    prefixes_find,
)
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
    assert cache.store.sweep == NULL, "an invalidation is under way, and nobody is at it"
    if cache.store.prefixes.depth != 0:
        audit_prefixes(&cache.store)


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
    assert deadlines.due == min(deadlines.next, deadlines.trusted), "what is due is not the earlier of the two"
    assert expiring == deadlines.count, f"{expiring} entries expire, {deadlines.count} have a deadline"
    if expiring == 0:
        assert deadlines.next == NEVER, "something is due where nothing expires"
        return True
    assert deadlines.next <= deadlines_end_of_tick(deadlines, deadlines_tick(deadlines, earliest)), (
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


cdef bint audit_prefixes(Store *store) except -1:
    cdef Prefixes *prefixes = &store.prefixes
    cdef Slab *slab = &store.slab
    cdef uint32_t place, node, at, chained = 0, free = 0, members = 0, linked = 0
    if slab.entries == NULL:
        assert prefixes.count == 0, "prefixes without entries"
        return True
    assert slab.members != NULL, "a tree of prefixes without members"
    for place in range(1, slab.touched + 1):
        if slab.entries[place].key != NULL:
            audit_member(store, place)
            linked += slab.members[place].prefix != NO_NODE
    for at in range(prefixes.chains):
        node = prefixes.heads[at]
        while node != NO_NODE:
            chained += 1
            assert chained <= prefixes.count, "more nodes in the chains than there are, or a circle"
            assert node_in_use(&prefixes.nodes[node]), f"node {node} is in a chain and stands for nothing"
            assert prefixes.nodes[node].low & (prefixes.chains - 1) == at, f"node {node} is in a wrong chain"
            members += audit_node(store, node)
            node = prefixes.nodes[node].chain
    assert chained == prefixes.count, f"{chained} nodes in the chains, {prefixes.count} in the tree"
    assert members == linked, f"{members} entries in the lists of nodes, {linked} that have one"
    node = prefixes.free
    while node != NO_NODE:
        free += 1
        assert not node_in_use(&prefixes.nodes[node]), f"node {node} is free and in use"
        node = prefixes.nodes[node].after
    assert free + prefixes.count == prefixes.touched, "nodes have been lost"
    return True


cdef bint audit_member(Store *store, uint32_t place) except -1:
    # An entry belongs to the longest prefix of its key that the tree is deep enough for, and that to the next shorter.
    cdef Prefixes *prefixes = &store.prefixes
    cdef uint32_t node = store.slab.members[place].prefix
    cdef Path path
    if not path_find_of_key(&path, prefixes, store.slab.entries[place].key):
        raise MemoryError
    if node == NO_NODE:
        assert path.levels == 0 or not prefixes.built, f"place {place} has a prefix and no node"
    else:
        assert path.levels != 0 and node_is(prefixes, node, &path, path.levels), f"place {place} is below a wrong node"
        assert prefixes_find(prefixes, &path, path.levels) == node, f"node {node} is there twice"
    return True


cdef uint32_t audit_node(Store *store, uint32_t node) except 0xFFFFFFFFu:
    # How many members it has.
    cdef Prefixes *prefixes = &store.prefixes
    cdef uint32_t at = prefixes.nodes[node].member
    cdef uint32_t count = 0
    while at != NO_ENTRY:
        count += 1
        assert count <= store.slab.count, f"the members of node {node} make a circle that leaves out the first one"
        assert store.slab.members[at].prefix == node, f"place {at} is a member of node {node} and does not know it"
        assert store.slab.members[store.slab.members[at].after].before == at, f"place {at} is not linked both ways"
        at = store.slab.members[at].after
        if at == prefixes.nodes[node].member:
            break
    at = prefixes.nodes[node].after
    assert prefixes.nodes[at].before == node, f"node {node} is not linked both ways"
    assert prefixes.nodes[at].parent == prefixes.nodes[node].parent, f"the siblings of node {node} have other parents"
    return count
