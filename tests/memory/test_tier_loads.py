"""Loads and writes that a cache of several tiers runs on its memory: what overtakes what."""

import gc
import sys
import threading
import time

import pytest

from khronos_fast import LoaderCycle, MemoryCache
from khronos_fast._core.loads import Loaded, OutOfPatience, begin, end, load_in_thread


def until_true(condition):
    end_of_patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_of_patience
        time.sleep(0.001)


def load(cache, key, function, fresh=False, patience=None):
    return load_in_thread(cache, key, function, fresh, patience)


def test_what_is_loaded_says_for_how_long_it_is_kept():
    time = [0.0]
    cache = MemoryCache(ttl=100, timer=lambda: time[0])
    assert load(cache, "short", lambda: Loaded(1, 5)) == 1
    assert load(cache, "for ever", lambda: Loaded(2)) == 2
    assert load(cache, "over", lambda: Loaded(3, 0)) == 3
    assert load(cache, "not", lambda: Loaded(4, 5, kept=False)) == 4
    assert dict(cache) == {"short": 1, "for ever": 2}
    assert cache.ttl("short") == 5
    assert cache.ttl("for ever") is None


def test_what_is_too_heavy_is_handed_out_and_not_kept():
    cache = MemoryCache(max_weight=10, weigher=lambda key, value: len(value))
    assert load(cache, "k", lambda: Loaded("x" * 11)) == "x" * 11
    assert "k" not in cache
    cache["k"] = "older"
    assert end(cache, begin(cache, "k", True), Loaded("x" * 11)) is False
    assert "k" not in cache, "what a write was to replace is not kept either"


def test_a_weigher_that_raises_lets_everybody_go():
    def weigher(key, value):
        raise OSError("scales are broken")

    cache = MemoryCache(max_weight=10, weigher=weigher)
    begun, results = threading.Event(), []

    def slow():
        begun.set()
        until_true(lambda: results == ["waits"])
        return Loaded(1)

    def wait():
        results.append("waits")
        with pytest.raises(OSError, match="scales"):
            load(cache, "k", slow)
        results.append("told")

    loading = threading.Thread(target=lambda: pytest.raises(OSError, load, cache, "k", slow))
    loading.start()
    assert begun.wait(60)
    waiting = threading.Thread(target=wait)
    waiting.start()
    loading.join(60)
    waiting.join(60)
    assert results == ["waits", "told"]
    with pytest.raises(OSError, match="scales"):
        end(cache, begin(cache, "k", True), Loaded(2))
    assert len(cache) == 0


@pytest.mark.parametrize(
    "overtaking",
    [
        lambda cache: cache.set("k", "other"),
        lambda cache: cache.delete("k"),
        lambda cache: cache.clear(),
        lambda cache: cache.invalidate("*"),
        lambda cache: end(cache, begin(cache, "k", True), Loaded("other")),
    ],
    ids=["set", "delete", "clear", "invalidate", "write"],
)
@pytest.mark.parametrize("writes", [False, True], ids=["read", "write"])
def test_what_is_overtaken_is_not_stored(overtaking, writes):
    cache = MemoryCache()
    flight = begin(cache, "k", writes)
    overtaking(cache)
    before = cache.get("k")
    assert end(cache, flight, Loaded("late")) is False
    assert cache.get("k") == before


def test_a_write_overtakes_what_began_after_it():
    cache = MemoryCache()
    write = begin(cache, "k", True)
    read = begin(cache, "k")
    assert end(cache, write, Loaded("written")) is True
    assert end(cache, read, Loaded("read before that")) is False
    assert cache["k"] == "written"


def test_a_read_overtakes_nothing():
    cache = MemoryCache()
    one, other = begin(cache, "k"), begin(cache, "k")
    assert end(cache, one, Loaded(1)) is True
    assert end(cache, other, Loaded(2)) is True
    assert cache["k"] == 2


def test_two_writes_at_a_time_both_know():
    cache = MemoryCache()
    first = begin(cache, "k", True)
    second = begin(cache, "k", True)
    assert end(cache, second, Loaded("second")) is True
    assert end(cache, first, Loaded("first")) is False


def test_nobody_waits_for_a_write():
    cache = MemoryCache()
    write = begin(cache, "k", True)
    assert cache.get_or_compute("k", lambda: "loaded") == "loaded"
    assert end(cache, write, Loaded("written")) is True
    assert cache["k"] == "written"


def test_a_read_that_comes_to_nothing():
    cache = MemoryCache()
    cache["k"] = 1
    assert end(cache, begin(cache, "k"), None) is False
    assert cache["k"] == 1


def test_patience_bounds_the_wait_and_nothing_else():
    cache = MemoryCache()
    go, begun = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go.wait(60)
        return Loaded("late")

    thread = threading.Thread(target=load, args=(cache, "k", slow))
    thread.start()
    assert begun.wait(60)
    with pytest.raises(OutOfPatience):
        load(cache, "k", slow, patience=0.01)
    go.set()
    assert load(cache, "k", slow, patience=60) == "late"
    thread.join()
    assert cache["k"] == "late"


def test_a_fresh_load_takes_the_place_of_what_is_there():
    cache = MemoryCache()
    cache["k"] = "old"
    assert load(cache, "k", lambda: Loaded("shared")) == "old"
    assert load(cache, "k", lambda: Loaded("fresh"), fresh=True) == "fresh"
    assert cache["k"] == "fresh"


def test_a_fresh_load_overtakes_what_began_during_it():
    cache = MemoryCache()
    reads = []

    def fresh():
        reads.append(begin(cache, "k"))
        return Loaded("fresh")

    assert load(cache, "k", fresh, fresh=True) == "fresh"
    assert end(cache, reads[0], Loaded("read before it")) is False
    assert cache["k"] == "fresh"


def test_errors_reach_the_caller_and_a_circle_is_found():
    cache = MemoryCache()
    with pytest.raises(ZeroDivisionError):
        load(cache, "k", lambda: 1 / 0)
    with pytest.raises(LoaderCycle):
        load(cache, "k", lambda: load(cache, "k", lambda: Loaded(1)))
    assert load(cache, "k", lambda: Loaded(1)) == 1


def test_figures():
    cache = MemoryCache()
    load(cache, "k", lambda: Loaded(1))
    end(cache, begin(cache, "k", True), Loaded(2))
    assert cache.stats().loads == 1, "a write is no load"


def test_nothing_is_left_behind():
    cache, value = MemoryCache(), object()

    def use():
        load(cache, "k", lambda: Loaded(value), fresh=True)
        end(cache, begin(cache, "k", True), Loaded(value))
        end(cache, begin(cache, "k"), Loaded(value, 5, kept=False))
        end(cache, begin(cache, "k"), None)
        cache.clear()

    use()
    gc.collect()
    count = sys.getrefcount(value)
    for _ in range(200):
        use()
    gc.collect()
    assert sys.getrefcount(value) == count
