"""`MemoryCache.invalidate`: each of its rules by example."""

import copy
import gc
import logging
import math
import pickle
import random
import weakref

import pytest

from khronos_fast import Glob, MemoryCache, RemovalCause
from khronos_fast._core.audit import audit

from .reference import selected
from .support import (
    FREE_THREADED,
    NO_TEXT,
    TICK,
    Bytes,
    Clock,
    Flight,
    Listener,
    Text,
    Value,
    accounted,
    attempts,
    causes,
    changed,
    run_script,
)

DELETED, EVICTED, EXPIRED = RemovalCause.DELETED, RemovalCause.EVICTED, RemovalCause.EXPIRED
INVALIDATED, REPLACED, CLEARED = RemovalCause.INVALIDATED, RemovalCause.REPLACED, RemovalCause.CLEARED

KEYS = [f"user:{number}:{field}" for number in (1, 4, 42, 421) for field in ("name", "mail", "", "a:b")]
KEYS += ["user", "user:", "user:42", ":", "", "::", ":user:42:", "users:42:name", "User:42:name", "é:1", "é:"]
KEYS += [key.encode() for key in KEYS[::2]] + [b"\xff:1", b"\xff", b"user:42:\xff", "\udc80:1", "user:42:\0"]
KEYS += [0, 42, None, ("user:42:name",), frozenset(), 1.5, ("user", 42)]
# Each of a way of its own to find what it selects.
PATTERNS = [
    "user:42:*",
    "user:*",
    "*",
    "**",
    "user:42:name",
    "user:4*",
    "*:name",
    "*42*",
    "*:4?2:*",
    "user:[^4]*",
    "",
    ":*",
]
PATTERNS += [
    "é:*",
    "user:42:*:b",
    "user:42:a:*",
    "\\user:42:*",
    "user[:]42[:]*",
    "::*",
    "us*",
    "user:42:**",
    "[]*",
    "x:*",
]
PATTERNS += [b"\xff:*", b"\xff*", b"user:42:*", "\udc80:*", "user:42:\0", "user", "user:42", "?", "*:", "nobody"]


def full(keys=KEYS, **settings):
    cache = MemoryCache(1000, **settings)
    cache.update((key, Value(key)) for key in keys)
    return cache


def leaves(cache, pattern, listener=None):
    """Invalidate, and check all that can be seen of it."""
    before, stats = dict(cache.items()), cache.stats()
    order = list(cache)
    expected = selected(pattern if isinstance(pattern, str | bytes) else pattern.pattern, order)
    if listener is not None:
        listener.clear()
    count = cache.invalidate(pattern)
    audit(cache)
    assert type(count) is int
    assert count == len(expected)
    gone = {*expected}
    assert list(cache) == [key for key in order if key not in gone]
    assert changed(stats, cache.stats()) == ({"invalidations": count} if count else {})
    assert cache.stats().size == len(cache) == len(order) - count
    if listener is not None:
        assert len(listener) == count
        assert {key: value for key, value, _ in listener} == {key: before[key] for key in expected}
        assert set(causes(listener)) <= {INVALIDATED}
    for key in expected:
        assert key not in cache
        assert cache.get(key) is cache.peek(key) is None
    return count


class TestWhatGoes:
    @pytest.mark.parametrize("pattern", PATTERNS, ids=ascii)
    def test_is_what_is_selected(self, pattern):
        for form in (pattern, Glob(pattern)):
            listener = Listener()
            cache = full(on_removal=listener)
            leaves(cache, form, listener)
            assert cache.invalidate(form) == 0

    @pytest.mark.parametrize("order", range(8))
    def test_one_pattern_after_another(self, order):
        """A cache that has an index, has had to extend it, or has none."""
        patterns = PATTERNS[:]
        random.Random(order).shuffle(patterns)
        listener = Listener()
        cache = full(on_removal=listener)
        for pattern in patterns:
            leaves(cache, pattern, listener)
            cache.update((key, Value(key)) for key in KEYS)
            audit(cache)
        for pattern in patterns:
            leaves(cache, Glob(pattern), listener)

    def test_text_and_bytes_of_the_same_form(self):
        for pattern in ("é:*", "é:1", "*1", b"\xc3\xa9:*", b"\xc3\xa9:1"):
            cache = full(["é:1", "é:1".encode(), "e:2"])
            assert leaves(cache, pattern) == 2

    @pytest.mark.parametrize("pattern", ["*", "a*", "?", "*a*", "[^x]", "", "a", "a:*"])
    def test_never_what_is_no_text(self, pattern):
        keys = [key for key in NO_TEXT if not isinstance(key, bytearray) and key == key]
        cache = full(keys)
        assert cache.invalidate(pattern) == 0
        assert list(cache) == keys
        nan = math.nan
        cache = full([nan])
        assert cache.invalidate(pattern) == 0
        assert len(cache) == 1

    def test_the_empty_key(self):
        for pattern, count in (("", 2), ("*", 2), ("**", 0), ("?", 0), ("[", 0), (b"*", 2), (b"", 2), ("*[^a]", 0)):
            assert leaves(full(["", b""]), pattern) == count

    def test_an_empty_cache(self):
        listener = Listener()
        cache = MemoryCache(on_removal=listener)
        for pattern in PATTERNS:
            assert cache.invalidate(pattern) == 0
            audit(cache)
        assert listener == []
        assert cache.stats().invalidations == 0

    def test_by_a_keyword(self):
        assert full().invalidate(pattern="user:42:name") == 2

    @pytest.mark.parametrize("pattern", ["user:*", "*5", "user:5", "*"])
    def test_keys_of_subclasses(self, pattern):
        """Each for what it holds."""
        keys = [Text(f"user:{number}") for number in range(10)]
        keys += [Bytes(f"user:{number}", "ascii") for number in range(10)]
        cache = MemoryCache()
        for key in keys:
            cache[key] = 1
        expected = 20 if pattern in ("user:*", "*") else 2
        assert cache.invalidate(pattern) == expected
        audit(cache)
        assert len(cache) == 20 - expected

    @pytest.mark.parametrize("pattern", ["user:*", "*r:1", "user:1", "us*"])
    def test_keys_that_have_the_same_text_and_are_not_equal(self, pattern):
        class Own(str):
            __hash__ = object.__hash__

            def __eq__(self, other):
                return self is other

        listener = Listener()
        cache = MemoryCache(on_removal=listener)
        for number in range(20):
            cache[Own("user:1")] = number
        cache["user:1"] = 20
        cache[Own("another:2")] = 21
        assert cache.invalidate(pattern) == 21
        audit(cache)
        assert sorted(value for _, value, _ in listener) == list(range(21))
        assert list(cache.values()) == [21]

    @pytest.mark.parametrize("pattern", ["*", "a*", "a:*", "a:1", "*1"])
    def test_keys_that_refuse_to_be_asked(self, pattern):
        """A pattern reads what a key holds; whoever is found needs no comparing."""

        class Rude(str):
            angry = False

            def __hash__(self):
                if Rude.angry:
                    raise ZeroDivisionError
                return 5

            def __eq__(self, other):
                if Rude.angry:
                    raise ZeroDivisionError
                return str.__eq__(self, other)

        cache = full([Rude("a:1"), Rude("b:1"), Rude("a:2"), "a:1"])
        Rude.angry = True
        try:
            cache.invalidate(pattern)
        finally:
            Rude.angry = False
        audit(cache)
        assert not selected(pattern, cache)


class TestWhatStays:
    def test_order_and_time_to_live(self):
        clock = Clock()
        cache = MemoryCache(6, ttl=100, timer=clock)
        cache.update({"a:1": 1, "b:1": 2, "a:2": 3, "c:1": 4, "a:3": 5, "d:1": 6})
        cache.get("b:1")
        clock.advance(10)
        for pattern in ("a:*", "*:9", "x"):
            cache.invalidate(pattern)
            assert list(cache.items()) == [("c:1", 4), ("d:1", 6), ("b:1", 2)]
            assert [cache.ttl(key) for key in cache] == [90, 90, 90]
        cache.update(dict.fromkeys(range(4)))
        assert next(iter(cache)) == "d:1"

    def test_the_space_is_there_for_others(self):
        listener = Listener()
        cache = MemoryCache(4, on_removal=listener)
        cache.update({"a:1": 1, "b:1": 2, "a:2": 3, "b:2": 4})
        assert cache.invalidate("a:*") == 2
        listener.clear()
        cache.update({"c:1": 5, "c:2": 6})
        assert listener == []
        cache["c:3"] = 7
        assert listener == [("b:1", 2, EVICTED)]

    def test_weight_goes_with_them(self):
        cache = MemoryCache(max_weight=10, weigher=lambda key, value: value)
        cache.update({"a:1": 2, "b:1": 3, "a:2": 4})
        for pattern, weight in (("a:*", 3), ("*", 0)):
            cache.invalidate(pattern)
            audit(cache)
            assert cache.stats().weight == weight
        cache["a:1"] = 10
        assert len(cache) == 1

    def test_what_is_stored_again_is_new(self):
        listener = Listener()
        cache = MemoryCache(on_removal=listener)
        for turn in range(50):
            cache["user:1"] = turn
            assert cache.invalidate("user:*") == 1
            assert cache.get("user:1") is None
        assert listener == [("user:1", turn, INVALIDATED) for turn in range(50)]
        assert cache.stats().invalidations == 50

    def test_values_are_let_go(self):
        for pattern in ("user:*", "*1*", "user:1"):
            cache = full(["user:1"])
            value = weakref.ref(cache["user:1"])
            cache.invalidate(pattern)
            for _ in range(100):
                cache.get("x")
            gc.collect()
            assert value() is None


class TestExpired:
    @pytest.mark.parametrize("pattern", ["a:*", "*", "*:1", "a:1", "*:?"])
    def test_leave_as_such_and_are_not_counted(self, pattern):
        clock, listener = Clock(), Listener()
        cache = MemoryCache(timer=clock, on_removal=listener)
        for number in range(8):
            cache.set(f"a:{number}", number, ttl=1 if number % 2 else None)
        clock.advance(1)
        live = selected(pattern, [f"a:{number}" for number in range(0, 8, 2)])
        assert cache.invalidate(pattern) == len(live)
        audit(cache)
        cache.expire()
        assert causes(listener) == {cause: n for cause, n in {EXPIRED: 4, INVALIDATED: len(live)}.items() if n}
        assert len({value for _, value, _ in listener}) == len(listener)
        assert cache.stats().invalidations == len(live)
        assert cache.stats().expirations == 4

    def test_nothing_else_is_there(self):
        clock, listener = Clock(), Listener()
        cache = MemoryCache(timer=clock, on_removal=listener, ttl=TICK)
        cache.update((f"a:{number}", number) for number in range(1000))
        clock.advance(TICK)
        assert cache.invalidate("a:*") == cache.invalidate("*") == 0
        cache.expire()
        assert causes(listener) == {EXPIRED: 1000}
        audit(cache)

    def test_an_index_survives_them(self):
        clock = Clock()
        cache = MemoryCache(timer=clock)
        cache.update({"a:0": 0, "b:0": 0})
        assert cache.invalidate("a:*") == 1
        for turn in range(1, 20):
            cache.set(f"a:{turn}", turn, ttl=1)
            cache.set(f"b:{turn}", turn, ttl=None if turn == 7 else 1)
            clock.advance(1)
            for _ in range(5):
                cache.get("x")
            audit(cache)
            assert cache.invalidate("a:*") == 0
        assert list(cache) == ["b:0", "b:7"]
        assert cache.invalidate("b:*") == 2


class TestTheIndex:
    """Patterns for which it may be used, on caches that were changed in every way since it was built."""

    CHANGES = {
        "nothing": lambda cache, clock: None,
        "set": lambda cache, clock: cache.update((f"a:{number}:x", 1) for number in range(50)),
        "overwrite": lambda cache, clock: cache.update((key, 2) for key in list(cache)),
        "delete": lambda cache, clock: cache.delete_many(list(cache)[::2]),
        "pop": lambda cache, clock: [cache.pop(key) for key in list(cache)[::3]],
        "popitem": lambda cache, clock: [cache.popitem() for _ in range(len(cache) // 2)],
        "clear": lambda cache, clock: cache.clear(),
        "clear and set": lambda cache, clock: (cache.clear(), cache.update({"a:1": 1, "b:1": 2, "a:b:c": 3})),
        "evict": lambda cache, clock: cache.update((f"b:{number}", number) for number in range(80)),
        "shrink": lambda cache, clock: cache.resize(7),
        "shrink and grow": lambda cache, clock: (
            cache.resize(7),
            cache.resize(300),
            cache.update({"a:7:7": 7, "a:": 8}),
        ),
        "grow": lambda cache, clock: (cache.resize(5000), cache.update((f"a:{n}:{n}", n) for n in range(3000))),
        "expire": lambda cache, clock: (clock.advance(5), cache.expire()),
        "expire a few": lambda cache, clock: (clock.advance(5), cache.get("x")),
        "touch": lambda cache, clock: [cache.touch(key, ttl=50) for key in list(cache)[::2]],
        "setdefault": lambda cache, clock: [cache.setdefault(f"a:{number}", 1) for number in range(20)],
        "load": lambda cache, clock: [cache.get_or_compute(f"a:new:{number}", dict) for number in range(20)],
        "invalidate others": lambda cache, clock: (
            cache.invalidate("b:*"),
            cache.invalidate("*:x"),
            cache.invalidate("a:1"),
        ),
        "invalidate deeper": lambda cache, clock: (cache.invalidate("b:1:2:3:*"), cache.invalidate("*:*:x:*")),
    }

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("built_by", [None, "a:*", "nobody:*", "a:1:2:*", "a:b:c:d:e:*"])
    def test_after_every_change(self, built_by, change):
        clock, listener = Clock(), Listener()
        rng = random.Random(5)
        cache = MemoryCache(100, timer=clock, on_removal=listener)
        names = ["a", "b", "1", "2", "", "é", "c:d"]
        inserted = []

        def fill():
            for _ in range(120):
                key = ":".join(rng.choices(names, k=rng.randrange(1, 5)))
                inserted.append(Value(key))
                cache.set(key.encode() if rng.randrange(3) == 0 else key, inserted[-1], ttl=rng.choice([None, 3, 30]))

        fill()
        for _ in range(2):
            if built_by is not None:
                cache.invalidate(built_by)
            fill()
            self.CHANGES[change](cache, clock)
            audit(cache)
            before = [key for key in cache if isinstance(key, str | bytes)]
            for pattern in ("a:*", "a:1:*", ":*", "b:é:*", "c:d:*", "a:1:2:*", "::*", "b:*"):
                expected = selected(pattern, before)
                listener.clear()
                assert cache.invalidate(pattern) == len(expected)
                assert {key for key, _, cause in listener if cause is INVALIDATED} == {*expected}
                audit(cache)
                gone = {*expected}
                before = [key for key in before if key not in gone]
                assert list(cache) == before

    @pytest.mark.parametrize(
        "delimiter", [":", "::", "/", "é", "\U0001f40d", "\udc80", "ab", "aba", "\0", " ", "*", "[", "\\", "?"]
    )
    def test_delimiters(self, delimiter):
        """Of one byte or more, special in patterns or not, and such that may lie one over the other."""
        rng = random.Random(ascii(delimiter))
        parts = [*{"a", "b", "", "ab", "x", delimiter, delimiter[0], delimiter[-1], "é", "1"}]
        parts.sort()
        for _ in range(12):
            listener = Listener()
            cache = MemoryCache(500, delimiter=delimiter, on_removal=listener)
            for _ in range(4):
                cache.update((self.key(rng, delimiter, parts), Value()) for _ in range(100))
                for _ in range(6):
                    key = self.key(rng, delimiter, parts)
                    text = key if isinstance(key, str) else key.decode("utf-8", "surrogatepass")
                    cut = text[: text.find(delimiter, rng.randrange(len(text) + 1)) + len(delimiter)]
                    pattern = Glob.escape(cut) + "*"
                    leaves(cache, pattern if rng.randrange(2) else pattern.encode("utf-8", "surrogatepass"), listener)

    def key(self, rng, delimiter, parts):
        key = delimiter.join(rng.choices(parts, k=rng.randrange(1, 6)))
        return key.encode("utf-8", "surrogatepass") if rng.randrange(3) == 0 else key

    def test_overlapping_delimiters(self):
        keys = ["a:::b", "a::b", "a::::", "a:::", "a::", "a:b", "::", ":::", "::::"]
        for pattern in ("a::*", "a:::*", "a::::*", "::*", ":::*", "a::b::*", "::::*", "a:*"):
            for first in (None, "x::*", "x::::*", "x::y::*"):
                cache = full(keys, delimiter="::")
                if first is not None:
                    cache.invalidate(first)
                leaves(cache, pattern)

    def test_an_empty_delimiter(self):
        with pytest.raises(ValueError, match="delimiter must not be empty"):
            full(delimiter="")

    def test_the_delimiter_s_bytes_in_the_middle_of_others(self):
        """A byte key may have a piece of a delimiter anywhere."""
        keys = [b"\xa9", b"\xc3", b"a\xc3\xa9b", "aéb", b"\xc3\xc3\xa9", b"\xc3\xa9\xa9", "é", "éé", "\u00e8\u00a9"]
        for pattern in (b"a\xc3\xa9*", "é*", "aé*", b"\xc3\xc3\xa9*", b"\xc3*", "éé*"):
            leaves(full(keys, delimiter="é"), pattern)

    @pytest.mark.parametrize("depth", [1, 2, 31, 32, 33, 40, 100, 300])
    def test_deep_keys(self, depth):
        keys = [":".join("ab"[(number >> min(level, 5)) % 2] for level in range(depth)) for number in range(64)]
        keys += [key + ":x" for key in keys] + [key + ":" for key in keys]
        for levels in (1, depth // 2, depth):
            cache = full(dict.fromkeys(keys))
            pattern = ":".join(["a"] * levels) + ":*"
            leaves(cache, "a:*" if levels % 2 else "b:a:*")
            cache.update(dict.fromkeys(keys, 1))
            leaves(cache, pattern)
            cache.update(dict.fromkeys(keys, 1))
            leaves(cache, pattern)
            leaves(cache, "a:*")

    def test_many_delimiters_in_a_row(self):
        keys = [":" * count for count in range(200)] + [":" * count + "a" for count in range(200)]
        for count in (1, 5, 32, 33, 150):
            cache = full(keys)
            leaves(cache, "a:*")
            leaves(cache, ":" * count + "*")

    def test_long_keys(self):
        long = "x" * 20_000
        keys = [f"{long}:{number}" for number in range(3)] + [f"{number}:{long}" for number in range(3)]
        for first in (None, "nobody:*"):
            cache = full(keys)
            if first is not None:
                cache.invalidate(first)
            cache.update((key, 1) for key in keys)
            assert leaves(cache, f"{long}:*") == 3
            assert leaves(cache, "1:*") == 1
            assert leaves(cache, f"2:{long}*") == 1

    def test_many_groups(self):
        """Grown to many prefixes and down to none, more than once."""
        cache = MemoryCache(100_000)
        for _ in range(2):
            cache.update((f"user:{number}:{field}", number) for number in range(4000) for field in "abc")
            assert cache.invalidate("user:7:*") == 3
            audit(cache)
            for number in range(0, 4000, 2):
                assert cache.invalidate(f"user:{number}:*") == 3
            audit(cache)
            assert len(cache) == 5997
            assert cache.invalidate("user:*") == 5997
            audit(cache)

    def test_one_large_group(self):
        listener = Listener()
        cache = MemoryCache(100_000, on_removal=listener)
        for _ in range(2):
            cache.update((f"a:{number}", number) for number in range(30_000))
            cache["b:1"] = 1
            assert cache.invalidate("a:*") == 30_000
            assert list(cache) == ["b:1"]
            assert cache.stats().size == 1
            assert sorted(value for _, value, cause in listener if cause is INVALIDATED) == list(range(30_000))
            listener.clear()
            audit(cache)

    def test_a_hundred_thousand_of_a_general_pattern(self):
        listener = Listener()
        cache = MemoryCache(300_000, on_removal=listener)
        cache.update((f"{'ab'[number % 2]}:{number}", number) for number in range(200_000))
        assert cache.invalidate("[a]?[0-9]*") == 100_000
        assert len(cache) == 100_000
        assert len(listener) == len({value for _, value, _ in listener}) == 100_000
        audit(cache)


class TestCopies:
    @pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
    def test_of_one_that_was_invalidated(self, twin):
        cache = MemoryCache(1000, delimiter="/")
        cache.update((f"user/{number}/{field}", number) for number in range(20) for field in "abc")
        assert cache.invalidate("user/7/*") == 3
        other = twin(cache)
        audit(other)
        assert other == cache
        for pattern, count in (("user/7/*", 0), ("user/8/*", 3), ("*/a", 18)):
            assert other.invalidate(pattern) == count
            audit(other)
        # The one knows nothing of the other.
        assert len(cache) == 57
        assert cache.invalidate("user/8/*") == 3
        audit(cache)


class TestLoads:
    @pytest.mark.parametrize("pattern", ["user:*", "user:1", "*:1", "*", "us*", Glob("user:[1]")])
    @pytest.mark.parametrize("key", ["user:1", b"user:1"])
    def test_under_way_answer_those_who_wait_and_are_not_stored(self, pattern, key):
        def flight():
            cache = MemoryCache()
            cache.update({"user:2": 2, "other:1": 1})
            under_way = Flight(cache, key).join()
            expected = len(selected(getattr(pattern, "pattern", pattern), cache))
            assert cache.invalidate(pattern) == expected
            leader, [waiter] = under_way.land()
            assert leader == "loaded"
            audit(cache)
            if waiter == "own load":
                return False
            assert waiter == "loaded"
            assert key not in cache
            return True

        attempts(flight)

    @pytest.mark.parametrize("pattern", ["user:2*", "other:*", "user:12", "*:2", "", "User:1", "user:1:*"])
    @pytest.mark.parametrize("key", ["user:1", b"user:1", 1, ("user:2",), None])
    def test_of_others_are_stored(self, pattern, key):
        cache = MemoryCache()
        flight = Flight(cache, key)
        assert cache.invalidate(pattern) == 0
        assert flight.land() == ("loaded", [])
        assert cache[key] == "loaded"

    @pytest.mark.parametrize("key", [1, ("user:1",), None, frozenset(), 2.5])
    def test_of_what_is_no_text_are_stored(self, key):
        cache = MemoryCache()
        flight = Flight(cache, key)
        assert cache.invalidate("*") == 0
        flight.land()
        assert cache[key] == "loaded"

    def test_whoever_comes_after_it_loads_anew(self):
        for pattern in ("user:*", "*1", "user:1"):
            cache = MemoryCache()
            flight = Flight(cache, "user:1")
            cache.invalidate(pattern)
            assert cache.get_or_compute("user:1", lambda: "newer") == "newer"
            assert flight.land() == ("loaded", [])
            assert cache["user:1"] == "newer"
            audit(cache)

    def test_an_older_value_beneath_goes_too(self):
        cache = MemoryCache()
        flight = Flight(cache, "user:1")
        cache["user:1"] = "written"
        assert cache.invalidate("user:*") == 1
        assert flight.land() == ("loaded", [])
        assert "user:1" not in cache

    def test_many_at_once(self):
        cache = MemoryCache()
        flights = [Flight(cache, f"{'ab'[number % 2]}:{number}") for number in range(20)]
        assert cache.invalidate("a:*") == 0
        for flight in flights:
            assert flight.land() == ("loaded", [])
        assert {*cache} == {f"b:{number}" for number in range(1, 20, 2)}
        assert cache.stats().loads == 20

    @pytest.mark.parametrize("pattern", ["user:*", "user:1", "*1", "*"])
    def test_by_its_own_loader(self, pattern):
        cache = MemoryCache()
        cache["user:2"] = 2
        matching = "user:2" in selected(pattern, ["user:2"])

        def load():
            assert cache.invalidate(pattern) == matching
            return "loaded"

        assert cache.get_or_compute("user:1", load) == "loaded"
        assert "user:1" not in cache
        assert ("user:2" in cache) is not matching

    def test_by_a_loader_within_a_loader(self):
        cache = MemoryCache()

        def inner():
            cache.invalidate("a:*")
            return "inner"

        assert cache.get_or_compute("a:1", lambda: cache.get_or_compute("b:1", inner)) == "inner"
        assert list(cache) == ["b:1"]

    def test_that_fail(self):
        cache = MemoryCache()

        def load():
            cache.invalidate("user:*")
            raise ZeroDivisionError

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                cache.get_or_compute("user:1", load)
        assert len(cache) == 0

    @pytest.mark.parametrize("kind", [Text, Bytes])
    def test_of_keys_of_subclasses(self, kind):
        cache = MemoryCache()
        key = Text("user:1") if kind is Text else Bytes(b"user:1")
        assert cache.get_or_compute(key, lambda: cache.invalidate("user:*")) == 0
        assert len(cache) == 0


class TestListener:
    def test_is_told_each_once(self):
        listener = Listener()
        cache = MemoryCache(on_removal=listener)
        values = [Value(number) for number in range(1000)]
        cache.update((f"{'abc'[number % 3]}:{number}", value) for number, value in enumerate(values))
        for pattern in ("a:*", "a:*", "*5", "b*", "*", "**"):
            cache.invalidate(pattern)
        assert causes(listener) == {INVALIDATED: 1000}
        accounted(values, cache, [value for _, value, _ in listener])

    def test_is_told_by_the_end_of_the_call(self):
        for count in (1, 10, 30_000):
            listener = Listener()
            cache = MemoryCache(100_000, on_removal=listener)
            cache.update((f"a:{number}", number) for number in range(count))
            assert cache.invalidate("a*") == len(listener) == count

    @pytest.mark.parametrize("pattern", ["a:*", "*", "a*", "*[0-9]"])
    def test_that_raises_is_logged_and_changes_nothing(self, pattern, caplog):
        told = []

        def listener(key, value, cause):
            told.append(value)
            raise ZeroDivisionError

        cache = MemoryCache(on_removal=listener)
        cache.update((f"a:{number}", number) for number in range(20))
        with caplog.at_level(logging.DEBUG, logger="khronos_fast"):
            assert cache.invalidate(pattern) == 20
        assert sorted(told) == list(range(20))
        records = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(records) == 20
        assert {record.name for record in records} == {"khronos_fast.memory"}
        assert {record.exc_info[0] for record in records} == {ZeroDivisionError}
        assert len(cache) == 0
        audit(cache)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    @pytest.mark.parametrize("pattern", ["a:*", "*[0-9]", "a:3"])
    def test_what_is_no_exception_is_raised_when_all_is_done(self, pattern, error):
        for count in (5, 20_000):
            told = []

            def listener(key, value, cause, told=told):
                told.append(value)
                if value == 3:
                    raise error

            cache = MemoryCache(100_000, on_removal=listener)
            cache.update((f"a:{number}", number) for number in range(count))
            cache["b:x"] = -1
            with pytest.raises(error):
                cache.invalidate(pattern)
            expected = [3] if pattern == "a:3" else list(range(count))
            assert sorted(told) == expected
            assert len(cache) == count + 1 - len(expected)
            assert cache.stats().invalidations == len(expected)
            audit(cache)
            cache["a:3"] = 5
            assert cache["a:3"] == 5

    def test_no_key_is_logged_above_debug(self, caplog):
        def listener(key, value, cause):
            raise ZeroDivisionError

        cache = MemoryCache(on_removal=listener, name="the cache's name")
        cache["SECRET:1"] = "SECRET"
        with caplog.at_level(logging.INFO, logger="khronos_fast"):
            cache.invalidate("SECRET:*")
        assert not any("SECRET" in record.getMessage() for record in caplog.records)

    def test_other_causes_are_as_ever(self):
        clock, listener = Clock(), Listener()
        cache = MemoryCache(2, on_removal=listener, timer=clock)
        cache.update({"a:1": 1, "b:1": 2})
        cache.invalidate("nobody:*")
        cache["a:1"] = 3
        cache["c:1"] = 4
        cache.delete("a:1")
        cache.invalidate("c:*")
        cache.set("a:2", 5, ttl=1)
        cache.set("a:3", 6)
        clock.advance(1)
        cache.expire()
        cache.clear()
        assert listener == [
            ("a:1", 1, REPLACED),
            ("b:1", 2, EVICTED),
            ("a:1", 3, DELETED),
            ("c:1", 4, INVALIDATED),
            ("a:2", 5, EXPIRED),
            ("a:3", 6, CLEARED),
        ]


def test_a_subclass_s_own_methods_are_not_called():
    class Loud(MemoryCache):
        def delete(self, key):
            raise AssertionError

        __delitem__ = pop = delete

    cache = Loud()
    cache.update({"a:1": 1, "a:2": 2, "b": 3})
    assert cache.invalidate("a:*") == 2
    assert cache.invalidate("*") == 1


@pytest.mark.skipif(FREE_THREADED, reason="other threads of the interpreter would get no memory either")
def test_without_memory():
    """Whenever there is none, nothing is lost: what has gone was told of, and what was not told of is there."""
    pytest.importorskip("_testcapi")
    run_script(
        """
import _testcapi
from khronos_fast import MemoryCache
from khronos_fast._core.audit import audit

def listener(key, value, cause):
    told[0] += 1

told = [0]
failed = 0
for first in (None, "nobody:*"):
    for pattern in ("a:*", "*", "*:1*", "a:5", "a:1:*"):
        for start in range(60):
            for length in (1, 40, 1000):
                cache = MemoryCache(100, on_removal=listener)
                for number in range(50):
                    cache[f"a:{number}"] = number
                if first is not None:
                    cache.invalidate(first)
                told[0] = 0
                _testcapi.set_nomemory(start, start + length)
                try:
                    cache.invalidate(pattern)
                except MemoryError:
                    failed += 1
                finally:
                    _testcapi.remove_mem_hooks()
                audit(cache)
                assert told[0] + len(cache) == 50, (first, pattern, start, length)
                assert cache.stats().invalidations == told[0]
                cache.invalidate("*")
                assert len(cache) == 0 and told[0] == 50
assert failed
"""
    )
