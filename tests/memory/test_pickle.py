"""Copies of every kind carry the entries, in order, with the time they have left, and the settings."""

import copy
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import khronos_fast
from khronos_fast import CacheStats, LoaderCycle, MemoryCache, RemovalCause

from .support import NO_COUNTS, TICK, Clock, Listener, Task, counts

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
COPIERS = {
    **{f"pickle {protocol}": lambda cache, p=protocol: pickle.loads(pickle.dumps(cache, p)) for protocol in PROTOCOLS},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def one_each(key, value):
    return 1


def weigh(key, value):
    return value


clock = Clock()


def module_timer():
    return clock()


def ignore(key, value, cause):
    pass


class Tagged(MemoryCache):
    """A subclass with attributes of its own."""

    def __init__(self, tag=None, **settings):
        super().__init__(**settings)
        self.tag = tag


class Slotted(MemoryCache):
    __slots__ = ("note",)


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Point) and self.x == other.x

    def __hash__(self):
        return hash(self.x)


@pytest.fixture(params=COPIERS)
def copier(request):
    return COPIERS[request.param]


class TestEntries:
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 12), st.one_of(st.just(...), st.none(), st.integers(1, 500).map(lambda n: n * TICK))
            ),
            max_size=30,
        ),
        st.integers(0, 600),
        st.sampled_from(sorted(COPIERS)),
    )
    def test_order_and_time_left(self, sets, later, kind):
        clock.now = 1000.0
        cache = MemoryCache(10, ttl=300 * TICK, timer=module_timer)
        for key, ttl in sets:
            cache.set(key, -key, ttl=ttl)
            clock.advance(TICK)
        clock.advance(later * TICK)
        twin = COPIERS[kind](cache)
        assert type(twin) is MemoryCache
        assert twin is not cache
        assert list(twin.items()) == list(cache.items())
        assert [twin.ttl(key) for key in twin] == [cache.ttl(key) for key in cache]
        clock.advance(50 * TICK)
        assert list(twin.items()) == list(cache.items())
        twin[99], cache[99] = 1, 1
        assert list(twin.items()) == list(cache.items())
        assert twin.ttl(99) == cache.ttl(99) == 300 * TICK

    def test_time_does_not_pass_for_a_pickle(self):
        clock.now = 1000.0
        cache = MemoryCache(timer=module_timer)
        cache.set("a", 1, ttl=10)
        clock.advance(4)
        data = pickle.dumps(cache)
        clock.advance(1_000_000)
        twin = pickle.loads(data)
        assert twin.ttl("a") == 6
        assert "a" not in cache

    def test_time_left_by_the_real_clock(self, copier):
        cache = MemoryCache(ttl=1000)
        cache["a"] = 1
        cache.set("b", 1, ttl=None)
        twin = copier(cache)
        assert cache.ttl("a") - 1 < twin.ttl("a") <= 1000
        assert twin.ttl("b") is None

    def test_what_has_expired_stays_behind(self, copier):
        clock.now = 1000.0
        cache = MemoryCache(timer=module_timer)
        cache.set("a", 1, ttl=1)
        cache["b"] = 2
        clock.advance(1)
        twin = copier(cache)
        assert twin == {"b": 2}
        clock.advance(-1)
        assert twin == {"b": 2}
        assert twin.stats().expirations == 0

    def test_many(self, copier):
        cache = MemoryCache(100_000)
        cache.update((number, str(number)) for number in range(5000))
        for number in range(0, 5000, 3):
            cache.get(number)
        twin = copier(cache)
        assert list(twin.items()) == list(cache.items())

    def test_empty(self, copier):
        twin = copier(MemoryCache(5))
        assert len(twin) == 0
        assert twin.stats().maxsize == 5

    def test_full(self, copier):
        cache = MemoryCache(3, max_weight=6, weigher=weigh)
        cache.update(a=1, b=2, c=3)
        twin = copier(cache)
        assert twin.stats().weight == 6
        twin["d"] = 1
        assert list(twin) == ["b", "c", "d"]
        assert twin.stats().weight == 6
        twin["e"] = 6
        assert list(twin) == ["e"]


class TestSettings:
    def test_all_are_carried(self, copier):
        clock.now = 1000.0
        cache = MemoryCache(
            7, 60, max_weight=100, weigher=one_each, on_removal=ignore, timer=module_timer, delimiter="/", name="users"
        )
        cache["a"] = 1
        twin = copier(copier(cache))
        assert twin.name == "users"
        stats = twin.stats()
        assert (stats.maxsize, stats.max_weight, stats.weight) == (7, 100, 1)
        twin["b"] = 2
        assert twin.ttl("b") == 60
        clock.advance(60)
        assert len(twin) == 0

    def test_after_resize(self, copier):
        cache = MemoryCache(7)
        cache.resize(3)
        assert copier(cache).stats().maxsize == 3

    def test_counters_start_at_nought(self, copier):
        cache = MemoryCache(3)
        cache.update(a=1, b=2, c=3, d=4, a2=1)
        cache.update(d=5)
        cache.get("c"), cache.get("x"), cache.get_or_compute("y", dict)
        before = cache.stats()
        twin = copier(cache)
        assert counts(twin.stats()) == NO_COUNTS
        assert twin.stats().load_seconds == 0
        assert twin.stats().hit_ratio is None
        assert twin.stats().size == 3
        assert cache.stats() == before

    def test_a_timer_that_is_an_object_is_carried(self, copier):
        own = Clock(5.0)
        cache = MemoryCache(timer=own)
        cache.set("a", 1, ttl=10)
        assert copier(cache).ttl("a") == 10


class TestIndependence:
    def test_changes_to_one_are_not_seen_by_the_other(self, copier):
        cache = MemoryCache(3)
        cache.update(a=1, b=2)
        twin = copier(cache)
        twin["c"] = 3
        cache.delete("a")
        twin["b"] = 20
        twin.resize(50)
        assert cache == {"b": 2}
        assert twin == {"a": 1, "b": 20, "c": 3}
        assert cache.stats().maxsize == 3

    def test_nothing_is_reported_and_nothing_is_counted(self):
        listener = Listener()
        cache = MemoryCache(3, on_removal=listener)
        cache.update(a=1, b=2)
        before = cache.stats()
        twin = copy.copy(cache)
        assert listener == []
        assert cache.stats() == before
        assert list(cache) == ["a", "b"]
        twin.delete("a")
        assert listener == [("a", 1, RemovalCause.DELETED)]

    def test_copy_shares_values_and_deepcopy_does_not(self):
        value, key = [1], Point(1)
        cache = MemoryCache()
        cache[key] = value
        assert copy.copy(cache)[key] is value
        assert next(iter(copy.copy(cache))) is key
        deep = copy.deepcopy(cache)
        assert deep[key] == value
        assert deep[key] is not value
        assert next(iter(deep)) is not key

    def test_copy_shares_callables_of_any_kind(self):
        seen = []
        cache = MemoryCache(
            on_removal=lambda *removal: seen.append(removal), timer=lambda: 5.0, max_weight=10, weigher=lambda k, v: 2
        )
        cache.set("a", 1, ttl=3)
        for twin in (copy.copy(cache), copy.deepcopy(cache)):
            assert twin.ttl("a") == 3
            assert twin.stats().weight == 2
            seen.clear()
            twin.delete("a")
            assert seen == [("a", 1, RemovalCause.DELETED)]

    def test_deepcopy_keeps_identities(self):
        shared = [1]
        cache = MemoryCache()
        cache.update(a=shared, b=shared)
        both = copy.deepcopy({"cache": cache, "again": cache, "value": shared})
        assert both["cache"] is both["again"]
        assert both["cache"]["a"] is both["cache"]["b"] is both["value"]

    def test_pickle_keeps_identities(self):
        shared = [1]
        cache = MemoryCache()
        cache.update(a=shared, b=shared)
        both = pickle.loads(pickle.dumps({"cache": cache, "again": cache, "value": shared}))
        assert both["cache"] is both["again"]
        assert both["cache"]["a"] is both["cache"]["b"] is both["value"]


class TestCycles:
    @pytest.mark.parametrize("kind", [name for name in COPIERS if name != "copy"])
    @pytest.mark.parametrize("make", [MemoryCache, Tagged])
    def test_a_cache_that_contains_itself(self, kind, make):
        cache = make()
        cache["self"] = cache
        cache["list"] = [cache]
        twin = COPIERS[kind](cache)
        assert twin is not cache
        assert twin["self"] is twin
        assert twin["list"][0] is twin
        assert list(twin) == ["self", "list"] or len(twin) == 2

    @pytest.mark.parametrize("kind", [name for name in COPIERS if name != "copy"])
    def test_two_that_contain_each_other(self, kind):
        one, two = MemoryCache(name="one"), MemoryCache(name="two")
        one["other"], two["other"] = two, one
        twin = COPIERS[kind](one)
        assert twin["other"]["other"] is twin
        assert (twin.name, twin["other"].name) == ("one", "two")

    @pytest.mark.parametrize("kind", [name for name in COPIERS if name != "copy"])
    def test_through_the_attributes_of_a_subclass(self, kind):
        cache = Tagged()
        cache.tag = [cache]
        cache["k"] = cache.tag
        twin = COPIERS[kind](cache)
        assert twin.tag[0] is twin
        assert twin["k"] is twin.tag


class TestSubclasses:
    def test_attributes_are_carried(self, copier):
        cache = Tagged(["tag"], maxsize=3, name="tagged")
        cache.extra = {"more": 1}
        cache.update(a=1, b=2)
        twin = copier(cache)
        assert type(twin) is Tagged
        assert (twin.tag, twin.extra, twin.name) == (["tag"], {"more": 1}, "tagged")
        assert list(twin.items()) == [("a", 1), ("b", 2)]
        assert twin.stats().maxsize == 3

    def test_slots_are_carried(self, copier):
        cache = Slotted(3)
        cache.note = "noted"
        cache["a"] = 1
        twin = copier(cache)
        assert type(twin) is Slotted
        assert twin.note == "noted"
        assert twin == {"a": 1}

    def test_slots_that_were_never_set(self, copier):
        twin = copier(Slotted(3))
        with pytest.raises(AttributeError):
            twin.note

    def test_may_hold_a_weak_reference_after_copying(self, copier):
        twin = copier(Tagged())
        assert weakref.ref(twin)() is twin


class Unpicklable:
    def __call__(self, *arguments):
        return 1

    def __reduce__(self):
        raise RuntimeError("has a socket")


class TestWhatCannotBePickled:
    @pytest.mark.parametrize("parameter", ["on_removal", "weigher", "timer"])
    @pytest.mark.parametrize("make", [lambda: lambda *arguments: 1, Unpicklable], ids=["lambda", "object"])
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_callable_says_which_parameter_it_is(self, parameter, make, protocol):
        settings = {parameter: make()}
        if parameter == "weigher":
            settings["max_weight"] = 10
        cache = MemoryCache(**settings)
        cache["a"] = 1
        with pytest.raises((TypeError, pickle.PicklingError), match=parameter):
            pickle.dumps(cache, protocol)
        assert cache["a"] == 1

    def test_a_value_fails_as_it_does_in_a_dict(self):
        cache = MemoryCache()
        cache["a"] = Unpicklable()
        with pytest.raises(RuntimeError, match="socket"):
            pickle.dumps(cache)
        with pytest.raises(RuntimeError, match="socket"):
            copy.deepcopy(cache)
        assert len(copy.copy(cache)) == len(cache) == 1

    def test_a_copy_that_fails_leaves_the_original(self):
        class Poor:
            def __deepcopy__(self, memo):
                raise MemoryError

        cache = MemoryCache(3)
        cache.update(a=1, b=Poor())
        with pytest.raises(MemoryError):
            copy.deepcopy(cache)
        assert list(cache) == ["a", "b"]


class TestRobustness:
    def test_broken_data_is_an_error_and_no_crash(self):
        cache = MemoryCache(5, ttl=50)
        cache.update(a=1, b=2)
        data = pickle.dumps(cache)
        for cut in range(len(data) - 1):
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever pickle makes of it
                pickle.loads(data[:cut])

    def test_keys_whose_hash_needs_the_cache_they_are_in(self):
        cache = MemoryCache()
        cache[Point(1)] = Point(2)
        twin = pickle.loads(pickle.dumps(cache))
        assert twin[Point(1)] == Point(2)

    def test_between_processes(self):
        cache = MemoryCache(5, ttl=1000, name="sent")
        cache.update(a=1, b=[None])
        code = (
            "import pickle, sys\n"
            "cache = pickle.load(sys.stdin.buffer)\n"
            "assert list(cache.items()) == [('a', 1), ('b', [None])], cache\n"
            "assert 990 < cache.ttl('a') <= 1000\n"
            "assert cache.name == 'sent'\n"
            "pickle.dump(cache, sys.stdout.buffer)\n"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(khronos_fast.__file__).resolve().parents[1])}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            input=pickle.dumps(cache),
            capture_output=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert pickle.loads(done.stdout) == cache

    def test_while_other_threads_change_it(self):
        cache = MemoryCache(50)
        cache.update((number, number) for number in range(50))
        stop = []

        def change():
            turn = 0
            while not stop:
                turn += 1
                cache[turn % 90] = turn
                cache.pop(turn % 40, None)
                if turn % 100 == 0:
                    cache.clear()
            return turn

        task = Task(change)
        try:
            for turn in range(150):
                for twin in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
                    assert len(twin) <= 50
        finally:
            stop.append(1)
        assert task.result() > 0


class TestOtherTypes:
    def test_causes_and_records_and_errors(self, copier):
        for cause in RemovalCause:
            assert copier(cause) is cause
        stats = MemoryCache().stats()
        assert copier(stats) == stats
        assert type(copier(stats)) is CacheStats
        assert str(copier(LoaderCycle("circle"))) == "circle"
