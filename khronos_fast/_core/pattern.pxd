# A Redis glob, taken apart once and matched against many keys.
#
# Between its groups of stars a pattern has runs of atoms, each of which takes exactly one byte: a literal, any byte, or
# one of a class, which is a map of 256 bits. The first run stands at the start of the key and the last one at its end.
# Those between are looked for from left to right, each behind the one before, and the first place where one fits is
# as good as any: whatever fits behind a later place fits behind an earlier one too. So no choice is ever taken back,
# and a match costs at most the length of the key times that of the longest run (Redis recurses at each star, and gives
# up at a thousand of them). A run is looked for by its first literal byte; a long one without wildcards in a long key
# by the C library's own search, which is linear.
#
# The rules, byte for byte those of Redis: `*`, `?`, `\x` is x, a class `[...]` with ranges (either way round), `^`,
# escapes, ended by `]` or by the end of the pattern. The empty key is selected by nothing but "" and "*".

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memset

from khronos_fast._core.keys cimport same_bytes
from khronos_fast._core.utf8 cimport Octets, Scratch, octets_of, scratch_free, scratch_init
from khronos_fast._core.word cimport WORD, lowest_bit_of_word, word_at, word_hits

cdef extern from *:
    """
    #if defined(__GLIBC__) || defined(__APPLE__)
      #define kf_memmem memmem
    #else
      /* Elsewhere there is no search that is known to be linear. */
      static inline void *kf_memmem(const void *text, size_t length, const void *wanted, size_t size) {
          const char *at = (const char *)text, *last = at + length - size;
          for (; length >= size && at <= last; at++) {
              at = (const char *)memchr(at, *(const char *)wanted, (size_t)(last - at) + 1);
              if (at == NULL) return NULL;
              if (memcmp(at, wanted, size) == 0) return (void *)at;
          }
          return NULL;
      }
    #endif
    """
    const void *memmem "kf_memmem"(const void *text, size_t length, const void *wanted, size_t size) noexcept nogil

cdef enum:
    MOST_STARS = 1000           # groups of them
    LONG_RUN = 16               # bytes of a run, and of a key, from which on the C library's search pays
    LONG_KEY = 256

cdef enum PatternKind:
    EXACT           # no wildcard
    PREFIX          # literal*
    SUFFIX          # *literal
    INFIX           # *literal*
    GENERAL

cdef enum:
    # An atom is one of these, or a class: the first one has the number CLASS.
    LITERAL = 0
    ANY = 1
    CLASS = 2

cdef struct ByteClass:
    uint8_t bits[32]

cdef struct Run:
    uint32_t first              # of its atoms
    uint32_t length
    uint32_t landmark           # which of its atoms is the first literal; its length if none is
    bint literal                # all are
    bint short                  # the word below says everything
    uint64_t mask               # 0xFF for each of the first eight atoms that is a literal
    uint64_t word               # and these literals

cdef struct Pattern:
    PatternKind kind
    bint selects_empty          # the empty key
    bint never                  # a class that no byte is in
    uint32_t stars              # groups of them; there is one run more
    uint32_t length             # of all runs: the least number of bytes it can match
    uint32_t prefix             # how many literals it begins with
    uint32_t effort             # what a byte of a key may cost, at worst and roughly, beside one of a literal
    Run *runs                   # these four are one piece of memory
    ByteClass *classes
    uint32_t *atoms
    char *bytes                 # of those atoms that are literals


# ---------------------------------------------------------------------- making one

cdef inline bint class_has(const ByteClass *self, uint8_t byte) noexcept nogil:
    return (self.bits[byte >> 3] >> (byte & 7)) & 1


cdef inline Py_ssize_t class_parse(ByteClass *self, const char *text, Py_ssize_t at, Py_ssize_t length) noexcept nogil:
    # From behind the bracket; returns where the class ends, its last byte or the end of the pattern.
    cdef uint32_t byte, low, high
    cdef bint negated = at < length and text[at] == b"^"
    memset(self, 0, sizeof(ByteClass))
    if negated:
        at += 1
    while at < length:
        low = high = <uint8_t> text[at]
        if low == b"\\" and at + 1 < length:
            at += 1
            low = high = <uint8_t> text[at]
        elif low == b"]":
            break
        elif at + 2 < length and text[at + 1] == b"-":
            at += 2
            high = <uint8_t> text[at]
        for byte in range(min(low, high), max(low, high) + 1):
            self.bits[byte >> 3] |= <uint8_t> (1 << (byte & 7))
        at += 1
    if negated:
        for byte in range(32):
            self.bits[byte] = <uint8_t> ~self.bits[byte]
    return at


cdef inline void pattern_end_run(Pattern *self, uint32_t atoms) noexcept nogil:
    # Whatever atoms the earlier runs do not have are the last one's.
    cdef Run *run = &self.runs[self.stars]
    cdef uint32_t i
    run.length = atoms - run.first
    run.landmark = run.length
    run.literal = True
    run.short = run.length <= WORD
    run.mask = run.word = 0
    for i in range(run.length):
        if self.atoms[run.first + i] == LITERAL:
            if run.landmark == run.length:
                run.landmark = i
            if i < WORD:
                run.mask |= <uint64_t> 0xFF << (8 * i)
                run.word |= <uint64_t> <uint8_t> self.bytes[run.first + i] << (8 * i)
        else:
            run.literal = False
            if self.atoms[run.first + i] != ANY:
                run.short = False


cdef inline PatternKind pattern_classify(const Pattern *self) noexcept nogil:
    cdef const Run *runs = self.runs
    if self.stars == 0 and runs[0].literal:
        return EXACT
    if self.stars == 1 and runs[1].length == 0 and runs[0].literal:
        return PREFIX
    if self.stars == 1 and runs[0].length == 0 and runs[1].literal:
        return SUFFIX
    if self.stars == 2 and runs[0].length == 0 and runs[2].length == 0 and runs[1].literal:
        return INFIX
    return GENERAL


cdef inline uint32_t pattern_atom(Pattern *self, uint32_t classes, bint text, char *byte) noexcept nogil:
    # What a class that has been parsed amounts to.
    cdef const ByteClass *parsed = &self.classes[classes]
    cdef uint32_t i, members = 0, last = 0
    for i in range(256):
        if class_has(parsed, <uint8_t> i):
            members += 1
            last = i
    if members == 256:
        return ANY
    # In text, half a character can't be part of a prefix that is to be text again.
    if members == 1 and (last < 0x80 or not text):
        byte[0] = <char> last
        return LITERAL
    if members == 0:
        self.never = True
    return CLASS + classes


cdef inline int pattern_compile(Pattern *self, const char *text, Py_ssize_t length, bint is_text) noexcept nogil:
    # 1; 0 where there are too many groups of stars; -1 where memory is out.
    cdef Py_ssize_t at
    cdef uint32_t atoms = 0, classes = 0, stars = 0
    cdef char *memory
    memset(self, 0, sizeof(Pattern))
    if length > <Py_ssize_t> 0x3FFFFFFF:
        return -1
    for at in range(length):
        # As an upper bound: some are escaped, or in a class.
        classes += text[at] == b"["
        stars += text[at] == b"*" and (at == 0 or text[at - 1] != b"*")
    memory = <char *> PyMem_RawMalloc(
        (<size_t> stars + 1) * sizeof(Run) + <size_t> classes * sizeof(ByteClass) + <size_t> length * 5
    )
    if memory == NULL:
        return -1
    self.runs = <Run *> memory
    self.classes = <ByteClass *> (self.runs + stars + 1)
    self.atoms = <uint32_t *> (self.classes + classes)
    self.bytes = <char *> (self.atoms + length)
    self.runs[0].first = 0
    self.selects_empty = length == 0 or (length == 1 and text[0] == b"*")
    classes = 0
    at = 0
    while at < length:
        if text[at] == b"*":
            while at + 1 < length and text[at + 1] == b"*":
                at += 1
            pattern_end_run(self, atoms)
            self.stars += 1
            self.runs[self.stars].first = atoms
        else:
            self.atoms[atoms] = LITERAL
            if text[at] == b"?":
                self.atoms[atoms] = ANY
            elif text[at] == b"[":
                at = class_parse(&self.classes[classes], text, at + 1, length)
                self.atoms[atoms] = pattern_atom(self, classes, is_text, &self.bytes[atoms])
                classes += self.atoms[atoms] >= CLASS
            else:
                if text[at] == b"\\" and at + 1 < length:
                    at += 1
                self.bytes[atoms] = text[at]
            atoms += 1
        at += 1
    pattern_end_run(self, atoms)
    self.length = atoms
    self.kind = pattern_classify(self)
    self.effort = 1
    for stars in range(self.stars + 1):
        if not self.runs[stars].literal:
            self.effort = max(self.effort, self.runs[stars].length // WORD)
    while self.prefix < self.runs[0].length and self.atoms[self.prefix] == LITERAL:
        self.prefix += 1
    return 1 if self.stars <= MOST_STARS else 0


cdef inline void pattern_free(Pattern *self) noexcept nogil:
    PyMem_RawFree(self.runs)
    self.runs = NULL


# ---------------------------------------------------------------------- matching

cdef inline bint pattern_fits_slowly(const Pattern *self, const Run *run, const char *text) noexcept nogil:
    # Whether a run fits at one place of a key, which has enough bytes left.
    cdef const uint32_t *atoms = self.atoms + run.first
    cdef const char *bytes = self.bytes + run.first
    cdef uint32_t i
    if run.literal:
        return same_bytes(bytes, text, run.length)
    for i in range(run.length):
        if atoms[i] == LITERAL:
            if bytes[i] != text[i]:
                return False
        elif atoms[i] != ANY and not class_has(&self.classes[atoms[i] - CLASS], <uint8_t> text[i]):
            return False
    return True


cdef inline bint pattern_fits(
    const Pattern *self, const Run *run, const char *at, const char *end, bint wide
) noexcept nogil:
    # The same; `wide`: the key has a word's length or more.
    cdef uint64_t word
    if run.length == 0:
        return True
    if wide:
        word = word_at(at, end)
        if (word & run.mask) != run.word:
            return False
        if run.short:
            return True
    return pattern_fits_slowly(self, run, at)


cdef inline const char *pattern_search(
    const Pattern *self, const Run *run, const char *at, const char *last, const char *end, bint wide
) noexcept nogil:
    # The first place from one to the last in which a run fits, or NULL.
    cdef const char *stop = last + run.landmark
    cdef const char *found
    cdef uint64_t hits
    cdef char byte
    if run.landmark == run.length or not wide:
        while at <= last:
            if pattern_fits(self, run, at, end, wide):
                return at
            at += 1
        return NULL
    byte = self.bytes[run.first + run.landmark]
    if last - at < LONG_KEY:
        at += run.landmark
        while at <= stop:
            hits = word_hits(word_at(at, end), byte)
            while hits != 0:
                found = at + (lowest_bit_of_word(hits) >> 3)
                if found > stop:
                    return NULL
                if pattern_fits(self, run, found - run.landmark, end, wide):
                    return found - run.landmark
                hits &= hits - 1
            at += WORD
        return NULL
    if run.literal and run.length >= LONG_RUN:
        return <const char *> memmem(at, last - at + run.length, self.bytes + run.first, run.length)
    while at <= last:
        at = <const char *> memchr(at + run.landmark, <uint8_t> byte, last - at + 1)
        if at == NULL:
            return NULL
        at -= run.landmark
        if pattern_fits(self, run, at, end, wide):
            return at
        at += 1
    return NULL


cdef inline bint pattern_match_general(const Pattern *self, const char *text, Py_ssize_t length) noexcept nogil:
    cdef const Run *last = &self.runs[self.stars]
    cdef const char *end = text + length
    cdef const char *room = end - last.length       # the end of what is left for the runs between
    cdef bint wide = length >= WORD
    cdef uint32_t i
    if not pattern_fits(self, &self.runs[0], text, end, wide):
        return False
    if self.stars == 0:
        return True
    if not pattern_fits(self, last, room, end, wide):
        return False
    text += self.runs[0].length
    for i in range(1, self.stars):
        text = pattern_search(self, &self.runs[i], text, room - self.runs[i].length, end, wide)
        if text == NULL:
            return False
        text += self.runs[i].length
    return True


cdef inline bint pattern_match(const Pattern *self, const char *text, Py_ssize_t length) noexcept nogil:
    if length == 0:
        return self.selects_empty
    if length < self.length or (self.stars == 0 and length != self.length) or self.never:
        return False
    if self.kind == PREFIX:
        return same_bytes(self.bytes, text, self.length)
    return pattern_match_general(self, text, length)


cdef inline int pattern_selects(const Pattern *self, PyObject *key) noexcept:
    # 1, 0, or -1 where memory is out. Runs no Python code.
    cdef Scratch scratch
    cdef Octets octets
    cdef int outcome
    scratch_init(&scratch)
    outcome = octets_of(key, &scratch, &octets)
    if outcome == 1:
        outcome = pattern_match(self, octets.start, octets.length)
        scratch_free(&scratch)
    return outcome
