"""What an adversarial review found, each as it was reproduced."""

import collections
import os
import sys
import threading

import pytest

from khronos_fast import MemoryCache, RemovalCause
from khronos_fast._core.audit import audit

from .support import FREE_THREADED, Clock

MANY = 20_000
"""Entries whose removal takes several slices."""


def test_a_deeper_tree_does_not_replace_the_one_that_another_sweep_walks_through():
    sweeping, waiting, built = (threading.Event() for _ in range(3))
    role = threading.local()

    def listener(key, value, cause):
        if role.name == "deeper" and key == "deep:a:b:c":
            sweeping.set()
            waiting.wait(30)
        elif role.name == "user" and not waiting.is_set():
            waiting.set()
            built.wait(2)  # or it waits for this sweep

    cache = MemoryCache(1_000_000, on_removal=listener)
    cache["x:1"] = 0
    role.name = "main"
    cache.invalidate("x:*")
    cache.update({f"user:{number}:name": number for number in range(MANY)})
    cache["deep:a:b:c"] = 1
    removed = []

    def deeper():
        role.name = "deeper"
        cache.invalidate("deep:a:b:*")
        built.set()

    def user():
        role.name = "user"
        sweeping.wait(30)
        removed.append(cache.invalidate("user:*"))

    threads = [threading.Thread(target=target) for target in (deeper, user)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert removed == [MANY]
    assert len(cache) == 0
    audit(cache)


@pytest.mark.parametrize("pattern", ["user:*", "*ser:*"])
def test_nothing_that_lives_is_evicted_while_something_hidden_is_there(pattern):
    causes = collections.Counter()

    def listener(key, value, cause):
        causes[cause] += 1
        if sum(causes.values()) == 1:
            cache.update({f"new:{number}": number for number in range(12_000)})

    cache = MemoryCache(2 * MANY, on_removal=listener)
    cache.update({f"keep:{number}": number for number in range(MANY)})
    cache.update({f"user:{number}": number for number in range(MANY)})
    assert cache.invalidate(pattern) == MANY
    assert causes == {RemovalCause.INVALIDATED: MANY}
    assert len(cache) == MANY + 12_000


def test_text_and_bytes_go_at_once_by_name():
    seen = []

    def listener(key, value, cause):
        seen.append((key, cache.peek("a"), cache.peek(b"a")))
        if key == b"a":
            cache["a"] = "later"

    cache = MemoryCache(on_removal=listener)
    cache[b"a"], cache["a"] = 1, 2
    assert cache.invalidate("a") == 2
    assert seen == [(b"a", None, None), ("a", "later", None)]
    assert dict(cache.items()) == {"a": "later"}


def test_an_interrupt_does_not_stop_a_removal_by_name():
    def listener(key, value, cause):
        raise KeyboardInterrupt

    cache = MemoryCache(on_removal=listener)
    cache[b"a"], cache["a"] = 1, 2
    with pytest.raises(KeyboardInterrupt):
        cache.invalidate("a")
    assert list(cache) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.skipif(FREE_THREADED, reason="a lock that another thread holds while it forks stays locked in the child")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("pattern", ["user:*", "*ser:*"])
def test_a_forked_child_finishes_the_sweep_of_a_thread_it_does_not_have(pattern):
    waiting, forked = threading.Event(), threading.Event()

    def listener(key, value, cause):
        if not waiting.is_set():
            waiting.set()
            forked.wait(30)

    cache = MemoryCache(1_000_000, on_removal=listener)
    cache.invalidate("x:*")
    cache.update({f"user:{number}": number for number in range(MANY)})
    cache["other"] = 1
    thread = threading.Thread(target=cache.invalidate, args=(pattern,))
    thread.start()
    waiting.wait(30)
    child = os.fork()
    if child == 0:
        # New threads get the memory of the lost one's stack.
        def deep(depth):
            return deep(depth - 1) if depth else sys.getsizeof(bytearray(64))

        threads = [threading.Thread(target=deep, args=(100,)) for _ in range(16)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        readable = sum(cache.get(f"user:{number}") is not None for number in range(MANY))
        os._exit(0 if readable == 0 and len(cache) == 1 and cache["other"] == 1 else 3)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(cache) == 1


@pytest.mark.parametrize("ask", [len, list, lambda cache: cache.stats(), lambda cache: cache.expire()])
def test_a_listener_that_counts_is_not_nested_in_itself_again_and_again(ask):
    depth = deepest = 0
    told = set()

    def listener(key, value, cause):
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        if not told or len(told) % 997 == 0:
            ask(cache)
        depth -= 1
        told.add(key)

    cache = MemoryCache(1_000_000, on_removal=listener)
    cache.update({f"user:{number}": number for number in range(5 * MANY)})
    assert cache.invalidate("user:*") == 5 * MANY
    assert len(told) == 5 * MANY
    assert deepest < 20


def test_what_expires_while_it_is_hidden_was_invalidated():
    clock = Clock()
    causes = collections.Counter()

    def listener(key, value, cause):
        causes[cause] += 1
        if sum(causes.values()) == 1:
            clock.now += 100
            cache.update({f"other:{number}": number for number in range(100)})

    cache = MemoryCache(1_000_000, on_removal=listener, timer=clock)
    for number in range(MANY):
        cache.set(f"user:{number}", number, ttl=50)
    assert cache.invalidate("user:*") == MANY
    assert causes == {RemovalCause.INVALIDATED: MANY}
    assert cache.stats().expirations == 0


def test_popitem_reads_the_clock_when_the_sweep_of_another_is_over():
    clock = Clock()
    asking, answered = threading.Event(), threading.Event()
    main = threading.current_thread()

    def listener(key, value, cause):
        if threading.current_thread() is main:
            clock.now = 2000.0  # popitem finishes the sweep, and meanwhile time passes
        elif not asking.is_set():
            asking.set()
            answered.wait(30)

    cache = MemoryCache(1_000_000, on_removal=listener, timer=clock)
    cache.set("oldest", 0, ttl=50)
    cache["newest"] = 1
    cache.update({f"user:{number}": number for number in range(MANY)})
    cache.touch("newest")
    thread = threading.Thread(target=cache.invalidate, args=("user:*",))
    thread.start()
    asking.wait(30)
    item = cache.popitem()
    answered.set()
    thread.join()
    assert item == ("newest", 1)


def test_the_tree_gives_its_memory_back():
    plain, planted = MemoryCache(1_000_000), MemoryCache(1_000_000)
    planted["x:1"] = 1
    planted.invalidate("x:y:*")
    for cache in (plain, planted):
        cache.update({f"user:{number}:name": number for number in range(MANY)})
        for number in range(MANY - 10):
            del cache[f"user:{number}:name"]
        cache.expire()
    assert sys.getsizeof(planted) < 2 * sys.getsizeof(plain)
    audit(planted)
    assert planted.invalidate(f"user:{MANY - 1}:*") == 1


def test_a_cache_forgets_that_it_had_other_keys():
    """Of those there may be some that are equal to a text, so that a pattern by name looks at all keys."""

    class Named:
        def __hash__(self):
            return hash("a")

        def __eq__(self, other):
            return other == "a"

    cache = MemoryCache()
    cache[Named()] = 1
    assert cache.invalidate("a") == 0
    assert len(cache) == 1
    cache.clear()
    cache["a"] = 1
    assert cache.invalidate("a") == 1


@pytest.mark.parametrize("pattern", ["user:*", "*ser:*"])
def test_an_eviction_for_a_replacement_leaves_that_entry_alone(pattern):
    """Not certainly hidden, it was taken for the sweep's: it expired between the writer's look at the clock and that.

    And the new value is the writer's, later than the sweep, which goes on behind it.
    """
    clock = Clock(0)
    blocked, written = threading.Event(), threading.Event()
    threads = []

    class Slow(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            if armed and not threads:
                clock.now = 100.0
                threads.append(threading.Thread(target=cache.invalidate, args=(pattern,)))
                threads[0].start()
                blocked.wait(30)
            return str.__eq__(self, other)

    def listener(key, value, cause):
        if threads and threading.current_thread() is threads[0] and not blocked.is_set():
            blocked.set()
            written.wait(30)

    armed = False
    cache = MemoryCache(
        1_000_000, max_weight=4 * MANY, weigher=lambda key, value: value, timer=clock, on_removal=listener
    )
    cache.invalidate("x:*")
    cache.update({f"keep:{number}": 1 for number in range(1000)})
    cache.set(Slow("user:slow"), 1, ttl=50)
    cache.update({f"user:{number}": 1 for number in range(3 * MANY)})
    armed = True
    cache.set(Slow("user:slow"), 4 * MANY - 10, ttl=None)
    written.set()
    threads[0].join()
    assert cache.peek("user:slow") == 4 * MANY - 10
    assert sum(key.startswith("user:") for key in cache) == 1
    audit(cache)


def test_an_interrupt_while_a_failing_listener_is_logged(monkeypatch):
    """Nothing is told, or let go, a second time."""
    failing = set()

    def fail(name):
        failing.add(len(told))
        raise KeyboardInterrupt

    from khronos_fast._core import departures

    monkeypatch.setattr(departures, "log_failure_of_listener", fail)
    told = []

    def listener(key, value, cause):
        told.append(key)
        if key == "user:6":
            raise RuntimeError

    values = [object() for _ in range(MANY)]
    counts = [sys.getrefcount(value) for value in values[:10]]
    cache = MemoryCache(1_000_000, on_removal=listener)
    cache.update({f"user:{number}": value for number, value in enumerate(values)})
    with pytest.raises(KeyboardInterrupt):
        cache.invalidate("*ser:*")
    assert len(told) == len(set(told)) == MANY
    assert len(failing) == 1
    assert len(cache) == 0
    assert [sys.getrefcount(value) for value in values[:10]] == counts


def test_len_is_of_one_moment():
    """A sweep that began while the listener was told of what had expired was counted half done."""
    clock = Clock(0)
    blocked, counted = threading.Event(), threading.Event()
    main = threading.current_thread()
    sweeper = threading.Thread(target=lambda: cache.invalidate("*ser:*"))

    def listener(key, value, cause):
        if cause is RemovalCause.EXPIRED:
            sweeper.start()
            blocked.wait(30)
        elif threading.current_thread() is not main and not blocked.is_set():
            blocked.set()
            counted.wait(30)

    cache = MemoryCache(1_000_000, timer=clock, on_removal=listener)
    cache.update({f"keep:{number}": number for number in range(10)})
    cache.update({f"user:{number}": number for number in range(MANY)})
    cache.set("short", 1, ttl=5)
    clock.now = 10
    assert len(cache) in (MANY + 10, 10)
    counted.set()
    sweeper.join()
    assert len(cache) == 10
