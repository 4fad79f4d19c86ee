"""Strict LRU, by any program of operations beside a model."""

from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause

from .model import CacheMachine
from .support import Listener


class LruMachine(CacheMachine):
    with_ttl = False


class LruMachineThatLooksSeldom(LruMachine):
    looks_every_step = False


TestLru = LruMachine.TestCase
TestLruThatLooksSeldom = LruMachineThatLooksSeldom.TestCase


@given(st.integers(1, 300), st.lists(st.integers(0, 400), max_size=800))
def test_order_of_a_larger_cache(maxsize, asked):
    cache, model, evicted = MemoryCache(maxsize), {}, 0
    for key in asked:
        if cache.get(key) is None:
            assert key not in model
            cache[key] = True
            if len(model) == maxsize:
                del model[next(iter(model))]
                evicted += 1
        else:
            del model[key]
        model[key] = True
    assert list(cache) == list(model)
    assert cache.stats().evictions == evicted


@given(st.integers(1, 20), st.integers(1, 20))
def test_evicted_in_the_order_of_use(size, kept):
    listener = Listener()
    cache = MemoryCache(size, on_removal=listener)
    cache.update((key, -key) for key in range(size))
    cache.resize(kept)
    gone = range(size - min(size, kept))
    assert listener == [(key, -key, RemovalCause.EVICTED) for key in gone]
    assert list(cache) == list(range(len(gone), size))


def test_a_resized_cache_takes_what_it_says_and_no_more():
    cache = MemoryCache(2)
    cache.resize(1000)
    cache.update((key, key) for key in range(5000))
    assert len(cache) == 1000
    assert cache.stats().maxsize == 1000
    cache.resize(1)
    assert list(cache) == [4999]
    cache["x"] = 1
    assert list(cache) == ["x"]


def test_the_largest_size_costs_nothing_until_it_is_used():
    cache = MemoryCache(2**31 - 1)
    cache["a"] = 1
    cache.resize(1)
    cache.resize(2**31 - 1)
    assert cache == {"a": 1}
    assert cache.stats().maxsize == 2**31 - 1


def test_what_moves_an_entry_and_what_does_not():
    still = [
        lambda cache: cache.peek("a"),
        lambda cache: "a" in cache,
        lambda cache: cache.ttl("a"),
        lambda cache: cache.stats(),
        lambda cache: cache.expire(),
        lambda cache: cache.resize(3),
        lambda cache: list(cache.items()),
        lambda cache: cache.get("absent"),
        lambda cache: cache.delete("absent"),
    ]
    moving = [
        lambda cache: cache.get("a"),
        lambda cache: cache["a"],
        lambda cache: cache.get_many(["a"]),
        lambda cache: cache.set("a", 1),
        lambda cache: cache.update(a=1),
        lambda cache: cache.setdefault("a", 5),
        lambda cache: cache.touch("a"),
        lambda cache: cache.get_or_compute("a", dict),
    ]
    for call in still + moving:
        cache = MemoryCache(3)
        cache.update(a=1, b=2, c=3)
        call(cache)
        assert list(cache) == (["b", "c", "a"] if call in moving else ["a", "b", "c"])
        cache["d"] = 4
        assert ("a" in cache) is (call in moving)
