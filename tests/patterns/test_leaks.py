"""Patterns and invalidations, good ways and bad, over and over: no reference and no block stays behind."""

import contextlib
import copy
import gc
import logging
import pickle
import sys
import threading
import weakref

import pytest

from khronos_fast import Glob, MemoryCache, cached

from .support import FREE_THREADED, Bytes, Clock, Flight, Task, Text

ROUNDS = 1000
WARM_UP = 150


class Thing:
    """A value or a key that is nothing else."""


class Name(str):
    """Text that can be weakly referenced."""


class Callback:
    """A listener whose references can be counted, and which keeps nothing."""

    then = None

    def __call__(self, key, value, cause):
        if self.then is not None:
            self.then(key, value)


class Broken(Exception):
    pass


class World:
    """A cache with something in it, patterns, and every object whose references are watched."""

    def __init__(self):
        self.keys = [Name(f"user:{number}:{field}") for number in range(4) for field in "ab"]
        self.keys += [Bytes(b"user:1:c"), Name("user:1"), Thing()]
        self.value, self.other = Thing(), Thing()
        self.text, self.raw = "".join(["user:", "1:*"]), b"".join([b"user:", b"1:*"])
        self.key = "".join(["user:", "1:a"])
        self.glob, self.general = Glob(self.text), Glob("*:1:?")
        self.listener, self.clock = Callback(), Clock()
        self.cache = MemoryCache(100, 60, on_removal=self.listener, timer=self.clock)
        self.fill()

    def fill(self):
        self.cache.clear()
        for number, key in enumerate(self.keys):
            self.cache.set(key, self.value if number % 2 else self.other)

    def watched(self):
        named = {name: each for name, each in vars(self).items() if name != "keys"}
        return named | {f"key {number}": key for number, key in enumerate(self.keys)}


EXERCISES = {}


def exercise(function):
    EXERCISES[function.__name__] = function
    return function


def refused(*errors):
    return contextlib.suppress(*errors)


# Patterns


@exercise
def match(w):
    for glob in (w.glob, w.general):
        for key in (*w.keys, w.key, w.raw, None, 5):
            glob.match(key)


@exercise
def filter_(w):
    for glob in (w.glob, w.general):
        glob.filter(w.keys), glob.filter(tuple(w.keys)), glob.filter(iter(w.keys)), glob.filter(key for key in w.keys)
        glob.filter(w.cache)


@exercise
def filter_of_what_fails(w):
    def keys():
        yield w.key
        raise Broken

    with refused(Broken):
        w.glob.filter(keys())
    for bad in (5, None, w.value):
        with refused(TypeError):
            w.glob.filter(bad)


@exercise
def making(w):
    for pattern in (
        w.text,
        w.raw,
        "",
        b"",
        "*",
        "a*b*[c-e]?*\\*",
        "\udc80[é]*",
        Text("user:*"),
        Bytes(b"user:*"),
        "[" * 50,
    ):
        glob = Glob(pattern)
        glob.match(w.key), glob.kind, glob.literal_prefix, glob.pattern, repr(glob), hash(glob)


@exercise
def making_of_what_is_refused(w):
    for bad in (None, 5, w.value, [w.text], bytearray(b"a"), memoryview(w.raw)):
        with refused(TypeError):
            Glob(bad)
        with refused(TypeError):
            Glob.escape(bad)
    for bad in ("a*" * 1001, b"*a" * 1001, "*?" * 5000):
        with refused(ValueError):
            Glob(bad)
    for arguments in ((), (w.text, w.raw)):
        with refused(TypeError):
            Glob(*arguments)
    with refused(TypeError):
        Glob(w.text, flags=w.value)


@exercise
def made_again(w):
    glob = Glob(w.text)
    with refused(Exception):
        glob.__init__(w.raw)
    with refused(TypeError):
        Glob.__new__(Glob)


@exercise
def escape(w):
    Glob.escape(w.text), Glob.escape(w.raw), Glob.escape(w.key), Glob.escape(w.keys[0]), Glob.escape("")


@exercise
def comparing(w):
    w.glob == w.general, w.glob != Glob(w.text), w.glob == w.text, {w.glob: 1}[Glob(w.text)]
    with refused(TypeError):
        w.glob < w.general


@exercise
def attributes(w):
    w.glob.pattern, w.glob.kind, w.glob.literal_prefix
    for name in ("pattern", "kind", "literal_prefix", "anything"):
        with refused(AttributeError, TypeError):
            setattr(w.glob, name, w.value)
        with refused(AttributeError, TypeError):
            delattr(w.glob, name)


@exercise
def copies(w):
    copy.copy(w.glob), copy.deepcopy(w.glob), copy.deepcopy([w.glob, w.glob])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickle.loads(pickle.dumps(w.glob, protocol))


# Invalidations


@exercise
def invalidate(w):
    for pattern in (w.text, w.raw, w.glob, w.general, "user:1:a", "user:*", "*", "[^x]*:a", "nobody:*", "", "nobody"):
        w.cache.invalidate(pattern)
        w.fill()


@exercise
def invalidate_by_a_new_index(w):
    cache = MemoryCache(100, on_removal=w.listener, delimiter="::")
    cache.update((f"a::{number}::b", w.value) for number in range(20))
    cache.invalidate("a::1::*")
    cache.invalidate("a::2::b::*")
    copy.copy(cache).invalidate("a::3::*")
    plain = MemoryCache(5, delimiter="::")
    plain.update({"a::1": 1, "b::1": 2})
    plain.invalidate("b::*")
    pickle.loads(pickle.dumps(plain)).invalidate("a::*")
    cache.invalidate("*")


@exercise
def invalidate_with_an_index_kept_up(w):
    w.cache.invalidate("user:1:*")
    for number in range(150):
        w.cache.set(f"user:{number % 7}:{number}", w.value, ttl=5)
    w.cache.delete_many(f"user:3:{number}" for number in range(150))
    w.cache.resize(20)
    w.cache.invalidate("user:4:*")
    w.cache.resize(100)
    w.clock.advance(5)
    w.cache.expire()
    w.cache.clear()
    w.cache.invalidate("user:4:*")
    w.fill()


@exercise
def invalidate_with_a_bad_pattern(w):
    for bad in (None, 5, w.value, [w.text], "a*" * 1001):
        with refused(TypeError, ValueError):
            w.cache.invalidate(bad)
    with refused(TypeError):
        w.cache.invalidate()
    with refused(TypeError):
        w.cache.invalidate(w.text, w.raw)


@exercise
def invalidate_what_has_expired(w):
    w.cache.set(w.keys[0], w.value, ttl=1)
    w.cache.set(w.keys[2], w.value, ttl=1)
    w.clock.advance(1)
    w.cache.invalidate("user:*")
    w.fill()


@exercise
def invalidate_with_a_listener_that_writes(w):
    w.listener.then = lambda key, value: w.cache.set("user:9:x", value) if key != "user:9:x" else None
    w.cache.invalidate("user:1:*")
    w.cache.invalidate("*:0:*")
    w.listener.then = None
    w.fill()


@exercise
def invalidate_with_a_listener_that_invalidates(w):
    w.listener.then = lambda key, value: w.cache.invalidate("user:*")
    w.cache.invalidate("user:1:*")
    w.listener.then = None
    w.fill()


@exercise
def invalidate_with_a_listener_that_raises(w):
    for error in (Broken, KeyboardInterrupt):

        def fail(key, value, error=error):
            raise error

        for pattern in (w.text, "*:0:?", "user:3:b"):
            w.listener.then = fail
            with refused(KeyboardInterrupt):
                w.cache.invalidate(pattern)
            w.listener.then = None
    w.fill()


@exercise
def invalidate_within_a_load(w):
    w.cache.get_or_compute("user:1:new", lambda: w.cache.invalidate("user:1:*") and w.value)
    w.cache.get_or_compute("user:1:new", lambda: w.cache.invalidate("*") and w.value)

    def fail():
        w.cache.invalidate("user:*")
        raise Broken

    with refused(Broken):
        w.cache.get_or_compute("user:1:new", fail)
    w.fill()


@exercise
def invalidate_memoized_calls(w):
    f = cached(key=lambda *args: "call:" + ":".join(map(str, args)))(lambda *args: w.value)
    f(1), f(1, 2), f(2)
    f.cache.invalidate("call:1*")
    f(1)
    f.cache.invalidate("call:*")


def repeat(function, rounds):
    """Run the exercise often, and compare what the interpreter counts before and after."""
    world = World()
    for _ in range(WARM_UP):
        function(world)
    gc.collect()
    content = [(id(key), id(value)) for key, value in world.cache.items()]
    watched = world.watched()
    counted = {name: sys.getrefcount(each) for name, each in watched.items()}
    constants = {"None": None, "True": True, "()": (), "b''": b"", "''": ""}
    constant = {name: sys.getrefcount(each) for name, each in constants.items()}
    grown = []
    # The interpreter fills stores of its own, pickling most of all; a leak goes on when they are full.
    while len(grown) < 4 and (not grown or grown[-1] >= rounds // 10):
        blocks = sys.getallocatedblocks()
        for _ in range(rounds):
            function(world)
        gc.collect()
        grown.append(sys.getallocatedblocks() - blocks)
    assert {name: sys.getrefcount(each) for name, each in watched.items()} == counted
    # Others use the constants too, but not so often; where they are immortal their counts stand still.
    for name, each in constants.items():
        assert abs(sys.getrefcount(each) - constant[name]) < len(grown) * rounds // 2, name
    if not FREE_THREADED:
        assert grown[-1] < rounds // 10, f"{grown} blocks more, each time after {rounds} rounds"
    assert sorted((id(key), id(value)) for key, value in world.cache.items()) == sorted(content)
    references = [weakref.ref(each) for each in (world.keys[0], world.value, world.listener, world.cache)]
    del world, watched
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


@pytest.fixture(autouse=True)
def silent():
    """Listeners that raise are logged, and whoever collects the records keeps what they refer to."""
    logger = logging.getLogger("khronos_fast.memory")
    logger.disabled = True
    yield
    logger.disabled = False


@pytest.mark.parametrize("name", EXERCISES)
def test_leaves_nothing_behind(name):
    repeat(EXERCISES[name], ROUNDS)


def test_the_test_would_notice():
    kept = []

    def leaking(w):
        kept.append(w.value)

    with pytest.raises(AssertionError):
        repeat(leaking, 100)


@pytest.mark.parametrize("pattern", ["a:*", "*:*"])
def test_a_large_invalidation_lets_go_of_everything(pattern):
    """By the time it has returned, or while the cache is used afterwards."""
    alive = weakref.WeakSet()
    cache = MemoryCache(100_000)
    for number in range(20_000):
        key, value = Name(f"a:{number}"), Thing()
        alive.add(value)
        cache[key] = value
    del key, value
    assert cache.invalidate(pattern) == 20_000
    for number in range(20_000):
        cache.get(number)
    gc.collect()
    assert len(alive) == 0


@pytest.mark.parametrize("pattern", ["a:*", "*:*"])
def test_beside_other_threads(pattern):
    alive = weakref.WeakSet()
    lock = threading.Lock()
    cache = MemoryCache(50_000)

    def write(number):
        for turn in range(3000):
            value = Thing()
            with lock:
                alive.add(value)
            cache[f"a:{turn % 700}"] = value
            cache.get(f"a:{turn % 300 + number}")
            del value

    tasks = [Task(lambda number=number: write(number)) for number in range(2)]
    while any(task.thread.is_alive() for task in tasks):
        cache.invalidate(pattern)
    for task in tasks:
        task.result()
    cache.clear()
    gc.collect()
    assert len(alive) == 0


def test_loads_that_were_overtaken():
    cache = MemoryCache()
    values = weakref.WeakSet()
    for turn in range(20):
        flight = Flight(cache, "a:1")
        flight.result = Thing()
        values.add(flight.result)
        cache.invalidate(["a:*", "*1", "a:1"][turn % 3])
        leader, _ = flight.land()
        del flight, leader
    gc.collect()
    assert len(values) == 0
    assert len(cache) == 0


def test_a_cache_that_refers_to_itself_after_an_invalidation():
    for pattern in ("a:*", "*:*"):
        cache = MemoryCache()
        cache.update({"a:1": cache, "b:1": cache, "a:2": [cache]})
        cache.invalidate("b:*")
        cache.invalidate(pattern + "x")
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        assert gone() is None
