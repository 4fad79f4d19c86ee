"""The matcher: `Glob` beside the rules in plain Python, and `MemoryCache.invalidate` beside `Glob`."""

import pickle
from itertools import pairwise

from khronos_fast import Glob, MemoryCache
from khronos_fast._core.audit import audit

from .globs import glob_text, key_for, long_octets
from .neighbours import neighbour
from .source import Source, as_text

reference = neighbour("patterns", "reference")

MOST_KEYS = 12
MOST_GROUPS = 1000
NO_TEXT = [None, 7, ("a",), 1.5, frozenset("a")]
DELIMITERS = [":", "::", "é", "*", "a"]


def groups_of_stars(pattern: bytes) -> int:
    stars = [item is reference.STAR for item in reference.items(pattern)]
    return sum(star and not before for before, star in pairwise([False, *stars]))


def run(data: bytes) -> None:
    source = Source(data)
    octets = long_octets(source)
    pattern = glob_text(octets, source.flag())
    keys = [draw_key(source, reference.to_bytes(pattern)) for _ in range(source.below(MOST_KEYS))]
    try:
        glob = Glob(pattern)
    except ValueError:
        assert groups_of_stars(pattern) > MOST_GROUPS
        return
    compare(glob, pattern, keys)
    compare_escaped(keys)
    compare_invalidated(source, glob, keys)


def draw_key(source: Source, pattern: bytes) -> object:
    way = source.byte()
    if way == 255:
        return source.pick(NO_TEXT)
    octets = long_octets(source) if way % 4 == 0 else key_for(source, pattern)
    return glob_text(octets, way % 2 == 0)


def compare(glob: Glob, pattern: str | bytes, keys: list) -> None:
    expected = reference.selected(pattern, keys)
    assert [key for key in keys if glob.match(key)] == glob.filter(keys) == expected
    # One and the same key as text and as bytes.
    for key in keys:
        if isinstance(key, str | bytes):
            octets = reference.to_bytes(key)
            assert glob.match(octets) == glob.match(key)
    assert glob.kind == reference.kind(pattern)
    again = pickle.loads(pickle.dumps(glob))
    assert again == glob
    assert hash(again) == hash(glob)
    assert again.filter(keys) == expected
    assert eval(repr(glob), {type(glob).__name__: type(glob)}) == glob
    prefix = glob.literal_prefix
    assert type(prefix) is type(pattern)
    assert all(reference.to_bytes(key).startswith(reference.to_bytes(prefix)) for key in expected)


def compare_escaped(keys: list) -> None:
    """An escaped text selects itself and nothing else."""
    texts = [key for key in keys if isinstance(key, str | bytes)]
    for text in texts[:3]:
        glob = Glob(Glob.escape(text))
        assert glob.kind == "exact"
        assert glob.filter(texts) == [key for key in texts if reference.to_bytes(key) == reference.to_bytes(text)]


def compare_invalidated(source: Source, glob: Glob, keys: list) -> None:
    """It removes what `Glob` selects: by a walk over all, by the tree of prefixes that the first one made, by key."""
    cache = MemoryCache(100, delimiter=source.pick(DELIMITERS))
    # Each once: text never equals bytes, and of the others none equals another.
    keys = list(dict.fromkeys(keys))
    for way in range(3):
        if way == 1:
            cache.invalidate(Glob.escape(as_text(source.octets())) + cache.delimiter + "*")
        cache.update((key, way) for key in keys)
        removed = glob.filter(keys)
        assert cache.invalidate(glob if way else glob.pattern) == len(removed)
        assert list(cache) == [key for key in keys if key not in removed]
        audit(cache)
    assert cache.stats().invalidations >= 3 * len(removed)
