from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from khronos_fast._core.pattern cimport Pattern, pattern_match, pattern_selects
from khronos_fast._core.prefetch cimport prefetch
from khronos_fast._core.prefixes cimport (
    DEEPEST,
    NO_NODE,
    Path,
    Prefixes,
    node_in_use,
    path_find,
    prefixes_find,
)
from khronos_fast._core.slab cimport NO_ENTRY, Entry, Slab
from khronos_fast._core.utf8 cimport EFFORT_SHIFT, Octets, Scratch, octets_of, scratch_free, scratch_init

cdef enum:
    AHEAD = 12              # how many keys ahead are fetched
    BEHIND_HEADER = 56      # bytes from the start of a key to where its text has begun


cdef int key_matches(const Pattern *pattern, PyObject *key) noexcept:
    return pattern_selects(pattern, key)


cdef int sweep_hides(const Sweep *self, const Slab *slab, uint32_t place) noexcept:
    if slab.entries[place].expiry <= self.now or sweep_is_fresh(self, place):
        return 0
    return pattern_selects(&self.pattern, slab.entries[place].key)


cdef void sweep_resume(Sweep *self, const Prefixes *prefixes) noexcept nogil:
    cdef Path path
    if self.by_prefix and not prefixes.built:
        self.by_prefix = False      # it was given up
    if self.by_prefix:
        path_find(&path, prefixes, self.pattern.bytes, self.pattern.length, DEEPEST)
        self.top = prefixes_find(prefixes, &path, path.levels)


cdef uint32_t sweep_next(Sweep *self, const Slab *slab, Prefixes *prefixes, int64_t *effort) noexcept:
    cdef uint32_t place
    if self.by_prefix:
        place = next_below(self, prefixes)
        if place == NO_ENTRY:
            self.over = True
            return NO_ENTRY
        effort[0] -= 1
        # Out of memory, it can't be told: then it goes, which is a miss more and never a wrong value.
        if matches(&self.pattern, slab.entries[place].key, effort) != 0:
            return place
        self.by_prefix = False      # two prefixes share a node
    return next_place(self, slab, effort)


cdef inline int matches(const Pattern *pattern, PyObject *key, int64_t *effort) noexcept:
    # 1, 0, or -1 where memory is out; its effort is taken off.
    cdef Scratch scratch
    cdef Octets octets
    cdef int outcome
    scratch_init(&scratch)
    outcome = octets_of(key, &scratch, &octets)
    if outcome == 1:
        outcome = pattern_match(pattern, octets.start, octets.length)
        effort[0] -= (octets.length >> EFFORT_SHIFT) * pattern.effort
        scratch_free(&scratch)
    return outcome


cdef inline uint32_t next_below(const Sweep *self, Prefixes *prefixes) noexcept nogil:
    # An entry below the top node that was there when the sweep began, or NO_ENTRY. In each list what came later is
    # further back: so members are taken from the front until a fresh one is met. A child in which nothing is left goes
    # to the back of its siblings, marked with the round, as those are that were made later.
    cdef uint32_t node = self.top
    cdef uint32_t place, child
    if node == NO_NODE:
        return NO_ENTRY
    while node_in_use(&prefixes.nodes[self.top]):
        place = prefixes.nodes[node].member
        if place != NO_ENTRY and not sweep_is_fresh(self, place):
            return place
        child = prefixes.nodes[node].child
        if child != NO_NODE and prefixes.nodes[child].round != prefixes.round:
            node = child
        elif node == self.top:
            break
        else:
            prefixes.nodes[node].round = prefixes.round
            child = prefixes.nodes[node].after
            node = prefixes.nodes[node].parent
            prefixes.nodes[node].child = child
    return NO_ENTRY


cdef inline uint32_t next_place(Sweep *self, const Slab *slab, int64_t *effort) noexcept:
    cdef const Entry *entries = slab.entries
    cdef uint32_t last = min(self.places, slab.touched)
    cdef PyObject *key
    while self.cursor < last:
        if effort[0] <= 0:
            return NO_ENTRY
        self.cursor += 1
        effort[0] -= 1
        if self.cursor + AHEAD <= last:
            key = entries[self.cursor + AHEAD].key
            prefetch(key)
            prefetch(<const char *> key + BEHIND_HEADER)
        key = entries[self.cursor].key
        if key == NULL:
            continue
        if matches(&self.pattern, key, effort) != 0 and not sweep_is_fresh(self, self.cursor):
            return self.cursor
    self.over = True
    return NO_ENTRY
