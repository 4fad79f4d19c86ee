"""The tree of the keys' prefixes, for patterns like `user:42:*`: from a prefix to the entries whose keys begin with it.

Where a key has the cache's delimiter, a prefix ends: `user:42:name` has `user:` and `user:42:`. Each prefix that some
entry has is a node; a hash table leads to it, it knows its parent and its children, and it has a list of its members,
the entries that have no longer prefix. What begins with a prefix is below its node, so that removing all of that
takes time in proportion to it, however large the cache is. (A trie over the segments of keys, its edges in one hash
table.)

Nodes keep no text. A node is known by the hashes of its prefix and of all shorter ones, 64 bits each, and nobody
looks at the keys of those below: that would be three misses in the processor's cache for each new key. Should two
prefixes ever have the same hashes, they share a node, and whoever removes by prefix, and looks at each key then, finds
one that does not belong there and walks over the whole cache instead. So that costs time and never an entry; builds
for debugging, in which a hash has two bits, do it all the time. The hash is keyed by the interpreter's own secret, or
who chooses keys could choose such. (Words multiplied to twice their width and folded, as in wyhash by Wang Yi.)

What it costs
- a cache on which no such pattern was ever run: nothing, it is not there;
- the first such pattern: a walk over all entries, in slices between which others run (invalidation.pyx); the pattern
  itself is answered by another one before that;
- from then on, whether patterns come now and then or at every write: 12 bytes an entry, some 45 a prefix, and with
  each new key its delimiters looked for, a hash, a look-up, and links in three places, as much again where its prefix
  is new and when it goes. Overwriting costs nothing. A cache with patterns only now and then pays this too; in
  exchange none of them is ever a walk.

It is only as deep as the patterns were that have been run, at most DEEPEST: `user:*` alone does not make a node for
every user. A pattern that goes deeper has it built again. Its hash table doubles in one go, as the index does: some
10 ms for a million prefixes. Where memory for it is out it is given up, and the next pattern starts it anew: it never
makes a write fail.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from khronos_fast._core.slab cimport NO_ENTRY, Member, Slab
from khronos_fast._core.utf8 cimport EFFORT_SHIFT, Octets, Scratch, octets_of, scratch_free, scratch_init
from khronos_fast._core.word cimport WORD, lowest_bit_of_word, word_at, word_hits

cdef extern from *:
    """
    #ifdef _MSC_VER
      #include <intrin.h>
    #endif
    static inline uint64_t kf_fold(uint64_t a, uint64_t b) {
    #if defined(__SIZEOF_INT128__)
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    #elif defined(_MSC_VER) && defined(_M_X64)
        uint64_t high, low = _umul128(a, b, &high);
        return low ^ high;
    #elif defined(_MSC_VER) && defined(_M_ARM64)
        return (a * b) ^ __umulh(a, b);
    #else
        uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
        uint64_t low = al * bl, one = ah * bl, two = al * bh, high = ah * bh;
        uint64_t middle = (low >> 32) + (uint32_t)one + (uint32_t)two;
        high += (one >> 32) + (two >> 32) + (middle >> 32);
        return ((middle << 32) | (uint32_t)low) ^ high;
    #endif
    }
    /* A hash and eight bytes more; `length` is mixed in, too. */
    static inline uint64_t kf_hash_more(uint64_t hash, uint64_t word, uint64_t length, uint64_t secret) {
        return kf_fold(word ^ secret, hash ^ length ^ 0x9E3779B97F4A7C15u);
    }
    #ifdef KF_WEAK_HASH
      #define kf_hash_end(hash) ((hash) & 3)
    #else
      #define kf_hash_end(hash) (hash)
    #endif
    static inline uint64_t kf_short_word(const char *text, size_t length) {
        uint64_t word = 0;
        while (length-- > 0) word = word << 8 | (unsigned char)text[length];
        return word;
    }
    """
    uint64_t hash_more "kf_hash_more"(uint64_t hash, uint64_t word, uint64_t length, uint64_t secret) noexcept nogil
    uint64_t hash_end "kf_hash_end"(uint64_t hash) noexcept nogil
    # Of less than eight bytes.
    uint64_t short_word "kf_short_word"(const char *text, size_t length) noexcept nogil


# ---------------------------------------------------------------------- keys

cdef void path_find(
    Path *self, const Prefixes *prefixes, const char *text, Py_ssize_t length, uint32_t most
) noexcept nogil:
    self.levels = self.end = 0
    if length > LONGEST_PREFIX:
        length = LONGEST_PREFIX
    if prefixes.delimiter_length == 1 and length >= WORD:
        path_find_by_words(self, prefixes, text, text + length, most)
    else:
        path_find_slowly(self, prefixes, text, text + length, most)


cdef inline void path_find_by_words(
    Path *self, const Prefixes *prefixes, const char *text, const char *end, uint32_t most
) noexcept nogil:
    # Looks for the delimiter and hashes at one go.
    cdef const char *at = text
    cdef char delimiter = prefixes.delimiter[0]
    cdef uint64_t secret = prefixes.secret[1]
    cdef uint64_t hash = prefixes.secret[0]
    cdef uint64_t word, hits
    cdef uint32_t before
    while at < end and self.levels < most:
        word = word_at(at, end)
        hits = word_hits(word, delimiter)
        if hits == 0:
            hash = hash_more(hash, word, WORD, secret)
            at += WORD
            continue
        before = lowest_bit_of_word(hits) >> 3
        if at + before >= end:
            break           # behind the end there are zeros, which may be the delimiter
        # What precedes the delimiter; it lies less than eight bytes ahead, so the shift is less than the word.
        hash = hash_end(hash_more(hash, word & (((<uint64_t> 1) << (8 * before)) - 1), before, secret))
        at += before + 1
        self.hashes[self.levels] = hash
        self.levels += 1
        self.end = <uint32_t> (at - text)


cdef inline void path_find_slowly(
    Path *self, const Prefixes *prefixes, const char *text, const char *end, uint32_t most
) noexcept nogil:
    # The same for short keys, and for delimiters of any length, which may overlap.
    cdef const char *at = text
    cdef const char *begin = text
    cdef const char *last
    cdef size_t size = prefixes.delimiter_length
    cdef uint64_t secret = prefixes.secret[1]
    cdef uint64_t hash = prefixes.secret[0]
    while self.levels < most and <size_t> (end - at) >= size:
        at = <const char *> memchr(at, <uint8_t> prefixes.delimiter[0], end - at - (size - 1))
        if at == NULL:
            break
        if size == 1 or memcmp(at, prefixes.delimiter, size) == 0:
            # All but the last byte of the delimiter, so that there is nothing twice where two of them overlap.
            last = at + size - 1
            while last - begin >= WORD:
                hash = hash_more(hash, word_at(begin, end), WORD, secret)
                begin += WORD
            hash = hash_end(hash_more(hash, short_word(begin, last - begin), last - begin, secret))
            begin = last + 1
            self.hashes[self.levels] = hash
            self.levels += 1
            self.end = <uint32_t> (begin - text)
        at += 1


cdef bint path_find_of_key(Path *self, const Prefixes *prefixes, PyObject *key) noexcept:
    # False where memory is out.
    cdef Scratch scratch
    cdef Octets octets
    cdef int outcome
    scratch_init(&scratch)
    self.levels = 0
    self.effort = 1
    outcome = octets_of(key, &scratch, &octets)
    if outcome == 1:
        path_find(self, prefixes, octets.start, octets.length, prefixes.depth)
        self.effort += octets.length >> EFFORT_SHIFT
        scratch_free(&scratch)
    return outcome >= 0


cdef bint node_is(const Prefixes *self, uint32_t node, const Path *path, uint32_t level) noexcept nogil:
    while level > 0 and node != ROOT:
        level -= 1
        if self.nodes[node].low != <uint32_t> path.hashes[level]:
            return False
        if self.nodes[node].high != <uint32_t> (path.hashes[level] >> 32):
            return False
        node = self.nodes[node].parent
    return level == 0 and node == ROOT


cdef uint32_t prefixes_find(const Prefixes *self, const Path *path, uint32_t level) noexcept nogil:
    # The node of a prefix, or NO_NODE.
    cdef uint32_t node = NO_NODE if self.chains == 0 else self.heads[path.hashes[level - 1] & (self.chains - 1)]
    while node != NO_NODE and not node_is(self, node, path, level):
        node = self.nodes[node].chain
    return node


# ---------------------------------------------------------------------- nodes

cdef inline bint prefixes_reserve(Prefixes *self, uint32_t more) noexcept nogil:
    # Room for so many nodes more, and chains that stay short; False where memory is out.
    cdef void *memory
    cdef uint32_t *heads
    cdef uint32_t room, chains, node
    cdef uint32_t needed = self.count + 1 + more
    if needed > self.room:
        room = max(needed, self.room + self.room // 2, <uint32_t> FEWEST_NODES)
        memory = PyMem_RawRealloc(self.nodes, <size_t> room * sizeof(Prefix))
        if memory == NULL:
            return False
        self.nodes = <Prefix *> memory
        if self.room == 0:
            memset(&self.nodes[ROOT], 0, sizeof(Prefix))
        self.room = room
    if needed > self.chains:
        chains = max(self.chains, <uint32_t> FEWEST_NODES)
        while chains < needed:
            chains *= 2
        heads = <uint32_t *> PyMem_RawCalloc(chains, sizeof(uint32_t))
        if heads == NULL:
            return False
        for node in range(1, self.touched + 1):
            if node_in_use(&self.nodes[node]):
                self.nodes[node].chain = heads[self.nodes[node].low & (chains - 1)]
                heads[self.nodes[node].low & (chains - 1)] = node
        PyMem_RawFree(self.heads)
        self.heads = heads
        self.chains = chains
    return True


cdef inline uint32_t prefixes_add(Prefixes *self, uint32_t parent, uint64_t hash) noexcept nogil:
    # A new node, the last among its siblings; room has been reserved.
    cdef uint32_t node = self.free
    cdef uint32_t first = self.nodes[parent].child
    cdef uint32_t *head = &self.heads[hash & (self.chains - 1)]
    cdef Prefix *new
    if node != NO_NODE:
        self.free = self.nodes[node].after
    else:
        self.touched += 1
        node = self.touched
    self.count += 1
    new = &self.nodes[node]
    new.low = <uint32_t> hash
    new.high = <uint32_t> (hash >> 32)
    new.parent = parent
    new.child = NO_NODE
    new.member = NO_ENTRY
    new.round = self.round
    new.chain = head[0]
    head[0] = node
    if first == NO_NODE:
        self.nodes[parent].child = new.before = new.after = node
    else:
        new.before = self.nodes[first].before
        new.after = first
        self.nodes[new.before].after = node
        self.nodes[first].before = node
    return node


cdef inline void prefixes_remove(Prefixes *self, uint32_t node) noexcept nogil:
    # A node that has neither members nor children.
    cdef Prefix *old = &self.nodes[node]
    cdef uint32_t *link = &self.heads[old.low & (self.chains - 1)]
    while link[0] != node:
        link = &self.nodes[link[0]].chain
    link[0] = old.chain
    if old.after == node:
        self.nodes[old.parent].child = NO_NODE
    else:
        self.nodes[old.before].after = old.after
        self.nodes[old.after].before = old.before
        if self.nodes[old.parent].child == node:
            self.nodes[old.parent].child = old.after
    old.after = self.free
    self.free = node
    self.count -= 1


# ---------------------------------------------------------------------- members

cdef bint prefixes_link(Prefixes *self, Slab *slab, uint32_t place, const Path *path) noexcept nogil:
    # An entry that has just come; False where memory is out.
    cdef uint32_t level = path.levels
    cdef uint32_t node = ROOT
    slab.members[place].prefix = NO_NODE
    if level == 0:
        return True
    while level > 0:
        node = prefixes_find(self, path, level)
        if node != NO_NODE:
            break
        level -= 1
    if level < path.levels and not prefixes_reserve(self, path.levels - level):
        return False
    while level < path.levels:
        node = prefixes_add(self, node, path.hashes[level])
        level += 1
    prefixes_join(self, slab, node, place)
    return True


cdef inline void prefixes_join(Prefixes *self, Slab *slab, uint32_t node, uint32_t place) noexcept nogil:
    # As the last member: those that came first are in front.
    cdef uint32_t first = self.nodes[node].member
    cdef Member *member = &slab.members[place]
    member.prefix = node
    if first == NO_ENTRY:
        self.nodes[node].member = member.before = member.after = place
    else:
        member.before = slab.members[first].before
        member.after = first
        slab.members[member.before].after = place
        slab.members[first].before = place


cdef void prefixes_move_back(Prefixes *self, Slab *slab, uint32_t place) noexcept nogil:
    # An entry that counts as new becomes the last one of its list.
    cdef Member *member = &slab.members[place]
    cdef uint32_t node = member.prefix
    if node == NO_NODE or member.after == place:
        return
    if self.nodes[node].member == place:
        self.nodes[node].member = member.after      # of a circle, the one before the first is the last
        return
    slab.members[member.before].after = member.after
    slab.members[member.after].before = member.before
    prefixes_join(self, slab, node, place)


cdef void prefixes_unlink(Prefixes *self, Slab *slab, uint32_t place) noexcept nogil:
    # An entry that goes, and the nodes that stand for nothing any more then.
    cdef Member *member = &slab.members[place]
    cdef uint32_t node = member.prefix
    cdef uint32_t parent
    if node == NO_NODE:
        return
    if member.after == place:
        self.nodes[node].member = NO_ENTRY
    else:
        slab.members[member.before].after = member.after
        slab.members[member.after].before = member.before
        if self.nodes[node].member == place:
            self.nodes[node].member = member.after
    member.prefix = NO_NODE
    while node != ROOT and self.nodes[node].member == NO_ENTRY and self.nodes[node].child == NO_NODE:
        parent = self.nodes[node].parent
        prefixes_remove(self, node)
        node = parent


# ---------------------------------------------------------------------- the whole

cdef void prefixes_empty(Prefixes *self) noexcept nogil:
    # There are no entries any more; from the next one on it goes on.
    PyMem_RawFree(self.nodes)
    PyMem_RawFree(self.heads)
    self.nodes = NULL
    self.heads = NULL
    self.room = self.touched = self.free = self.count = self.chains = 0


cdef void prefixes_give_up(Prefixes *self, Slab *slab) noexcept nogil:
    prefixes_empty(self)
    PyMem_RawFree(self.delimiter)
    PyMem_RawFree(slab.members)
    slab.members = NULL
    memset(self, 0, sizeof(Prefixes))


cdef void prefixes_begin_round(Prefixes *self) noexcept nogil:
    # From now on all nodes there are count as not walked yet, and those that are made later as walked.
    cdef uint32_t node
    self.round += 1
    if self.round == 0:
        for node in range(1, self.touched + 1):
            self.nodes[node].round = 0
        self.round = 1
