"""Removing by pattern, and building the tree of prefixes for it: in slices, so that none holds others up for long.

A slice ends after half a millisecond, or when enough references wait to be let go, which takes as long again. The
caller leaves the guard after each, lets go, and gives way. What a pattern costs: with a prefix that is in the tree,
what it removes; else a walk over all places, the keys fetched ahead, some 20 ns each.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawMalloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from khronos_fast._core.clock cimport fine_now
from khronos_fast._core.departures cimport EXPIRED, INVALIDATED, Departures, departures_reserve, departures_take
from khronos_fast._core.pattern cimport PREFIX, Pattern, pattern_selects
from khronos_fast._core.prefetch cimport prefetch
from khronos_fast._core.prefixes cimport (
    DEEPEST,
    NO_NODE,
    Path,
    Prefixes,
    node_in_use,
    path_find,
    path_find_of_key,
    prefixes_begin_round,
    prefixes_find,
    prefixes_give_up,
    prefixes_link,
)
from khronos_fast._core.slab cimport NO_ENTRY, Entry, Member
from khronos_fast._core.store cimport Store, store_depart
from khronos_fast._core.sweep cimport Sweep, sweep_announce, sweep_end, sweep_is_fresh

cdef enum:
    SLICE = 500_000         # nanoseconds
    STRIDE = 256            # entries that are looked at between looks at the clock
    MOST_AT_ONCE = 4096     # references to be let go between two slices
    AHEAD = 12              # how many keys ahead are fetched
    BEHIND_HEADER = 56      # bytes from the start of a key to where its text has begun


# ---------------------------------------------------------------------- removing: all in the guard

cdef uint32_t indexed_level(const Pattern *pattern, const char *delimiter, size_t size) noexcept nogil:
    # How many levels deep the tree must be for a pattern; 0 where it is of no use, as no prefix ends there.
    cdef Prefixes rules
    cdef Path path
    if pattern.kind != PREFIX:
        return 0
    memset(&rules, 0, sizeof(Prefixes))
    rules.delimiter = <char *> delimiter
    rules.delimiter_length = size
    path_find(&path, &rules, pattern.bytes, pattern.length, DEEPEST)
    return path.levels if path.end == pattern.length else 0


cdef void store_begin_sweep(Store *self, Sweep *sweep, uint32_t level) noexcept nogil:
    sweep.places = self.slab.touched
    sweep.by_prefix = level != 0 and level <= self.prefixes.depth and self.prefixes.built
    if sweep.by_prefix:
        prefixes_begin_round(&self.prefixes)


cdef inline uint32_t sweep_top(const Store *store, const Sweep *sweep) noexcept nogil:
    # The node below which it walks; NO_NODE where there is nothing.
    cdef Path path
    path_find(&path, &store.prefixes, sweep.pattern.bytes, sweep.pattern.length, DEEPEST)
    return prefixes_find(&store.prefixes, &path, path.levels)


cdef inline uint32_t sweep_next_below(Prefixes *prefixes, const Sweep *sweep, uint32_t top) noexcept nogil:
    # An entry below a node that was there when the sweep began, or NO_ENTRY. In each list what came later is further
    # back: so members are taken from the front until a fresh one is met. A child in which nothing is left goes to the
    # back of its siblings, marked with the round, as those are that were made later.
    cdef uint32_t node = top
    cdef uint32_t place, child
    while node_in_use(&prefixes.nodes[top]):
        place = prefixes.nodes[node].member
        if place != NO_ENTRY and not sweep_is_fresh(sweep, place):
            return place
        child = prefixes.nodes[node].child
        if child != NO_NODE and prefixes.nodes[child].round != prefixes.round:
            node = child
        elif node == top:
            break
        else:
            prefixes.nodes[node].round = prefixes.round
            child = prefixes.nodes[node].after
            node = prefixes.nodes[node].parent
            prefixes.nodes[node].child = child
    return NO_ENTRY


cdef inline uint32_t sweep_next_place(const Store *store, Sweep *sweep, uint32_t last) noexcept:
    # The next entry, up to a place, that the pattern selects; or NO_ENTRY, with the cursor at that place.
    cdef const Entry *entries = store.slab.entries
    cdef PyObject *key
    while sweep.cursor < last:
        sweep.cursor += 1
        if sweep.cursor + AHEAD <= last:
            key = entries[sweep.cursor + AHEAD].key
            prefetch(key)
            prefetch(<const char *> key + BEHIND_HEADER)
        key = entries[sweep.cursor].key
        # Out of memory, it can't be told: then it goes, which is a miss more and never a wrong value.
        if key != NULL and pattern_selects(sweep.pattern, key) != 0 and not sweep_is_fresh(sweep, sweep.cursor):
            return sweep.cursor
    return NO_ENTRY


cdef inline void store_end_sweep(Store *self, Sweep *sweep) noexcept nogil:
    sweep_end(sweep)
    self.sweep = NULL


cdef bint store_sweep(Store *self, Sweep *sweep, Departures *gone) noexcept:
    # One slice; True when it was the last one, and the sweep has ended. `gone` is empty.
    cdef int64_t end = fine_now() + SLICE
    cdef uint32_t places = min(sweep.places, self.slab.touched)
    cdef uint32_t top = NO_NODE, place, last, _step
    departures_take(gone, &sweep.gone)
    if sweep.by_prefix:
        if not self.prefixes.built:
            sweep.by_prefix = False     # it was given up
        else:
            top = sweep_top(self, sweep)
            if top == NO_NODE:
                store_end_sweep(self, sweep)
                return True
    while True:
        last = min(sweep.cursor + STRIDE, places)
        for _step in range(<uint32_t> STRIDE):
            if sweep.by_prefix:
                place = sweep_next_below(&self.prefixes, sweep, top)
            else:
                place = sweep_next_place(self, sweep, last)
            if place == NO_ENTRY:
                if sweep.by_prefix or last == places:
                    store_end_sweep(self, sweep)
                    return True
                break
            if sweep.by_prefix and pattern_selects(sweep.pattern, self.slab.entries[place].key) == 0:
                sweep.by_prefix = False     # two prefixes share a node
                break
            if gone.count >= MOST_AT_ONCE or not departures_reserve(gone, 1):
                sweep.cursor = min(sweep.cursor, place - 1)
                return False
            if self.slab.entries[place].expiry <= sweep.now:
                store_depart(self, place, EXPIRED, gone)
            else:
                sweep.removed += 1
                store_depart(self, place, INVALIDATED, gone)
        if fine_now() >= end:
            return False


cdef bint store_announce(Store *self, Sweep *sweep) noexcept nogil:
    # After a slice that was not the last one: from now on look-ups mind what is still there. False where memory is out.
    if not sweep_announce(sweep):
        return False
    self.sweep = sweep
    return True


# ---------------------------------------------------------------------- building the tree: all in the guard

cdef bint store_begin_prefixes(
    Store *self, uint32_t depth, const char *delimiter, size_t size, const uint64_t *secret
) noexcept:
    # False where there is one, somebody else is building it, or memory is out.
    cdef Prefixes *prefixes = &self.prefixes
    if prefixes.depth != 0 and not prefixes.built:
        # A slice of it, in case that who began it was left behind in the process this one was forked from.
        store_build_prefixes(self)
        return False
    if prefixes.depth >= depth:
        return False
    prefixes_give_up(prefixes, &self.slab)
    prefixes.delimiter = <char *> PyMem_RawMalloc(size)
    self.slab.members = <Member *> PyMem_RawCalloc(<size_t> self.slab.capacity + 1, sizeof(Member))
    if prefixes.delimiter == NULL or self.slab.members == NULL:
        prefixes_give_up(prefixes, &self.slab)
        return False
    memcpy(prefixes.delimiter, delimiter, size)
    prefixes.delimiter_length = size
    prefixes.secret[0] = secret[0]
    prefixes.secret[1] = secret[1]
    prefixes.depth = depth
    return True


cdef bint store_build_prefixes(Store *self) noexcept:
    # One slice; True when it was the last one.
    cdef int64_t end = fine_now() + SLICE
    cdef Prefixes *prefixes = &self.prefixes
    cdef const Entry *entries
    cdef Path path
    cdef uint32_t steps = 0, ahead
    while prefixes.depth != 0 and prefixes.cursor < self.slab.touched:
        prefixes.cursor += 1
        entries = self.slab.entries
        ahead = min(prefixes.cursor + AHEAD, self.slab.touched)
        prefetch(entries[ahead].key)
        prefetch(<const char *> entries[ahead].key + BEHIND_HEADER)
        # What came after the beginning is in it already.
        if entries[prefixes.cursor].key != NULL and self.slab.members[prefixes.cursor].prefix == NO_NODE:
            if (
                not path_find_of_key(&path, prefixes, entries[prefixes.cursor].key)
                or not prefixes_link(prefixes, &self.slab, prefixes.cursor, &path)
            ):
                prefixes_give_up(prefixes, &self.slab)
        steps += 1
        if steps % STRIDE == 0 and fine_now() >= end:
            return False
    prefixes.built = prefixes.depth != 0
    return True
