"""A bound on the sum of weights beside the bound on the number of entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause

from .model import CacheMachine
from .support import Clock, Listener, state


class WeightedMachine(CacheMachine):
    with_weights = True


class WeightedMachineThatLooksSeldom(WeightedMachine):
    looks_every_step = False


TestWeighted = WeightedMachine.TestCase
TestWeightedThatLooksSeldom = WeightedMachineThatLooksSeldom.TestCase


def by_value(key, value):
    return value


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 250)), max_size=100))
def test_never_holds_more(max_weight, sets):
    cache = MemoryCache(max_weight=max_weight, weigher=by_value)
    for key, weight in sets:
        before = dict(cache.items())
        if weight > max_weight:
            with pytest.raises(ValueError, match="max_weight"):
                cache[key] = weight
            assert dict(cache.items()) == before
        else:
            cache[key] = weight
            assert cache[key] == weight
        stats = cache.stats()
        assert stats.weight == sum(cache.values()) <= max_weight
        assert (stats.max_weight, stats.maxsize) == (max_weight, 1000)


def test_the_weigher_gets_key_and_value():
    asked = []
    cache = MemoryCache(max_weight=10, weigher=lambda key, value: asked.append((key, value)) or 1)
    cache["a"] = "x"
    cache.set("b", "y", ttl=5)
    cache.setdefault("c", "z")
    cache.get_or_compute("d", lambda: "w")
    cache.update(e="v")
    cache.set_many({"f": "u"})
    assert asked == [("a", "x"), ("b", "y"), ("c", "z"), ("d", "w"), ("e", "v"), ("f", "u")]


def test_is_asked_once_and_remembered():
    """An entry keeps the weight it came with, whatever becomes of its value."""
    cache = MemoryCache(max_weight=10, weigher=lambda key, value: len(value))
    value = [1, 2]
    cache["a"] = value
    value.extend(range(100))
    assert cache.stats().weight == 2
    cache["b"] = [1] * 8
    assert set(cache) == {"a", "b"}
    cache.get("a"), cache.touch("a"), cache.peek("a")
    assert cache.stats().weight == 10
    cache.delete("a")
    assert cache.stats().weight == 8


def test_both_bounds_hold():
    cache = MemoryCache(2, max_weight=10, weigher=by_value)
    cache.update(a=1, b=1, c=1)
    assert list(cache) == ["b", "c"]
    cache["d"] = 10
    assert list(cache) == ["d"]
    cache["e"] = 0
    assert list(cache) == ["d", "e"]


def test_overwriting_takes_the_difference():
    listener = Listener()
    cache = MemoryCache(max_weight=10, weigher=by_value, on_removal=listener)
    cache.update(a=3, b=3, c=3)
    cache["b"] = 4
    assert cache.stats().weight == 10
    assert listener.taken() == [("b", 3, RemovalCause.REPLACED)]
    cache["b"] = 5
    assert list(cache.items()) == [("c", 3), ("b", 5)]
    assert {cause for _, _, cause in listener} == {RemovalCause.REPLACED, RemovalCause.EVICTED}
    cache["b"] = 10
    assert list(cache.items()) == [("b", 10)]
    cache["b"] = 0
    assert cache.stats().weight == 0


def test_nothing_weighs_nothing():
    cache = MemoryCache(5, max_weight=1, weigher=lambda key, value: 0)
    cache.update(dict.fromkeys(range(10)))
    assert len(cache) == 5
    assert cache.stats().weight == 0


@pytest.mark.parametrize("remove", ["delete", "pop", "popitem", "clear", "expire", "resize", "replace"])
def test_what_leaves_takes_its_weight_along(remove):
    clock = Clock()
    cache = MemoryCache(timer=clock, max_weight=100, weigher=by_value, ttl=10)
    cache.set("kept", 7, ttl=None)
    cache.update(a=20, b=30)
    cache.get("kept")
    match remove:
        case "delete":
            cache.delete("a")
            cache.delete("b")
        case "pop":
            cache.pop("a")
            cache.pop("b")
        case "popitem":
            cache.popitem()
            cache.popitem()
        case "clear":
            cache.clear()
            cache["kept"] = 7
        case "expire":
            clock.advance(10)
        case "resize":
            cache.resize(1)
            cache.resize(100)
        case "replace":
            cache.update(a=0, b=0)
    assert cache.stats().weight == 7
    cache["as much as there is room for"] = 93
    assert "kept" in cache


class TestTooHeavy:
    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.set("new", 11),
            lambda c: c.set("a", 11),
            lambda c: c.set("a", 10**30),
            lambda c: c.__setitem__("new", 11),
            lambda c: c.update(new=11),
            lambda c: c.set_many({"a": 11}),
            lambda c: c.set("a", 11, ttl=5),
            lambda c: c.set("a", -1),
            lambda c: c.set("new", -(10**30)),
        ],
    )
    def test_is_refused_and_leaves_all_as_it_was(self, call):
        listener = Listener()
        cache = MemoryCache(max_weight=10, weigher=by_value, on_removal=listener, timer=Clock(), ttl=60)
        cache.update(a=4, b=5)
        before = state(cache)
        with pytest.raises(ValueError, match="weigh"):
            call(cache)
        assert state(cache) == before
        assert listener == []

    def test_says_how_heavy_and_how_much_is_allowed(self):
        cache = MemoryCache(max_weight=1234, weigher=by_value)
        with pytest.raises(ValueError, match="5678") as caught:
            cache["k"] = 5678
        assert "1234" in str(caught.value)

    def test_as_a_default(self):
        cache = MemoryCache(max_weight=10, weigher=by_value)
        with pytest.raises(ValueError, match="max_weight"):
            cache.setdefault("a", 11)
        assert len(cache) == 0
        cache["a"] = 1
        assert cache.setdefault("a", 11) == 1

    def test_from_a_loader(self):
        cache = MemoryCache(max_weight=10, weigher=by_value)
        with pytest.raises(ValueError, match="max_weight"):
            cache.get_or_compute("a", lambda: 11)
        assert len(cache) == 0
        assert cache.get_or_compute("a", lambda: 10) == 10

    def test_half_way_through_many(self):
        """Many keys are a sequence of single ones: those before the one that failed are in."""
        cache = MemoryCache(max_weight=10, weigher=by_value)
        with pytest.raises(ValueError, match="max_weight"):
            cache.update([("a", 1), ("b", 11), ("c", 1)])
        assert cache == {"a": 1}


class TestWeigher:
    @pytest.mark.parametrize("weight", [1.0, None, "1", True, False, 1j, [1]], ids=repr)
    def test_that_gives_no_int(self, weight):
        cache = MemoryCache(max_weight=10, weigher=lambda key, value: weight if key == "bad" else 1)
        cache["a"] = 1
        with pytest.raises(TypeError, match="weigher"):
            cache["bad"] = 1
        with pytest.raises(TypeError, match="weigher"):
            cache.get_or_compute("bad", dict)
        assert cache == {"a": 1}
        assert cache.stats().weight == 1

    def test_that_gives_an_int_of_its_own_kind(self):
        class Bytes(int):
            pass

        cache = MemoryCache(max_weight=10, weigher=lambda key, value: Bytes(4))
        cache.update(a=1, b=2, c=3)
        assert list(cache) == ["b", "c"]
        assert cache.stats().weight == 8

    def test_that_raises(self):
        def weigher(key, value):
            return 10 // value

        cache = MemoryCache(max_weight=10, weigher=weigher, timer=Clock())
        cache["a"] = 5
        before = state(cache)
        for call in (
            lambda: cache.set("a", 0),
            lambda: cache.set("b", 0),
            lambda: cache.update(b=0),
        ):
            with pytest.raises(ZeroDivisionError):
                call()
            assert state(cache) == before
        with pytest.raises(ZeroDivisionError):
            cache.setdefault("b", 0)
        with pytest.raises(ZeroDivisionError):
            cache.get_or_compute("b", lambda: 0)
        assert cache == {"a": 5}

    def test_huge_weights_add_up(self):
        cache = MemoryCache(max_weight=2**62, weigher=by_value)
        cache["a"] = 2**61
        cache["b"] = 2**61
        assert cache.stats().weight == 2**62
        cache["c"] = 2**61 + 1
        assert list(cache) == ["c"]
        cache["d"] = 2**62
        assert list(cache) == ["d"]

    def test_weights_of_the_largest_sum_do_not_wrap(self):
        try:
            cache = MemoryCache(max_weight=2**63 - 1, weigher=by_value)
        except (ValueError, OverflowError):
            pytest.skip("such a bound is refused")
        cache["a"] = 2**63 - 1
        cache["b"] = 2**63 - 1
        assert list(cache) == ["b"]
        assert cache.stats().weight == 2**63 - 1
        cache["b"] = 1
        cache["c"] = 2**63 - 2
        assert list(cache) == ["b", "c"]
