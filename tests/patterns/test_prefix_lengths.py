"""Prefixes of every length are found below keys of every length.

The tree of prefixes reads keys eight bytes at a time, long and short ones and those near their ends in different ways;
all of these have to see the same prefixes.
"""

import random

import pytest

from khronos_fast import Glob, MemoryCache
from khronos_fast._core.audit import audit


@pytest.mark.parametrize("delimiter", [":", "\0", "\x01", "é", "::", ":-:", "::::::::::"])
@pytest.mark.parametrize("as_bytes", [False, True], ids=["str", "bytes"])
def test_every_prefix_of_every_key(delimiter, as_bytes):
    source = random.Random(f"{delimiter} {as_bytes}")
    alphabet = ["a", "b", "\0", "\x01", "\x02", "é", ";", "9"]
    keys = set()
    while len(keys) < 400:
        parts = [
            "".join(source.choices(alphabet, k=source.choice((0, 1, 2, 3, 6, 7, 8, 9, 15, 16, 17, 30))))
            for _ in range(source.randrange(1, 6))
        ]
        keys.add(delimiter.join(parts))
    keys = sorted(keys)
    stored = [key.encode() if as_bytes else key for key in keys]
    prefixes = {
        key[: end + len(delimiter)] for key in keys for end in range(len(key)) if key.startswith(delimiter, end)
    }
    cache = MemoryCache(1000, delimiter=delimiter)
    # As deep as any of them, so that none below is answered by a scan.
    cache.invalidate(Glob.escape(max(prefixes, key=lambda prefix: prefix.count(delimiter))) + "*")
    for prefix in sorted(prefixes):
        cache.update(dict.fromkeys(stored, 1))
        pattern = Glob.escape(prefix) + "*"
        expected = [key for key in stored if Glob(pattern).match(key)]
        assert cache.invalidate(pattern) == len(expected) > 0, prefix
        assert set(cache) == set(stored) - set(expected)
    audit(cache)


@pytest.mark.parametrize("length", range(40))
def test_a_segment_of_any_length(length):
    cache = MemoryCache(1000)
    cache.invalidate("x:y:*")
    segment = "s" * length
    others = [f"{'s' * other}:a:{'t' * tail}" for other in range(40) if other != length for tail in (0, 1, 30)]
    for key in others:
        cache[key] = 0
    for tail in range(20):
        cache[f"{segment}:a:{'t' * tail}"] = cache[f"{segment}:b:{'t' * tail}"] = 1
    assert cache.invalidate(f"{segment}:a:*") == 20
    assert cache.invalidate(f"{segment}:*") == 20
    assert list(cache) == others
    audit(cache)
