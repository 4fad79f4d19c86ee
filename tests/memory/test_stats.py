"""What is counted, by which call, and the record it is given in."""

import contextlib
import json
import time

import pytest

from khronos_fast import CacheStats, MemoryCache

from .support import NO_COUNTS, Clock, changed, counts

FIELDS = [
    *("hits", "misses", "hit_ratio", "inserts", "updates", "evictions", "expirations", "invalidations"),
    *("loads", "load_failures", "load_seconds", "size", "maxsize", "usage", "weight", "max_weight"),
]


def fail():
    raise LookupError("no such row")


class TestRecord:
    def test_of_a_fresh_cache(self):
        stats = MemoryCache(10).stats()
        assert type(stats) is CacheStats
        assert counts(stats) == NO_COUNTS
        assert stats.hit_ratio is None
        assert (stats.size, stats.maxsize, stats.usage, stats.max_weight) == (0, 10, 0, None)
        assert stats.load_seconds == 0

    def test_as_dict_has_every_field_and_plain_values(self):
        cache = MemoryCache(10, max_weight=100, weigher=lambda key, value: 3)
        cache["a"] = 1
        cache.get("a"), cache.get("b"), cache.get("a"), cache.get("a")
        record = cache.stats().as_dict()
        assert sorted(record) == sorted(FIELDS)
        assert json.loads(json.dumps(record)) == record
        assert record["hit_ratio"] == 0.75
        assert (record["weight"], record["max_weight"]) == (3, 100)
        assert {name: getattr(cache.stats(), name) for name in FIELDS} == record

    @pytest.mark.parametrize("field", [*FIELDS, "anything"])
    def test_is_immutable(self, field):
        stats = MemoryCache().stats()
        with pytest.raises((AttributeError, TypeError)):
            setattr(stats, field, 5)
        with pytest.raises((AttributeError, TypeError)):
            delattr(stats, field)

    def test_is_of_its_moment(self):
        cache = MemoryCache()
        before = cache.stats()
        cache["a"] = cache.get("a")
        assert (before.size, before.misses) == (0, 0)
        assert before != cache.stats()
        assert cache.stats() == cache.stats()

    def test_repr_names_the_figures(self):
        cache = MemoryCache(4321)
        assert "maxsize=4321" in repr(cache.stats())

    def test_usage_is_from_nought_to_one(self):
        cache = MemoryCache(4)
        seen = []
        for key in range(6):
            cache[key] = key
            seen.append(cache.stats().usage)
        assert seen == [0.25, 0.5, 0.75, 1, 1, 1]

    def test_dropping_what_expired_comes_first(self):
        clock = Clock()
        cache = MemoryCache(timer=clock, ttl=1)
        cache.update(dict.fromkeys(range(500)))
        clock.advance(1)
        stats = cache.stats()
        assert (stats.size, stats.usage, stats.expirations) == (0, 0, 500)


# What a call adds to the counters of a cache of two, full with a and b, of which b expires at once where it says so.
CALLS = [
    ("get, there", lambda c: c.get("a"), {"hits": 1}),
    ("get, absent", lambda c: c.get("x"), {"misses": 1}),
    ("[], there", lambda c: c["a"], {"hits": 1}),
    ("[], absent", lambda c: pytest.raises(KeyError, c.__getitem__, "x"), {"misses": 1}),
    ("get_many", lambda c: c.get_many(["a", "x", "a", "y", "z"]), {"hits": 2, "misses": 3}),
    ("setdefault, there", lambda c: c.setdefault("a", 1), {"hits": 1}),
    ("setdefault, absent", lambda c: c.setdefault("x", 1), {"misses": 1, "inserts": 1, "evictions": 1}),
    ("get_or_compute, there", lambda c: c.get_or_compute("a", fail), {"hits": 1}),
    (
        "get_or_compute, absent",
        lambda c: c.get_or_compute("x", dict),
        {"misses": 1, "loads": 1, "inserts": 1, "evictions": 1},
    ),
    ("set, there", lambda c: c.set("a", 5), {"updates": 1}),
    ("set, absent", lambda c: c.set("x", 5), {"inserts": 1, "evictions": 1}),
    ("[]=, there", lambda c: c.__setitem__("a", 5), {"updates": 1}),
    ("[]=, absent", lambda c: c.__setitem__("x", 5), {"inserts": 1, "evictions": 1}),
    ("update", lambda c: c.update(a=1, x=1, y=1), {"updates": 1, "inserts": 2, "evictions": 2}),
    ("set_many", lambda c: c.set_many({"a": 1, "x": 1}), {"updates": 1, "inserts": 1, "evictions": 1}),
    ("resize", lambda c: c.resize(1), {"evictions": 1}),
    ("resize, larger", lambda c: c.resize(9), {}),
    ("peek", lambda c: (c.peek("a"), c.peek("x")), {}),
    ("in", lambda c: ("a" in c, "x" in c), {}),
    ("ttl", lambda c: (c.ttl("a"), pytest.raises(KeyError, c.ttl, "x")), {}),
    ("touch", lambda c: (c.touch("a"), c.touch("x")), {}),
    ("delete", lambda c: (c.delete("a"), c.delete("x")), {}),
    ("del", lambda c: (c.__delitem__("a"), pytest.raises(KeyError, c.__delitem__, "x")), {}),
    ("delete_many", lambda c: c.delete_many(["a", "x"]), {}),
    ("pop", lambda c: (c.pop("a"), c.pop("x", 0), pytest.raises(KeyError, c.pop, "x")), {}),
    ("popitem", lambda c: (c.popitem(), c.popitem(), pytest.raises(KeyError, c.popitem)), {}),
    ("clear", lambda c: c.clear(), {}),
    ("expire", lambda c: c.expire(), {}),
    ("listing", lambda c: (list(c), c.keys(), c.values(), c.items(), len(c), repr(c), c == {}), {}),
    ("stats", lambda c: c.stats(), {}),
]


@pytest.mark.parametrize(("call", "adds"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
def test_what_a_call_counts(call, adds):
    cache = MemoryCache(2)
    cache.update(a=0, b=0)
    before = cache.stats()
    call(cache)
    assert changed(before, cache.stats()) == adds
    # Once more from there on a cache that counted something before: the counters only ever grow.
    assert all(
        after >= earlier for after, earlier in zip(counts(cache.stats()).values(), counts(before).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("call", "adds"),
    [
        (lambda c: c.get("a"), {"misses": 1}),
        (lambda c: c.peek("a"), {}),
        (lambda c: c.set("a", 1), {"inserts": 1}),
        (lambda c: c.setdefault("a", 1), {"misses": 1, "inserts": 1}),
        (lambda c: c.delete("a"), {}),
        (lambda c: c.pop("a", None), {}),
        (lambda c: c.touch("a"), {}),
        (lambda c: c.clear(), {}),
        (lambda c: c.resize(1), {}),
        (lambda c: c.expire(), {}),
        (lambda c: len(c), {}),
        (lambda c: c.get_or_compute("a", dict), {"misses": 1, "loads": 1, "inserts": 1}),
    ],
)
def test_what_a_call_counts_on_an_expired_entry(call, adds):
    clock = Clock()
    cache = MemoryCache(2, timer=clock, ttl=1)
    cache.update(a=0, b=0)
    clock.advance(1)
    call(cache)
    expected = NO_COUNTS | adds | {"inserts": 2 + adds.get("inserts", 0), "expirations": 2}
    assert counts(cache.stats()) == expected


class TestLoads:
    def test_of_success(self):
        cache = MemoryCache()
        for key in range(5):
            cache.get_or_compute(key, lambda: None)
        stats = cache.stats()
        assert (stats.loads, stats.load_failures) == (5, 0)

    def test_of_failure(self):
        cache = MemoryCache()
        cache.get_or_compute("good", dict)
        for _ in range(3):
            with pytest.raises(LookupError):
                cache.get_or_compute("bad", fail)
        stats = cache.stats()
        assert stats.load_failures == 3
        assert stats.inserts == 1
        assert stats.misses == 4

    @pytest.mark.parametrize("fails", [False, True])
    def test_time_spent(self, fails):
        cache = MemoryCache()

        def load():
            until = time.perf_counter() + 0.05
            while time.perf_counter() < until:
                pass
            if fails:
                fail()

        begun = time.perf_counter()
        with contextlib.suppress(LookupError):
            cache.get_or_compute("k", load)
        elapsed = time.perf_counter() - begun
        # 0.02 s: as coarse as the coarsest monotonic clock.
        assert 0.05 - 0.02 <= cache.stats().load_seconds <= elapsed + 0.02

    def test_no_time_without_loads(self):
        cache = MemoryCache()
        cache.setdefault("k", 1)
        cache.get_or_compute("k", fail)
        assert cache.stats().load_seconds == 0


def test_a_full_count_of_hits_is_exact():
    cache = MemoryCache(100)
    cache.update(dict.fromkeys(range(100), 1))
    for turn in range(100_000):
        cache.get(turn % 128)
    stats = cache.stats()
    misses = sum(turn % 128 >= 100 for turn in range(100_000))
    assert (stats.hits, stats.misses) == (100_000 - misses, misses)
    assert stats.hit_ratio == pytest.approx(1 - misses / 100_000)
