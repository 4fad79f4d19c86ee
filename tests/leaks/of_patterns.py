"""Patterns."""

import pickle

from khronos_fast import Glob, MemoryCache

from .exercises import exercises
from .worlds import Refused, World, fails


class Patterns(World):
    def open(self):
        self.glob, self.general = Glob("user:1:*"), Glob(b"*:[a-c]?\\*")
        self.keys = [f"user:{number}:name" for number in range(9)] + [b"user:1:b", 5, None]


@exercises(Patterns, "Glob", "Glob: __new__ __class_getitem__")
def making(w):
    Glob("exact"), Glob("pre*"), Glob("*post"), Glob("*in*"), Glob("a*[b-d]?\\*"), Glob(b"\xff*"), Glob[str]
    for wrong in (5, None, ["*"], bytearray(b"*"), "*a" * 1100):
        fails(lambda wrong=wrong: Glob(wrong), TypeError, ValueError)
    fails(Glob, TypeError)


@exercises(Patterns, "Glob: match filter")
def matching(w):
    def keys():
        yield "user:1:name"
        raise Refused

    for glob in (w.glob, w.general):
        for key in w.keys:
            glob.match(key)
        glob.filter(w.keys), glob.filter(iter(w.keys))
        fails(lambda glob=glob: glob.filter(keys()), Refused)
        fails(lambda glob=glob: glob.filter(5), TypeError)
        fails(glob.match, TypeError)


@exercises(Patterns, "Glob: escape kind literal_prefix pattern")
def attributes(w):
    Glob.escape("a*b"), Glob.escape(b"[a]"), w.glob.kind, w.glob.literal_prefix, w.glob.pattern, w.general.pattern
    fails(lambda: Glob.escape(5), TypeError)


@exercises(Patterns, "Glob: __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __repr__")
def comparing(w):
    w.glob == Glob("user:1:*"), w.glob != w.general, w.glob == 5, hash(w.glob), repr(w.general)
    fails(lambda: w.glob < w.general, TypeError)
    fails(lambda: w.glob >= w.general, TypeError)


@exercises(Patterns, "Glob: __reduce__")
def pickling(w):
    pickle.loads(pickle.dumps(w.glob)), w.glob.__reduce__()


@exercises(Patterns, "MemoryCache.invalidate")
def invalidating(w):
    cache = MemoryCache(50)
    cache.update((key, 1) for key in w.keys)
    cache.invalidate(w.glob), cache.invalidate("user:2:*"), cache.invalidate("*:[3-5]:*"), cache.invalidate("nothing")
    fails(lambda: cache.invalidate(5), TypeError)
