"""Ways in which the cache was once broken, each by somebody who tried to."""

import enum
import gc
import logging
import sys
import threading
import weakref

import pytest

from khronos_fast import MemoryCache, RemovalCause
from khronos_fast._core.audit import audit

from .support import Clock


class SameHash:
    """Keys that only their own __eq__ can tell apart."""

    def __init__(self, name, meanwhile=lambda: None):
        self.name = name
        self.meanwhile = meanwhile

    def __hash__(self):
        return 1

    def __eq__(self, other):
        self.meanwhile()
        return isinstance(other, SameHash) and self.name == other.name


@pytest.mark.parametrize("kind", [int, lambda text: text.encode()], ids=["int", "bytes"])
def test_plain_keys_are_compared_at_the_recursion_limit(kind):
    cache = MemoryCache(100)
    for number in range(20):
        cache[kind(str(1000 + number))] = number

    def dive(depth):
        cache[kind("1005")] = depth
        if depth < sys.getrecursionlimit() + 100:
            dive(depth + 1)

    with pytest.raises(RecursionError):
        dive(0)
    assert len(cache) == 20
    assert len(set(cache)) == 20
    audit(cache)


def test_a_write_of_another_key_does_not_attach_a_load_again():
    cache = MemoryCache()
    key, other = SameHash("a"), SameHash("b")

    def loader():
        cache.delete(SameHash("a"))
        cache.set(other, "b")
        return "stale"

    assert cache.get_or_compute(key, loader) == "stale"
    assert key not in cache
    assert cache[other] == "b"


def test_a_cache_is_set_up_once():
    cache = MemoryCache(2, on_removal=lambda *_: None)
    cache["a"] = 1
    with pytest.raises(RuntimeError, match="in use"):
        cache.__init__(5, max_weight=1, weigher=lambda key, value: 1)
    assert dict(cache) == {"a": 1}
    assert cache.maxsize == 2
    with pytest.raises(RuntimeError, match="in use"):
        cache.__setstate__(MemoryCache().__getstate__())


class Liar(int):
    """An int that is never out of bounds, if asked."""

    def __gt__(self, other):
        return False

    def __lt__(self, other):
        return False

    def __le__(self, other):
        return True

    def __ge__(self, other):
        return True

    __hash__ = int.__hash__


def test_numbers_that_lie_about_their_size():
    with pytest.raises(ValueError, match="maxsize"):
        MemoryCache(Liar(0))
    cache = MemoryCache(max_weight=10, weigher=lambda key, value: Liar(100))
    with pytest.raises(ValueError, match="100"):
        cache["a"] = 1
    assert len(cache) == 0


def test_a_flight_that_is_dropped_while_it_is_looked_at():
    """The comparison drops every other reference to the load; what that frees comes back into the cache."""
    cache = MemoryCache()
    started, over, compared = threading.Event(), threading.Event(), threading.Event()

    class Value:
        def __del__(self):
            cache.get("anything")

    def loader():
        started.set()
        assert over.wait(30)
        cache.delete(key)  # so that it is not stored, and the load is all that has it
        return Value()

    def meanwhile():
        if threading.current_thread() is joiner and not compared.is_set():
            compared.set()
            over.set()
            leader.join(30)

    key = SameHash("k", meanwhile)
    leader = threading.Thread(target=lambda: cache.get_or_compute(key, loader))
    joiner = threading.Thread(target=lambda: cache.get_or_compute(SameHash("k"), lambda: "own"))
    leader.start()
    assert started.wait(30)
    joiner.start()
    for thread in (leader, joiner):
        thread.join(60)
        assert not thread.is_alive()
    assert compared.is_set()
    audit(cache)


@pytest.mark.parametrize("write", ["set", "setdefault", "touch"])
def test_a_write_that_was_held_up_while_the_others_expired(write):
    clock = Clock()
    cache = MemoryCache(10, timer=clock)
    armed = []

    def meanwhile():
        if armed:
            armed.pop()
            clock.now += 1000.0
            assert cache.delete("timed")
            cache.set("new", 1, ttl=5.0)

    cache.set(SameHash("first", meanwhile), 0, ttl=None)
    if write == "touch":
        cache.set(SameHash("held up"), 0, ttl=None)
    cache.set("timed", 0, ttl=2000.0)
    armed.append(True)
    key = SameHash("held up")
    if write == "touch":
        cache.touch(key, ttl=1.0)
    else:
        getattr(cache, write)(key, 1, ttl=1.0)
    assert not armed
    audit(cache)
    clock.now += 2000.0
    assert len(cache) == len(list(cache)) == 1
    audit(cache)


def test_weight_is_taken_from_the_expired_first_however_many_they_are():
    clock = Clock()
    left = []
    cache = MemoryCache(
        1000,
        timer=clock,
        max_weight=100,
        weigher=lambda key, value: value,
        on_removal=lambda key, value, cause: left.append((key, cause)),
    )
    cache.set("live", 10, ttl=None)
    for number in range(90):
        cache.set(number, 1, ttl=1.0)
    clock.now += 2.0
    cache.set("heavy", 60, ttl=None)
    assert "live" in cache
    assert {cause for _, cause in left} == {RemovalCause.EXPIRED}


def test_a_load_is_joined_while_others_write():
    """What other keys do meanwhile is no reason to compare again."""
    cache = MemoryCache(50)
    compared = []
    started, over = threading.Event(), threading.Event()

    def loader():
        started.set()
        assert over.wait(30)
        return "loaded"

    def meanwhile():
        compared.append(1)
        for number in range(100, 160):
            cache[number] = number

    leader = threading.Thread(target=lambda: cache.get_or_compute(SameHash("k", meanwhile), loader))
    results = []
    joiner = threading.Thread(target=lambda: results.append(cache.get_or_compute(SameHash("k"), lambda: "own")))
    leader.start()
    assert started.wait(30)
    joiner.start()
    while not compared:
        assert joiner.is_alive()
    over.set()
    for thread in (leader, joiner):
        thread.join(30)
        assert not thread.is_alive()
    assert results == ["loaded"]
    assert len(compared) < 10


@pytest.mark.parametrize("truth", ["yes", [1], 2**70, 0.5])
def test_equality_may_be_any_truth(truth):
    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            return truth

    cache = MemoryCache()
    assert cache.get_or_compute(Key(), lambda: cache.get_or_compute("other", lambda: 1)) == 1
    started, over = threading.Event(), threading.Event()

    def loader():
        started.set()
        assert over.wait(30)
        return "loaded"

    cache.clear()
    results = []
    threads = [threading.Thread(target=lambda: results.append(cache.get_or_compute(Key(), loader))) for _ in range(2)]
    threads[0].start()
    assert started.wait(30)
    threads[1].start()
    over.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert results == ["loaded", "loaded"]


def test_an_interrupt_in_a_log_handler_leaves_nobody_out():
    told = []

    def listener(key, value, cause):
        told.append(key)
        raise ZeroDivisionError

    class Handler(logging.Handler):
        def emit(self, record):
            raise KeyboardInterrupt

    class Value:
        pass

    cache = MemoryCache(on_removal=listener)
    values = [Value() for _ in range(5)]
    gone = [weakref.ref(value) for value in values]
    cache.update(enumerate(values))
    del values
    logger, handler = logging.getLogger("khronos_fast.memory"), Handler()
    logger.addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            cache.clear()
    finally:
        logger.removeHandler(handler)
    gc.collect()
    assert told == [0, 1, 2, 3, 4]
    assert [ref() for ref in gone] == [None] * 5


def test_a_subclass_may_override_what_others_are_made_of():
    class Own(MemoryCache):
        def __init__(self):
            super().__init__(10)
            self.calls = []

        def clear(self):
            self.calls.append("clear")

        def expire(self):
            self.calls.append("expire")

        def delete(self, key):
            self.calls.append("delete")

    own = Own()
    own["a"] = 1
    assert len(own) == 1
    assert list(own) == ["a"]
    assert own.stats().size == 1
    del own["a"]
    assert own.delete_many(["b"]) == 0
    assert own.calls == []


def test_names_may_be_of_a_subclass_of_str():
    class Name(enum.StrEnum):
        USERS = "users"

    cache = MemoryCache(name=Name.USERS, delimiter=Name.USERS)
    assert (cache.name, type(cache.name), cache.delimiter) == ("users", str, "users")


def test_a_timer_beyond_all_bounds():
    with pytest.raises(ValueError, match="finite"):
        MemoryCache(timer=lambda: 10**400).get("a")


def test_a_restored_cache_tells_nobody():
    told = []
    factor = [1]
    cache = MemoryCache(
        max_weight=10,
        weigher=lambda key, value: value * factor[0],
        on_removal=lambda *entry: told.append(entry),
    )
    cache.update(a=3, b=3, c=3)
    factor[0] = 3
    twin = cache.__copy__()
    assert told == []
    assert list(twin) == ["c"]
    assert twin.stats().evictions == 0
    del twin["c"]
    assert told == [("c", 3, RemovalCause.DELETED)]
