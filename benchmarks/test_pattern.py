"""Patterns, whose speed is promised, beside what the standard library has for that: `make benchmarks`."""

import random
import re
from copy import copy
from functools import partial

import pytest
from turns import ratios_to_first, timed

from khronos_fast import Glob, MemoryCache
from khronos_fast.bench.globs import translated
from khronos_fast.bench.keys import make_user_keys

ENTRIES, MILLION = 100_000, 1_000_000
FIELDS = ("name", "email", "profile", "settings", "orders", "cart", "roles", "tokens", "avatar", "status")
# In a random order, so that what has a prefix in common is not side by side in memory.
KEYS = [f"user:{place // 10}:{FIELDS[place % 10]}" for place in random.Random(0).sample(range(ENTRIES), ENTRIES)]
USERS = random.Random(1).sample(range(ENTRIES // 10), 100)
# As regular expressions, the method that says the same fastest.
EXPRESSIONS = {
    "user:42:*": re.compile("user:42:").match,
    "*:profile": re.compile(r":profile\Z").search,
    "*:4?2:*": re.compile("(?s):4.2:").search,
}


@pytest.mark.benchmark(group="Glob.match")
@pytest.mark.parametrize("glob", EXPRESSIONS)
@pytest.mark.parametrize("matcher", ["re", "Glob"])
def test_match(benchmark, matcher, glob):
    match = EXPRESSIONS[glob] if matcher == "re" else Glob(glob).match
    keys = KEYS[:10_000]

    def ask():
        for key in keys:
            match(key)

    benchmark(ask)
    assert match(glob.replace("?", "0"))


@pytest.mark.benchmark(group="Glob.match, in turns")
@pytest.mark.parametrize("glob", ["*:4?2:*", "*:4?:*"])
def test_match_ratio(benchmark, capsys, glob):
    """The promise is about `match` of the translated pattern, stars and all, which is what a translation gives."""
    keys = KEYS[:10_000]

    def all_of(match):
        def ask():
            for key in keys:
                match(key)

        return timed(ask)

    runs = {"Glob": all_of(Glob(glob).match), "re": all_of(re.compile(translated(glob)).match)}
    _, ratios = ratios_to_first(benchmark, runs, rounds=50)
    with capsys.disabled():
        print(f"\nGlob({glob!r}).match: {ratios['re']:.2f} times as fast as re.match; promised 5")


@pytest.mark.benchmark(group="Glob.filter")
@pytest.mark.parametrize("glob", ["user:42:*", "*:4?2:*"])
@pytest.mark.parametrize("matcher", ["re", "Glob"])
def test_filter(benchmark, matcher, glob):
    select = Glob(glob).filter if matcher == "Glob" else lambda keys: list(filter(EXPRESSIONS[glob], keys))
    assert len(benchmark(select, KEYS)) == (10 if glob == "user:42:*" else 100)


@pytest.fixture
def full():
    cache = MemoryCache(ENTRIES, ttl=3600)
    cache.update(dict.fromkeys(KEYS, 1))
    return cache


def put_back(cache):
    """Before each round, so that it isn't timed; in a random order again."""
    keys = [f"user:{user}:{field}" for user in USERS for field in FIELDS]
    random.Random(2).shuffle(keys)
    cache.update(dict.fromkeys(keys, 1))
    assert len(cache) == ENTRIES


@pytest.mark.benchmark(group="a hundred users of a hundred thousand entries, removed")
@pytest.mark.parametrize("how", ["invalidate", "delete_many"])
def test_invalidate_prefix(benchmark, full, how):
    patterns = [f"user:{user}:*" for user in USERS]
    named = [[f"user:{user}:{field}" for field in FIELDS] for user in USERS]
    remove, each = (full.invalidate, patterns) if how == "invalidate" else (full.delete_many, named)

    def remove_all():
        return sum(map(remove, each))

    assert remove_all() == 10 * len(USERS)  # the first pattern builds the index
    assert benchmark.pedantic(remove_all, setup=partial(put_back, full), rounds=100) == 10 * len(USERS)


@pytest.mark.benchmark(group="a general pattern on a hundred thousand entries")
def test_invalidate_general(benchmark, full):
    removed = [key for key in KEYS if re.match("user:4.2:", key)]

    def again():
        full.update(dict.fromkeys(removed, 1))

    assert benchmark.pedantic(full.invalidate, ("*:4?2:*",), setup=again, rounds=100) == len(removed) == 100


@pytest.fixture(scope="module")
def million():
    """Ten fields of a hundred thousand users, in a cache and in a dict, which has no better way than to look at all."""
    cache = MemoryCache(MILLION, ttl=3600)
    cache.update(dict.fromkeys(make_user_keys(MILLION), 1))
    return cache, dict.fromkeys(cache, 1)


@pytest.mark.benchmark(group="a general pattern on a million entries, in turns")
def test_invalidate_general_ratio(benchmark, capsys, million):
    cache, mapping = million
    match = re.compile(translated("*:4?2:*")).match
    removed = list(filter(match, mapping))

    def scan():
        for key in list(filter(match, mapping)):
            del mapping[key]

    def again(store, remove):
        def run():
            store(dict.fromkeys(removed, 1))
            return timed(remove)()

        return run

    runs = {
        "invalidate": again(cache.update, lambda: cache.invalidate("*:4?2:*")),
        "dict and re": again(mapping.update, scan),
    }
    _, ratios = ratios_to_first(benchmark, runs, rounds=10)
    assert len(cache) == len(mapping) == MILLION - len(removed)
    with capsys.disabled():
        print(f"\ninvalidate: {ratios['dict and re']:.1f} times as fast as a dict and re.match; promised 8")


@pytest.mark.benchmark(group="the first prefix pattern on a million entries")
def test_first_prefix(benchmark, million):
    """Which builds the index: the promise is 1.5 s."""
    cache, _ = million
    assert benchmark.pedantic(MemoryCache.invalidate, setup=lambda: ((copy(cache), "user:7:*"), {}), rounds=3) == 10


@pytest.mark.benchmark(group="set, evicting, with patterns and without")
@pytest.mark.parametrize("patterns", ["unused", "used"])
def test_set_evicting(benchmark, full, patterns):
    if patterns == "used":
        full.invalidate("user:none:*")
    # Twice as many as fit, so that each key has gone by the time its turn comes again.
    places = random.Random(3).sample(range(2 * ENTRIES), 2 * ENTRIES)
    keys = [f"new:{place // 10}:{FIELDS[place % 10]}" for place in places]

    def store():
        for key in keys:
            full[key] = 1

    benchmark.pedantic(store, rounds=10, warmup_rounds=1)
    assert len(full) == ENTRIES
    assert full.stats().updates == 0
