"""`Glob`: the patterns of Redis, for keys in memory."""

import types

from cpython.object cimport PyObject

from khronos_fast._core.pattern cimport (
    EXACT,
    GENERAL,
    INFIX,
    MOST_STARS,
    PREFIX,
    SUFFIX,
    Pattern,
    pattern_compile,
    pattern_free,
    pattern_selects,
)
from khronos_fast._core.utf8 cimport Octets, Scratch, octets_of, scratch_free, scratch_init

cdef dict KIND_OF = {EXACT: "exact", PREFIX: "prefix", SUFFIX: "suffix", INFIX: "infix", GENERAL: "general"}


cdef bint compile_pattern(object pattern, Pattern *compiled) except -1:
    cdef Scratch scratch
    cdef Octets octets
    cdef int outcome
    scratch_init(&scratch)
    outcome = octets_of(<PyObject *> pattern, &scratch, &octets)
    if outcome == 0:
        raise TypeError(f"a pattern must be a str or bytes, not {type(pattern).__name__}")
    if outcome == 1:
        outcome = pattern_compile(compiled, octets.start, octets.length, isinstance(pattern, str))
    scratch_free(&scratch)
    if outcome == 1:
        return True
    if outcome < 0:
        raise MemoryError
    stars = compiled.stars
    pattern_free(compiled)
    raise ValueError(
        f"a pattern may have at most {MOST_STARS:,} groups of stars, and this one has {stars:,}: Redis never matches it"
    )


cdef inline int selects(const Pattern *pattern, PyObject *key) except -1:
    cdef int outcome = pattern_selects(pattern, key)
    if outcome < 0:
        raise MemoryError
    return outcome


cdef object plain(object text):
    """Text or bytes without what a subclass may have made of it."""
    return "".join((text,)) if isinstance(text, str) else b"".join((text,))


cdef class Glob:
    r"""A pattern that selects the keys that Redis selects with it: `KEYS` and `SCAN MATCH`, byte for byte.

    `*` stands for any run of bytes, `?` for one byte, `[abc]`, `[a-z]` and `[^a]` for one byte of a class or not of it,
    and `\x` for `x` itself. Text is taken in its UTF-8 form, so `?` is a byte of it and not a character. The empty key
    is selected by nothing but `""` and `"*"`.

    A match costs at most the length of the key times that of the longest piece between stars, and nearly always one
    pass over the key; nothing is recursive.

    Args:
        pattern: a str or bytes.

    Raises:
        TypeError: for anything else.
        ValueError: for more than 1,000 groups of stars, which Redis never matches.

    >>> glob = Glob("user:*:name")
    >>> glob.match("user:42:name"), glob.match(b"user:42:name"), glob.match("user:42:mail")
    (True, True, False)
    >>> glob
    Glob('user:*:name')
    """

    __class_getitem__ = classmethod(types.GenericAlias)

    def __cinit__(self, pattern):
        compile_pattern(pattern, &self.compiled)
        self.pattern = plain(pattern)

    def __dealloc__(self):
        pattern_free(&self.compiled)

    def match(self, key, /):
        """Whether a key is selected; one that is neither str nor bytes is not.

        >>> Glob("caf?").match("café"), Glob("caf??").match("café"), Glob("*").match(42)
        (False, True, False)
        """
        return selects(&self.compiled, <PyObject *> key) == 1

    def filter(self, keys, /):
        """Return a list of those keys that are selected, in their order.

        >>> Glob("*:name").filter(["a:name", "a:mail", 42])
        ['a:name']
        """
        cdef list selected = []
        for key in keys:
            if selects(&self.compiled, <PyObject *> key):
                selected.append(key)
        return selected

    @property
    def literal_prefix(self):
        r"""What every selected key begins with, as far as the pattern says it literally; text or bytes, as the pattern.

        >>> Glob(r"user:\*:[a-z]*").literal_prefix
        'user:*:'
        """
        cdef bytes prefix = self.compiled.bytes[:self.compiled.prefix]
        return prefix.decode("utf-8", "surrogatepass") if isinstance(self.pattern, str) else prefix

    @property
    def kind(self):
        """What the pattern was found to be: "exact", "prefix" (`abc*`), "suffix", "infix" (`*abc*`) or "general".

        >>> Glob("user:42:*").kind, Glob("*:4?2:*").kind
        ('prefix', 'general')
        """
        return KIND_OF[self.compiled.kind]

    @staticmethod
    def escape(text, /):
        r"""Return a pattern, str or bytes as `text`, that selects exactly the text.

        >>> Glob.escape("what?"), Glob(Glob.escape("[*]")).match("[*]")
        ('what\\?', True)
        """
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"what is to be escaped must be a str or bytes, not {type(text).__name__}")
        text = plain(text)
        for special in "\\*?[":
            if isinstance(text, str):
                text = text.replace(special, "\\" + special)
            else:
                text = text.replace(special.encode(), b"\\" + special.encode())
        return text

    def __eq__(self, other):
        if not isinstance(other, Glob):
            return NotImplemented
        # Text never equals bytes; comparing them may be a warning.
        return type(self.pattern) is type((<Glob> other).pattern) and self.pattern == (<Glob> other).pattern

    def __hash__(self):
        return hash((Glob, self.pattern))

    def __repr__(self):
        return f"{type(self).__name__}({self.pattern!r})"

    def __reduce__(self):
        return type(self), (self.pattern,)
