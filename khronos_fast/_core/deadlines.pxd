# When the entries expire: a trie over time that yields the earliest first.
#
# Time is cut into ticks of 2^20 ns (1.05 ms). A leaf stands for an aligned run of 16^level ticks and is a doubly linked
# list, in no order, of the entries that expire in it; an inner node has 16 children, leaves or inner nodes of a level
# less. A leaf that grows past 128 entries bursts: it becomes an inner node and its entries move into the leaves below.
# (A burst trie, Heinz, Zobel and Williams, ACM TOIS 20(2), 2002, with times in place of strings.)
#
# Bounds, whatever the times to live are: adding walks down at most 11 levels and bursts at most 11 leaves of 129
# entries; most often it appends to the leaf of the entry before, because that one was stamped in the same millisecond.
# Removing is O(1), and O(11) when it empties a leaf. The earliest entry is in the leftmost leaf: either that whole leaf
# is in the past, or it is one tick, or it has at most 129 entries to look through.
#
# Why not a timer wheel (Varghese and Lauck, SOSP '87)? A wheel refines its coarse buckets when their time comes. A
# million entries in one bucket are then a pause, or, cascaded step by step, for a while in no order: a live entry would
# be evicted while an expired one waits in a bucket. Here the refining is done when an entry is added, 128 at most at a
# time, and the order is always exact to a tick. Why not a heap? Each eviction would pay log n for removing from it.
#
# Memory: eight bytes an entry for the list, four for its leaf (both in slab.pxd), and the nodes: nothing to speak of
# where entries share ticks, about 2.5 bytes an entry added where each has a time of its own. Nodes that have become
# empty are used again, and all are given back when the cache is shrunk while nothing in it expires.

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from khronos_fast._core.slab cimport NEVER, NO_ENTRY, Due, Slab

cdef extern from *:
    """
    #ifdef _MSC_VER
      #include <intrin.h>
      static inline unsigned kf_lowest_bit(unsigned x) { unsigned long i; _BitScanForward(&i, x); return (unsigned)i; }
    #else
      #define kf_lowest_bit(x) ((unsigned)__builtin_ctz(x))
    #endif
    """
    uint32_t lowest_bit "kf_lowest_bit"(uint32_t bits) noexcept nogil

cdef enum:
    TICK_SHIFT = 20
    FANOUT_SHIFT = 4
    FANOUT = 16
    ROOT_LEVEL = 11         # 16^11 ticks and 2^20 ns: all that 64 bits can say
    BURST = 128
    INNER = 0x80000000u     # marks a child that is an inner node; a child of 0 is none

cdef struct Leaf:
    uint32_t parent         # an inner node; in a free leaf, the next free one
    uint32_t first          # an entry
    uint32_t count
    uint32_t level

cdef struct Inner:
    uint32_t parent         # 0 for the root; in a free node, the next free one
    uint16_t level          # of its children
    uint16_t present        # a bit for each child there is
    uint32_t child[FANOUT]

cdef struct Deadlines:
    int64_t origin          # where tick 0 begins; no later than any expiry
    int64_t due             # before this moment nothing needs doing: the earlier of the next two
    int64_t next            # before this moment no entry needs doing; NEVER when none has an expiry
    int64_t trusted         # from this moment on nothing that is in the cache may be given out; NEVER as a rule
    uint32_t count
    uint32_t latest_leaf    # where the latest addition went, or 0
    uint32_t latest_shift
    uint64_t latest_run     # the ticks of latest_leaf, shifted by latest_shift
    Leaf *leaves            # from 1
    uint32_t leaf_room
    uint32_t leaf_touched
    uint32_t leaf_free
    Inner *inners           # from 1, and 1 is the root
    uint32_t inner_room
    uint32_t inner_touched
    uint32_t inner_free


cdef inline void deadlines_init(Deadlines *self) noexcept nogil:
    memset(self, 0, sizeof(Deadlines))
    self.due = self.next = self.trusted = NEVER


cdef inline void deadlines_set_next(Deadlines *self, int64_t moment) noexcept nogil:
    self.next = moment
    self.due = min(moment, self.trusted)


cdef inline void deadlines_trust(Deadlines *self, int64_t moment) noexcept nogil:
    # Whoever compares the time with `due`, as look-ups do, need not compare it with this as well.
    self.trusted = moment
    self.due = min(self.next, moment)


cdef inline void deadlines_begin(Deadlines *self, int64_t now) noexcept nogil:
    # Before an entry is added where there is none. An operation that read its time before this one did and was held up
    # may still come with an earlier expiry: that counts as in tick 0.
    self.origin = now


cdef inline uint64_t deadlines_tick(const Deadlines *self, int64_t expiry) noexcept nogil:
    # The difference of two int64 always fits in a uint64, also where the subtraction of int64 would overflow.
    if expiry < self.origin:
        return 0
    return (<uint64_t> expiry - <uint64_t> self.origin) >> TICK_SHIFT


cdef inline int64_t deadlines_end_of_tick(const Deadlines *self, uint64_t tick) noexcept nogil:
    cdef uint64_t end = (tick + 1) << TICK_SHIFT
    if end > <uint64_t> NEVER - <uint64_t> self.origin or end < (tick << TICK_SHIFT):
        return NEVER - 1
    return <int64_t> (<uint64_t> self.origin + end)


cdef inline uint32_t deadlines_slot(uint64_t tick, uint32_t level) noexcept nogil:
    return (tick >> (FANOUT_SHIFT * level)) & (FANOUT - 1)


cdef inline uint32_t leaf_take(Deadlines *self) noexcept nogil:
    cdef uint32_t leaf = self.leaf_free
    if leaf != 0:
        self.leaf_free = self.leaves[leaf].parent
        return leaf
    self.leaf_touched += 1
    return self.leaf_touched


cdef inline void leaf_give(Deadlines *self, uint32_t leaf) noexcept nogil:
    self.leaves[leaf].count = 0
    self.leaves[leaf].parent = self.leaf_free
    self.leaf_free = leaf
    if self.latest_leaf == leaf:
        self.latest_leaf = 0


cdef inline uint32_t inner_take(Deadlines *self, uint32_t parent, uint32_t level) noexcept nogil:
    cdef uint32_t inner = self.inner_free
    if inner != 0:
        self.inner_free = self.inners[inner].parent
    else:
        self.inner_touched += 1
        inner = self.inner_touched
    self.inners[inner].parent = parent
    self.inners[inner].level = <uint16_t> level
    self.inners[inner].present = 0
    memset(self.inners[inner].child, 0, sizeof(self.inners[inner].child))
    return inner


cdef inline bint deadlines_reserve(Deadlines *self, uint32_t leaves, uint32_t inners) noexcept nogil:
    # Makes sure that so many more nodes can be taken without asking for memory. False where there is none.
    cdef uint32_t room
    cdef void *memory
    if self.inner_touched == 0:
        inners += 1
    if self.leaf_touched + leaves > self.leaf_room:
        room = (self.leaf_touched + leaves) * 2
        memory = PyMem_RawRealloc(self.leaves, (<size_t> room + 1) * sizeof(Leaf))
        if memory == NULL:
            return False
        self.leaves = <Leaf *> memory
        self.leaf_room = room
    if self.inner_touched + inners > self.inner_room:
        room = (self.inner_touched + inners) * 2
        memory = PyMem_RawRealloc(self.inners, (<size_t> room + 1) * sizeof(Inner))
        if memory == NULL:
            return False
        self.inners = <Inner *> memory
        self.inner_room = room
    if self.inner_touched == 0:
        inner_take(self, 0, ROOT_LEVEL - 1)
    return True


cdef inline void deadlines_push(Deadlines *self, Slab *slab, uint32_t leaf, uint32_t place) noexcept nogil:
    cdef Leaf *to = &self.leaves[leaf]
    slab.entries[place].leaf = leaf
    slab.due[place].before = NO_ENTRY
    slab.due[place].after = to.first
    if to.first != NO_ENTRY:
        slab.due[to.first].before = place
    to.first = place
    to.count += 1


cdef inline uint32_t deadlines_new_leaf(Deadlines *self, uint32_t parent, uint32_t slot) noexcept nogil:
    cdef uint32_t leaf = leaf_take(self)
    cdef Inner *above = &self.inners[parent]
    above.child[slot] = leaf
    above.present = above.present | <uint16_t> (1 << slot)
    self.leaves[leaf].parent = parent
    self.leaves[leaf].level = above.level
    self.leaves[leaf].first = NO_ENTRY
    self.leaves[leaf].count = 0
    return leaf


cdef inline uint32_t deadlines_burst(Deadlines *self, Slab *slab, uint32_t leaf, uint64_t tick) noexcept nogil:
    # Replaces the leaf by an inner node and leaves one level below; returns the one that the tick belongs to.
    cdef uint32_t parent = self.leaves[leaf].parent
    cdef uint32_t level = self.leaves[leaf].level
    cdef uint32_t place = self.leaves[leaf].first
    cdef uint32_t inner = inner_take(self, parent, level - 1)
    cdef uint32_t below, slot, after
    self.inners[parent].child[deadlines_slot(tick, level)] = inner | INNER
    leaf_give(self, leaf)
    while place != NO_ENTRY:
        after = slab.due[place].after
        slot = deadlines_slot(deadlines_tick(self, slab.entries[place].expiry), level - 1)
        below = self.inners[inner].child[slot]
        if below == 0:
            below = deadlines_new_leaf(self, inner, slot)
        deadlines_push(self, slab, below, place)
        place = after
    return self.inners[inner].child[deadlines_slot(tick, level - 1)]


cdef inline void deadlines_add(Deadlines *self, Slab *slab, uint32_t place) noexcept nogil:
    # The caller has reserved a leaf. entry.expiry is set, and not NEVER.
    cdef uint64_t tick = deadlines_tick(self, slab.entries[place].expiry)
    cdef uint32_t leaf = self.latest_leaf
    if slab.entries[place].expiry < self.next:
        deadlines_set_next(self, min(self.next, deadlines_end_of_tick(self, tick)))
    self.count += 1
    if (
        leaf != 0 and (tick >> self.latest_shift) == self.latest_run
        and (self.latest_shift == 0 or self.leaves[leaf].count < BURST)
    ):
        deadlines_push(self, slab, leaf, place)
    else:
        deadlines_descend(self, slab, place, tick)


cdef inline void deadlines_descend(Deadlines *self, Slab *slab, uint32_t place, uint64_t tick) noexcept nogil:
    # Adds an entry from the root on, and bursts what has become too full.
    cdef uint32_t slot, inner = 1
    cdef uint32_t child = INNER
    while child & INNER:
        slot = deadlines_slot(tick, self.inners[inner].level)
        child = self.inners[inner].child[slot]
        if child & INNER:
            inner = child & ~<uint32_t> INNER
        elif child == 0:
            child = deadlines_new_leaf(self, inner, slot)
    deadlines_push(self, slab, child, place)
    while self.leaves[child].count > BURST and self.leaves[child].level > 0 and deadlines_reserve(self, FANOUT, 1):
        child = deadlines_burst(self, slab, child, tick)
    self.latest_leaf = child
    self.latest_shift = FANOUT_SHIFT * self.leaves[child].level
    self.latest_run = tick >> self.latest_shift


cdef inline void deadlines_remove(Deadlines *self, Slab *slab, uint32_t place) noexcept nogil:
    cdef Due *due = &slab.due[place]
    cdef uint32_t leaf = slab.entries[place].leaf
    cdef Leaf *of = &self.leaves[leaf]
    cdef uint64_t tick
    cdef uint32_t inner, level, above
    if due.before != NO_ENTRY:
        slab.due[due.before].after = due.after
    else:
        of.first = due.after
    if due.after != NO_ENTRY:
        slab.due[due.after].before = due.before
    of.count -= 1
    self.count -= 1
    if of.count == 0:
        tick = deadlines_tick(self, slab.entries[place].expiry)
        inner = of.parent
        level = of.level
        leaf_give(self, leaf)
        while True:
            self.inners[inner].child[deadlines_slot(tick, level)] = 0
            self.inners[inner].present &= <uint16_t> ~(1 << deadlines_slot(tick, level))
            above = self.inners[inner].parent
            if self.inners[inner].present != 0 or above == 0:
                break
            self.inners[inner].parent = self.inner_free
            self.inner_free = inner
            inner = above
            level += 1
    if self.count == 0:
        deadlines_set_next(self, NEVER)


cdef inline void deadlines_move(Deadlines *self, Slab *slab, uint32_t place, int64_t expiry) noexcept nogil:
    # A new expiry for an entry that has one; the caller has reserved a leaf.
    cdef uint32_t shift = FANOUT_SHIFT * self.leaves[slab.entries[place].leaf].level
    cdef uint64_t tick = deadlines_tick(self, expiry)
    if (tick >> shift) == (deadlines_tick(self, slab.entries[place].expiry) >> shift):
        slab.entries[place].expiry = expiry
        deadlines_set_next(self, min(self.next, deadlines_end_of_tick(self, tick)))
        return
    deadlines_remove(self, slab, place)
    slab.entries[place].expiry = expiry
    deadlines_add(self, slab, place)


cdef inline uint32_t deadlines_first_leaf(const Deadlines *self) noexcept nogil:
    # Only where count > 0.
    cdef uint32_t child = 1 | INNER
    while child & INNER:
        child = child & ~<uint32_t> INNER
        child = self.inners[child].child[lowest_bit(self.inners[child].present)]
    return child


cdef inline uint32_t deadlines_next_expired(
    Deadlines *self, const Slab *slab, int64_t now, bint exact, uint32_t resume
) noexcept nogil:
    # An entry that has expired, or NO_ENTRY, in which case `next` says when to ask again. A tick that is not over yet
    # is looked into only where `exact`: any number of entries may share one. `resume`: where in the leaf to look first,
    # for a caller who knows that what comes before has not expired; 0 for the start.
    cdef uint32_t leaf, place
    cdef uint64_t last
    cdef int64_t due
    if self.count == 0:
        return NO_ENTRY
    leaf = deadlines_first_leaf(self)
    place = self.leaves[leaf].first
    last = deadlines_tick(self, slab.entries[place].expiry)
    last |= (<uint64_t> 1 << (FANOUT_SHIFT * self.leaves[leaf].level)) - 1
    due = deadlines_end_of_tick(self, last)
    if due <= now:
        return place
    if self.leaves[leaf].level > 0 or exact:
        while resume != NO_ENTRY:
            if slab.entries[resume].expiry <= now:
                return resume
            resume = slab.due[resume].after
        while place != NO_ENTRY:
            if slab.entries[place].expiry <= now:
                return place
            due = min(due, deadlines_end_of_tick(self, deadlines_tick(self, slab.entries[place].expiry)))
            place = slab.due[place].after
    deadlines_set_next(self, due)
    return NO_ENTRY


cdef inline void deadlines_release(Deadlines *self) noexcept nogil:
    cdef int64_t trusted
    PyMem_RawFree(self.leaves)
    PyMem_RawFree(self.inners)
    trusted = self.trusted
    deadlines_init(self)
    deadlines_trust(self, trusted)


cdef inline void deadlines_renumber(
    Deadlines *self, Slab *slab, const uint32_t *moved
) noexcept nogil:
    # The entries have been moved to new places: `moved` leads from the old ones to those.
    cdef uint32_t place, leaf
    for place in range(1, slab.touched + 1):
        if slab.entries[place].expiry != NEVER:
            slab.due[place].before = moved[slab.due[place].before]
            slab.due[place].after = moved[slab.due[place].after]
    for leaf in range(1, self.leaf_touched + 1):
        if self.leaves[leaf].count != 0:
            self.leaves[leaf].first = moved[self.leaves[leaf].first]
