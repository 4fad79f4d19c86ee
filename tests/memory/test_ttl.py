"""Time to live: against the real clock, with odd timers and values, and the memory that expired entries give back."""

import gc
import math
import time
import weakref
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause

from .support import TICK, WINDOW, Clock, Listener, Value, counts, state

MISSING = object()

# The clock of the tests. On every platform finer than a microsecond, which `time.monotonic` is not.
clock = time.perf_counter
LATE = 0.005
ROUNDING = 1e-5

LOOKS = {
    "get": lambda cache, key: cache.get(key, MISSING) is not MISSING,
    "peek": lambda cache, key: cache.peek(key, MISSING) is not MISSING,
    "in": lambda cache, key: key in cache,
    "[]": lambda cache, key: not raises(lambda: cache[key]),
    "ttl": lambda cache, key: not raises(lambda: cache.ttl(key)),
    "get_many": lambda cache, key: bool(cache.get_many([key])),
    "len": lambda cache, key: len(cache) == 1,
    "iter": lambda cache, key: list(cache) == [key],
    "items": lambda cache, key: bool(cache.items()),
    "values": lambda cache, key: bool(list(cache.values())),
    "keys": lambda cache, key: key in cache.keys(),  # noqa: SIM118 - the view is tested
    "stats": lambda cache, key: cache.stats().size == 1,
    "bool": lambda cache, key: bool(cache),
}


def raises(call):
    try:
        call()
    except KeyError:
        return True
    return False


class TestRealClock:
    """Nothing is assumed about how fast this runs: the moments around each call say what its answer may be."""

    @pytest.mark.parametrize("look", LOOKS)
    def test_never_early_never_more_than_5_ms_late(self, look):
        there = LOOKS[look]
        for ttl in (0.001, 0.0042, 0.011, 0.025):
            cache = MemoryCache()
            earliest = clock()
            cache.set("k", 1, ttl=ttl)
            latest = clock()
            while True:
                before = clock()
                seen = there(cache, "k")
                after = clock()
                if seen:
                    assert before <= latest + ttl + LATE + ROUNDING, "served more than 5 ms after its expiry"
                else:
                    assert after >= earliest + ttl - ROUNDING, "dropped before its expiry"
                    break

    def test_of_many_at_once(self):
        cache = MemoryCache(10_000)
        spans = {}
        for key in range(3000):
            ttl = 0.002 + key % 60 * 0.001
            earliest = clock()
            cache.set(key, key, ttl=ttl)
            spans[key] = (earliest + ttl, clock() + ttl)
        while spans:
            for key, (first, last) in list(spans.items()):
                before = clock()
                seen = cache.get(key)
                after = clock()
                if seen is None:
                    assert after >= first - ROUNDING
                    del spans[key]
                else:
                    assert before <= last + LATE + ROUNDING
        assert len(cache) == 0

    def test_time_left(self):
        cache = MemoryCache(ttl=50)
        earliest = clock()
        cache["k"] = 1
        latest = clock()
        for _ in range(100):
            before = clock()
            left = cache.ttl("k")
            after = clock()
            assert earliest + 50 - after - LATE - ROUNDING <= left <= latest + 50 - before + LATE + ROUNDING

    def test_touch_and_overwriting_begin_anew(self):
        for renew in (
            lambda cache: cache.touch("k", ttl=0.03),
            lambda cache: cache.set("k", 1, ttl=0.03),
            lambda cache: cache.touch("k"),
            lambda cache: cache.__setitem__("k", 1),
        ):
            cache = MemoryCache(ttl=0.03)
            renewed = clock()
            cache["k"] = 1
            for _ in range(5):
                first = clock()
                while clock() < first + 0.012:
                    pass
                before, renewed = renewed, clock()
                renew(cache)
                alive = cache.get("k") is not None
                if clock() >= before + 0.03 - ROUNDING:
                    break  # a machine that stood still for all the 30 ms says nothing
                assert alive, "dropped before its new expiry"

    def test_expired_by_the_real_clock_leave_without_being_looked_up(self):
        cache = MemoryCache(10_000)
        cache["kept"] = 1
        values = [Value() for _ in range(1000)]
        survivors = weakref.WeakSet(values)
        cache.set_many(dict(enumerate(values)), ttl=0.01)
        del values
        until = clock() + 0.03
        while clock() < until:
            pass
        for _ in range(3000):
            cache["kept"]
        gc.collect()
        assert len(survivors) == 0
        assert len(cache) == 1


class TestNeverShown:
    @pytest.mark.parametrize("look", LOOKS)
    @pytest.mark.parametrize("others", [0, 1, 300])
    def test_expired_by_a_hair(self, look, others):
        timer = Clock()
        cache = MemoryCache(timer=timer)
        for other in range(others):
            cache.set(("other", other), 1, ttl=1)
        cache.set("k", 1, ttl=1)
        timer.advance(1)
        assert not LOOKS[look](cache, "k")

    @pytest.mark.parametrize(
        "call",
        [
            lambda cache: cache.pop("k"),
            lambda cache: cache.__delitem__("k"),
            lambda cache: cache["k"],
            lambda cache: cache.ttl("k"),
            lambda cache: cache.popitem(),
        ],
        ids=["pop", "del", "[]", "ttl", "popitem"],
    )
    def test_is_a_key_error(self, call):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=1)
        cache["k"] = 1
        timer.advance(1)
        with pytest.raises(KeyError):
            call(cache)

    def test_to_what_changes(self):
        timer = Clock()
        listener = Listener()
        cache = MemoryCache(timer=timer, ttl=1, on_removal=listener)

        def expired():
            cache.clear()
            listener.clear()
            cache.set("k", "old")
            timer.advance(1)
            return cache

        assert expired().pop("k", "default") == "default"
        assert expired().delete("k") is False
        assert expired().touch("k") is False
        assert expired().delete_many(["k"]) == 0
        assert expired().setdefault("k", "new") == "new"
        assert expired().get_or_compute("k", lambda: "new") == "new"
        assert expired().touch("k", ttl=None) is False
        assert len(cache) == 0
        expired().set("k", "new")
        assert listener == [("k", "old", RemovalCause.EXPIRED)]
        expired().clear()
        assert listener == [("k", "old", RemovalCause.EXPIRED)]
        expired().resize(1)
        cache.stats()
        assert listener == [("k", "old", RemovalCause.EXPIRED)]
        assert expired() == {}
        assert cache == MemoryCache()

    def test_overwriting_an_expired_entry_is_an_expiration_and_an_insert(self):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=1)
        cache["k"] = 1
        timer.advance(1)
        cache["k"] = 2
        assert counts(cache.stats()) | {"inserts": 2, "updates": 0, "expirations": 1} == counts(cache.stats())

    def test_expire_counts_what_it_drops(self):
        timer = Clock()
        listener = Listener()
        cache = MemoryCache(5000, timer=timer, on_removal=listener)
        assert cache.expire() == 0
        for key in range(3000):
            cache.set(key, key, ttl=1 + key % 3)
        assert cache.expire() == 0
        timer.advance(2)
        assert cache.expire() == 2000
        assert {key % 3 for key, _, _ in listener} == {0, 1}
        assert cache.expire() == 0
        timer.advance(1)
        assert len(cache) == 0
        assert len(listener) == 3000


class TestDefaultAndOwn:
    def test_ellipsis_is_the_cache_s_and_none_is_never(self):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=10)
        cache["a"] = 1
        cache.set("b", 1, ttl=...)
        cache.set("c", 1, ttl=None)
        cache.set("d", 1, ttl=3)
        cache.set_many({"e": 1})
        cache.set_many({"f": 1}, ttl=None)
        cache.set_many({"g": 1}, ttl=3)
        cache.update(h=1)
        cache.setdefault("i", 1)
        cache.get_or_compute("j", lambda: 1)
        cache.get_or_compute("k", lambda: 1, ttl=None)
        cache.get_or_compute("l", lambda: 1, ttl=3)
        assert [cache.ttl(key) for key in "abcdefghijkl"] == [10, 10, None, 3, 10, None, 3, 10, 10, 10, None, 3]
        for key in "abc":
            assert cache.touch(key) is True
            assert cache.ttl(key) == 10
            assert cache.touch(key, ttl=None) is True
            assert cache.ttl(key) is None
            assert cache.touch(key, ttl=4) is True
            assert cache.ttl(key) == 4

    def test_no_default_is_never(self):
        timer = Clock()
        cache = MemoryCache(timer=timer)
        cache["a"] = 1
        assert cache.ttl("a") is None
        cache.set("a", 1, ttl=5)
        assert cache.ttl("a") == 5
        cache["a"] = 2
        assert cache.ttl("a") is None
        timer.advance(1e9)
        assert cache["a"] == 2

    def test_looking_does_not_prolong(self):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=1)
        cache["a"] = 1
        for left in (0.75, 0.5, 0.25):
            timer.advance(0.25)
            cache["a"], cache.get("a"), cache.peek("a"), "a" in cache, cache.setdefault("a"), cache.get_many(["a"])
            cache.get_or_compute("a", dict, ttl=100)
            assert cache.ttl("a") == left
        timer.advance(0.25)
        assert "a" not in cache

    def test_touch_moves_the_moment_both_ways(self):
        timer = Clock()
        cache = MemoryCache(timer=timer)
        cache.set("longer", 1, ttl=1)
        cache.set("shorter", 1, ttl=1000)
        cache.touch("longer", ttl=1000)
        cache.touch("shorter", ttl=1)
        timer.advance(1)
        assert list(cache) == ["longer"]
        cache.touch("longer", ttl=None)
        timer.advance(1e8)
        assert list(cache) == ["longer"]
        cache.touch("longer", ttl=TICK)
        timer.advance(TICK)
        assert len(cache) == 0

    @pytest.mark.parametrize("ttl", [1e12, 1e18, 1e100, 1.7e308, 10**18, timedelta.max], ids=repr)
    def test_longer_than_any_clock_lives_on(self, ttl):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=ttl)
        cache["a"] = 1
        cache.set("b", 1, ttl=ttl)
        cache.touch("b", ttl=ttl)
        timer.advance(100 * 365 * 86400)
        assert cache.get("a") == 1
        assert list(cache) == ["a", "b"] or list(cache) == ["b", "a"]
        left = cache.ttl("a")
        assert left is None or left > 100 * 365 * 86400
        assert cache.expire() == 0

    @pytest.mark.parametrize("ttl", [1e-9, 1e-12, 5e-324, timedelta(microseconds=1)], ids=repr)
    def test_shorter_than_any_clock_is_a_time_to_live_all_the_same(self, ttl):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=ttl)
        cache["a"] = 1
        timer.advance(TICK)
        assert "a" not in cache
        assert cache.stats().expirations == 1


class TestTimer:
    def test_without_one_the_clock_is_the_system_s(self):
        cache = MemoryCache(ttl=1000)
        cache["a"] = 1
        assert 990 < cache.ttl("a") <= 1000

    def test_may_begin_anywhere(self):
        for start in (-1000.0, -1.75e9, 0.0, -0.0, 1e-9, 1.75e9, 0, 5):
            timer = Clock(start)
            cache = MemoryCache(timer=timer, ttl=10)
            cache["a"] = 1
            assert cache.ttl("a") == 10
            timer.advance(9.75)
            assert cache["a"] == 1
            timer.advance(0.25)
            assert "a" not in cache

    @given(st.lists(st.integers(-200, 200), min_size=1, max_size=30))
    def test_that_goes_backwards_stands_still(self, steps):
        timer = Clock(0.0)
        cache = MemoryCache(timer=timer)
        latest = 0.0
        for key, step in enumerate(steps):
            timer.advance(step * TICK)
            latest = max(latest, timer())
            cache.set(key, key, ttl=100 * TICK)
            assert cache.ttl(key) == 100 * TICK
        for key in list(cache):
            assert cache.ttl(key) > 0
        timer.now = latest + 100 * TICK
        assert len(cache) == 0

    def test_that_goes_backwards_never_revives(self):
        timer = Clock(100.0)
        cache = MemoryCache(timer=timer, ttl=10)
        cache["a"] = 1
        timer.now = 110.0
        assert "a" not in cache
        timer.now = 50.0
        assert "a" not in cache
        assert len(cache) == 0
        cache["b"] = 1
        timer.now = 60.0
        assert cache.ttl("b") == 10
        timer.now = 119.0
        assert cache.ttl("b") == 1
        timer.now = 120.0
        assert "b" not in cache

    @pytest.mark.parametrize(
        "call",
        [
            lambda cache: cache.set("b", 2, ttl=5),
            lambda cache: cache.set("a", 2, ttl=5),
            lambda cache: cache.get("a"),
            lambda cache: cache["a"],
            lambda cache: cache.peek("a"),
            lambda cache: "a" in cache,
            lambda cache: cache.ttl("a"),
            lambda cache: cache.touch("a", ttl=7),
            lambda cache: cache.setdefault("b", 1),
            lambda cache: cache.expire(),
            lambda cache: len(cache),
            lambda cache: cache.items(),
            lambda cache: cache.stats(),
        ],
    )
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (OSError("no clock"), OSError),
            ("now", TypeError),
            (None, TypeError),
            (b"1", TypeError),
            (1j, TypeError),
            (math.nan, ValueError),
            (math.inf, ValueError),
            (-math.inf, ValueError),
        ],
        ids=repr,
    )
    def test_that_fails(self, call, answer, error):
        good = Clock()
        answers = []

        def timer():
            if not answers:
                return good()
            if isinstance(answers[0], Exception):
                raise answers[0]
            return answers[0]

        listener = Listener()
        cache = MemoryCache(timer=timer, ttl=10, on_removal=listener)
        cache["a"] = 1
        before = state(cache)
        answers.append(answer)
        with pytest.raises(error):
            call(cache)
        answers.clear()
        assert state(cache) == before
        assert listener == []
        # And it works again: a reading of nonsense has left no trace in the cache's own time.
        good.advance(10)
        assert cache.expire() == 1

    @pytest.mark.parametrize("reading", [1e300, -1e300, 1e15, 10**30], ids=repr)
    def test_of_absurd_size_is_refused_or_obeyed(self, reading):
        timer = Clock(0.0)
        cache = MemoryCache(timer=timer, ttl=10)
        cache["a"] = 1
        timer.now = reading
        try:
            there = "a" in cache
        except (ValueError, OverflowError):
            return
        assert there is (reading < 10)


class TestBeforeLive:
    """What expired 5 ms ago or earlier goes before any live entry does."""

    @given(
        st.lists(st.sampled_from([None, 1, 2, 3, 1000]), min_size=1, max_size=40),
        st.permutations(range(40)),
        st.integers(0, 4),
        st.integers(1, 40),
    )
    def test_for_any_mix(self, ttls, order, passed, new):
        timer, listener = Clock(), Listener()
        cache = MemoryCache(len(ttls), timer=timer, on_removal=listener)
        for key, ttl in enumerate(ttls):
            cache.set(key, key, ttl=ttl)
        for key in order:
            cache.get(key)
        timer.advance(passed + WINDOW)
        live = [key for key in order if key < len(ttls) and (ttls[key] is None or ttls[key] > passed)]
        for key in range(new):
            cache.set(("new", key), key)
        evicted = [key for key, _, cause in listener if cause is RemovalCause.EVICTED]
        excess = max(0, len(live) + new - len(ttls))
        assert evicted == (live + [("new", key) for key in range(new)])[:excess]

    def test_the_most_recently_used_too(self):
        timer, listener = Clock(), Listener()
        cache = MemoryCache(3, timer=timer, on_removal=listener)
        cache["a"] = 1
        cache["b"] = 2
        cache.set("c", 3, ttl=1)
        timer.advance(1 + WINDOW)
        cache["d"] = 4
        assert listener == [("c", 3, RemovalCause.EXPIRED)]
        assert list(cache) == ["a", "b", "d"]

    def test_by_the_thousand(self):
        timer, listener = Clock(), Listener()
        cache = MemoryCache(10_000, timer=timer, on_removal=listener)
        for key in range(10_000):
            cache.set(key, key, ttl=None if key % 2 else 1 + key % 7)
        timer.advance(20)
        for key in range(5000):
            cache[("new", key)] = key
        assert {cause for _, _, cause in listener} == {RemovalCause.EXPIRED}
        assert len(listener) == 5000
        cache["one more"] = 1
        assert listener[-1] == (1, 1, RemovalCause.EVICTED)

    def test_for_weight(self):
        timer, listener = Clock(), Listener()
        cache = MemoryCache(timer=timer, on_removal=listener, max_weight=10, weigher=lambda key, value: value)
        cache["a"] = 4
        cache.set("b", 4, ttl=1)
        cache["c"] = 2
        timer.advance(1 + WINDOW)
        cache["d"] = 4
        assert listener == [("b", 4, RemovalCause.EXPIRED)]
        assert list(cache.items()) == [("a", 4), ("c", 2), ("d", 4)]

    def test_for_resize(self):
        timer, listener = Clock(), Listener()
        cache = MemoryCache(timer=timer, on_removal=listener)
        cache["a"] = 1
        cache.set("b", 2, ttl=1)
        timer.advance(1 + WINDOW)
        cache.resize(1)
        assert listener == [("b", 2, RemovalCause.EXPIRED)]
        assert list(cache) == ["a"]


# Any use of the cache, none of which looks at an expired entry.
USES = {
    "get hit": lambda cache, turn: cache.get("kept"),
    "get miss": lambda cache, turn: cache.get("absent"),
    "[]": lambda cache, turn: cache["kept"],
    "in": lambda cache, turn: "kept" in cache,
    "peek": lambda cache, turn: cache.peek("kept"),
    "ttl": lambda cache, turn: cache.ttl("kept"),
    "touch": lambda cache, turn: cache.touch("kept"),
    "get_many": lambda cache, turn: cache.get_many(["kept"]),
    "overwrite": lambda cache, turn: cache.set("kept", turn),
    "insert": lambda cache, turn: cache.set(("new", turn), turn),
    "insert with ttl": lambda cache, turn: cache.set(("new", turn), turn, ttl=5),
    "setdefault": lambda cache, turn: cache.setdefault("kept", turn),
    "delete": lambda cache, turn: cache.delete(("absent", turn)),
    "pop": lambda cache, turn: cache.pop("absent", None),
    "get_or_compute": lambda cache, turn: cache.get_or_compute("kept", dict),
}


class TestMemoryComesBack:
    COUNT = 1500

    @pytest.mark.parametrize("use", USES)
    @pytest.mark.parametrize("spread", ["at once", "spread"])
    def test_by_any_use(self, use, spread):
        timer = Clock()
        cache = MemoryCache(100_000, timer=timer)
        cache["kept"] = 1
        values = [Value() for _ in range(self.COUNT)]
        survivors = weakref.WeakSet(values)
        for key, value in enumerate(values):
            cache.set(key, value, ttl=1 + (key * 37.5 % 5000 if spread == "spread" else 0))
        del values, value
        timer.advance(6000)
        for turn in range(2 * self.COUNT):
            USES[use](cache, turn)
        gc.collect()
        assert len(survivors) == 0

    def test_by_use_while_time_goes_by(self):
        timer = Clock()
        cache = MemoryCache(1_000_000, timer=timer, ttl=10)
        survivors = weakref.WeakSet()
        most = 0
        for turn in range(20_000):
            value = Value()
            survivors.add(value)
            cache[turn] = value
            del value
            timer.advance(0.03125)
            most = max(most, len(survivors))
        # 320 are alive at a time.
        assert most < 2000

    def test_the_key_too(self):
        timer = Clock()
        cache = MemoryCache(timer=timer, ttl=1)
        keys = [Value() for _ in range(500)]
        survivors = weakref.WeakSet(keys)
        for key in keys:
            cache[key] = 1
        del keys, key
        timer.advance(2)
        for _ in range(1000):
            cache.get("absent")
        gc.collect()
        assert len(survivors) == 0


@pytest.fixture(scope="module")
def mass():
    """A cache in which a million entries have just expired."""
    listener = Listener()
    timer = Clock()
    cache = MemoryCache(2_000_000, timer=timer, on_removal=listener)
    cache.set_many(dict.fromkeys(range(1_000_000), 0), ttl=60)
    cache["kept"] = 1
    timer.advance(61)
    yield cache, listener
    listener.clear()
    cache.clear()
    listener.clear()


class TestBoundedWork:
    """After any number of entries have expired at once, no single operation pays for all of them."""

    BOUND = 64
    CALLS = USES | {
        "[] miss": lambda cache, turn: raises(lambda: cache["absent"]),
        "get expired": lambda cache, turn: cache.get(turn),
        "pop expired": lambda cache, turn: cache.pop(turn, None),
        "set expired": lambda cache, turn: cache.set(turn, 1),
    }

    @pytest.mark.parametrize("call", CALLS)
    def test_of_a_million_at_once(self, mass, call):
        cache, listener = mass
        removed = 0
        for turn in range(500_000, 500_300):
            listener.clear()
            self.CALLS[call](cache, turn)
            assert len(listener) <= self.BOUND + 1, "one operation dropped this many"
            removed += len(listener)
        assert removed >= 150, "a use that drops nothing gives no memory back"

    def test_of_different_moments_and_sizes(self):
        listener = Listener()
        timer = Clock()
        cache = MemoryCache(200_000, timer=timer, on_removal=listener)
        for key in range(100_000):
            cache.set(key, 0, ttl=1 + key % 997 * 3.75)
        timer.advance(4000)
        for turn in range(2000):
            listener.clear()
            cache.set(("new", turn), turn)
            assert len(listener) <= self.BOUND

    def test_insertion_into_a_full_cache(self):
        listener = Listener()
        timer = Clock()
        cache = MemoryCache(50_000, timer=timer, on_removal=listener)
        cache.set_many(dict.fromkeys(range(50_000), 0), ttl=60)
        timer.advance(61)
        for turn in range(1000):
            listener.clear()
            cache[("new", turn)] = turn
            assert len(listener) <= self.BOUND
            assert {cause for _, _, cause in listener} <= {RemovalCause.EXPIRED}
        assert len(cache) == 1000
