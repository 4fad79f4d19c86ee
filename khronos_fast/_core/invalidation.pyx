"""Removing by pattern, and building the tree of prefixes for it: in slices, so that none holds others up for long.

A slice ends after half a millisecond, or the key over which that passes, or when enough references wait to be let go,
which takes as long again. The caller leaves the guard after each, lets go, and gives way. What a pattern costs: with a
prefix that is in the tree, what it removes; else a walk over all places, the keys fetched ahead, some 20 ns each.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawMalloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from khronos_fast._core.clock cimport clock_setup, fine_now
from khronos_fast._core.departures cimport EXPIRED, INVALIDATED, Departures, departures_reserve, departures_take
from khronos_fast._core.index cimport index_home, index_probe
from khronos_fast._core.keys cimport mix, try_hash
from khronos_fast._core.pattern cimport PREFIX, Pattern
from khronos_fast._core.prefetch cimport prefetch
from khronos_fast._core.prefixes cimport (
    DEEPEST,
    NO_NODE,
    Path,
    Prefixes,
    path_find,
    path_find_of_key,
    prefixes_begin_round,
    prefixes_give_up,
    prefixes_link,
)
from khronos_fast._core.slab cimport NO_ENTRY, Entry, Member
from khronos_fast._core.store cimport Store, store_depart
from khronos_fast._core.sweep cimport Sweep, sweep_announce, sweep_end, sweep_next, sweep_resume

cdef enum:
    SLICE = 500_000         # nanoseconds
    STRIDE = 256            # short keys that are looked at between looks at the clock
    MOST_AT_ONCE = 4096     # references to be let go between two slices
    AHEAD = 12              # how many keys ahead are fetched, for the tree
    BEHIND_HEADER = 56      # bytes from the start of a key to where its text has begun

clock_setup()


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


cdef inline void store_end_sweep(Store *self, Sweep *sweep) noexcept nogil:
    sweep_end(sweep)
    self.sweep = NULL


cdef bint store_sweep(Store *self, Sweep *sweep, Departures *gone) noexcept:
    # One slice; what goes is added to `gone`. True when it was the last one, and the sweep has ended.
    cdef int64_t end = fine_now() + SLICE
    cdef size_t most = gone.count + MOST_AT_ONCE
    cdef int64_t effort
    cdef uint32_t place
    departures_take(gone, &sweep.gone)
    sweep_resume(sweep, &self.prefixes)
    while True:
        effort = STRIDE
        while effort > 0:
            if gone.count >= most or not departures_reserve(gone, 1):
                return False
            place = sweep_next(sweep, &self.slab, &self.prefixes, &effort)
            if place == NO_ENTRY:
                break
            if self.slab.entries[place].expiry <= sweep.now:
                store_depart(self, place, EXPIRED, gone)
            else:
                sweep.removed += 1
                store_depart(self, place, INVALIDATED, gone)
        if sweep.over and sweep.gone.count == 0:
            store_end_sweep(self, sweep)
            return True
        if sweep.over or fine_now() >= end:
            return False


cdef void store_sweep_key(Store *self, Sweep *sweep, PyObject *key, Departures *gone) noexcept:
    # One key, in a cache whose keys can all be compared without Python code.
    cdef uint32_t hash = mix(try_hash(key))
    cdef uint32_t slot, place
    if self.index.slots == NULL:
        return
    slot = index_home(&self.index, hash)
    place = index_probe(&self.index, self.slab.entries, key, hash, &slot)
    if place == NO_ENTRY:
        return
    if self.slab.entries[place].expiry <= sweep.now:
        store_depart(self, place, EXPIRED, gone)
    else:
        sweep.removed += 1
        store_depart(self, place, INVALIDATED, gone)


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
    cdef int64_t effort = STRIDE
    cdef uint32_t ahead
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
            effort -= path.effort
        effort -= 1
        if effort <= 0:
            if fine_now() >= end:
                return False
            effort = STRIDE
    prefixes.built = prefixes.depth != 0
    return True
