from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from khronos_fast._core.prefetch cimport prefetch
from khronos_fast._core.slab cimport NO_ENTRY, Slab

cdef enum:
    ROOT = 0                    # the node of the empty prefix; a member's node 0 means that it has none
    NO_NODE = 0
    DEEPEST = 32
    FEWEST_NODES = 8
    LONGEST_PREFIX = 0x3FFFFFFF     # bytes; no pattern is longer

cdef struct Prefix:
    uint32_t low, high          # the halves of its hash
    uint32_t chain              # the next node in the hash table's chain
    uint32_t parent
    uint32_t child              # the first one; siblings make a circle
    uint32_t before, after      # siblings; `after` in a free node: the next free one
    uint32_t member             # the first one; members make a circle
    uint32_t round              # the last walk that was done with it

# The prefixes of a key, shortest first.
cdef struct Path:
    uint32_t levels
    uint32_t end                # of the longest one
    int64_t effort              # it took to find them; one for a short key
    uint64_t hashes[DEEPEST]

cdef struct Prefixes:
    uint32_t depth              # levels that have nodes; 0: there is no tree
    bint built                  # all entries are in it; before that, those above `cursor` may be missing
    uint32_t cursor
    uint32_t round
    Prefix *nodes
    uint32_t room
    uint32_t touched            # nodes that were ever in use
    uint32_t free
    uint32_t count
    uint32_t chains             # a power of two, or 0
    uint32_t *heads
    char *delimiter
    size_t delimiter_length
    uint64_t secret[2]          # where hashes begin, and what goes into each


cdef void path_find(
    Path *self, const Prefixes *prefixes, const char *text, Py_ssize_t length, uint32_t most
) noexcept nogil
cdef bint path_find_of_key(Path *self, const Prefixes *prefixes, PyObject *key) noexcept
cdef bint node_is(const Prefixes *self, uint32_t node, const Path *path, uint32_t level) noexcept nogil
cdef uint32_t prefixes_find(const Prefixes *self, const Path *path, uint32_t level) noexcept nogil
cdef bint prefixes_link(Prefixes *self, Slab *slab, uint32_t place, const Path *path) noexcept nogil
cdef void prefixes_move_back(Prefixes *self, Slab *slab, uint32_t place) noexcept nogil
cdef void prefixes_unlink(Prefixes *self, Slab *slab, uint32_t place) noexcept nogil
cdef void prefixes_empty(Prefixes *self) noexcept nogil
cdef void prefixes_give_up(Prefixes *self, Slab *slab) noexcept nogil
cdef void prefixes_begin_round(Prefixes *self) noexcept nogil


# A new key is linked in places that are anywhere in memory, each known only from the one before. So they are fetched
# ahead, one step at a time, while other things are done.

cdef inline void prefixes_foresee(const Prefixes *self, const Path *path) noexcept nogil:
    # Has fetched where the node of the longest prefix will be looked for.
    if path.levels != 0 and self.chains != 0:
        prefetch(&self.heads[path.hashes[path.levels - 1] & (self.chains - 1)])


cdef inline void prefixes_foresee_node(const Prefixes *self, const Path *path) noexcept nogil:
    # And then what is there.
    if path.levels != 0 and self.chains != 0:
        prefetch(&self.nodes[self.heads[path.hashes[path.levels - 1] & (self.chains - 1)]])


cdef inline void prefixes_foresee_members(const Prefixes *self, const Slab *slab, const Path *path) noexcept nogil:
    # And whom it will have for neighbours.
    cdef uint32_t first
    if path.levels != 0 and self.chains != 0:
        first = self.nodes[self.heads[path.hashes[path.levels - 1] & (self.chains - 1)]].member
        prefetch(&slab.members[first])


cdef inline bint node_in_use(const Prefix *node) noexcept nogil:
    return node.member != NO_ENTRY or node.child != NO_NODE


cdef inline size_t prefixes_bytes(const Prefixes *self) noexcept nogil:
    return <size_t> self.room * sizeof(Prefix) + <size_t> self.chains * sizeof(uint32_t) + self.delimiter_length
