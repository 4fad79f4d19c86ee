"""Keys, values, weighers, listeners, loaders and timers that use, change, fill, empty or drop the cache they are in."""

import contextlib
import copy
import gc
import itertools
import logging
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import LoaderCycle, MemoryCache

from .support import TICK, Clock, Listener, Task, Value, accounted

# What may be done to a cache from within one of its own calls. `n` differs from call to call.
ACTIONS = {
    "get": lambda cache, n: cache.get(n),
    "get absent": lambda cache, n: cache.get(("absent", n)),
    "peek": lambda cache, n: cache.peek(n % 8),
    "in": lambda cache, n: n % 8 in cache,
    "set": lambda cache, n: cache.set(n % 8, Value(n)),
    "set fresh": lambda cache, n: cache.set(("fresh", n), Value(n)),
    "set many": lambda cache, n: cache.update({("many", i): Value(i) for i in range(200)}),
    "delete": lambda cache, n: cache.delete(n % 8),
    "pop": lambda cache, n: cache.pop(n % 8, None),
    "popitem": lambda cache, n: cache.popitem() if len(cache) else None,
    "clear": lambda cache, n: cache.clear(),
    "shrink": lambda cache, n: cache.resize(1 + n % 3),
    "grow": lambda cache, n: cache.resize(100 + n),
    "len": lambda cache, n: len(cache),
    "items": lambda cache, n: list(cache.items()),
    "touch": lambda cache, n: cache.touch(n % 8, ttl=1),
    "expire": lambda cache, n: cache.expire(),
    "stats": lambda cache, n: cache.stats(),
    "setdefault": lambda cache, n: cache.setdefault(n % 8, Value(n)),
    "load": lambda cache, n: cache.get_or_compute(("load", n), Value),
    "collect": lambda cache, n: gc.collect(0),
}
NUMBERS = itertools.count()


class Acts:
    """Does things to a cache when it is called, up to so many times and so deep."""

    def __init__(self, actions=(), times=5):
        self.cache = None
        self.actions = list(actions)
        self.left = times
        self.busy = False
        self.errors = []  # what is raised in a listener or a finalizer goes no further

    def __call__(self):
        if self.cache is None or self.busy or self.left <= 0:
            return
        self.left -= 1
        self.busy = True
        try:
            for action in self.actions:
                action(self.cache, next(NUMBERS))
        except Exception as error:
            self.errors.append(error)
            raise
        finally:
            self.busy = False


class Key:
    """Equal by number, in very few buckets, and its special methods call what they are given."""

    def __init__(self, number, on_eq=None, on_hash=None):
        self.number = number
        self.on_eq = on_eq
        self.on_hash = on_hash

    def __hash__(self):
        if self.on_hash is not None:
            self.on_hash()
        return self.number % 2

    def __eq__(self, other):
        if self.on_eq is not None:
            self.on_eq()
        return isinstance(other, Key) and self.number == other.number

    def __repr__(self):
        return f"Key({self.number})"


class Finalized:
    """A value whose finalizer calls what it is given."""

    def __init__(self, then):
        self.then = then

    def __del__(self):
        self.then()


def consistent(cache):
    """What any look at the cache must agree on."""
    stats = cache.stats()
    items = list(cache.items())
    assert len(items) == len(cache) == stats.size <= stats.maxsize
    assert stats.weight is None or stats.weight <= stats.max_weight
    assert len(list(cache)) == len(list(cache.values())) == len(items)
    for key, value in items:
        assert cache.peek(key) is value
        assert key in cache
    order = [key for key, _ in items]
    while order:
        assert cache.popitem()[0] is order.pop(0)
    assert len(cache) == 0
    assert cache.stats().weight in (None, 0)
    cache["a"] = 1
    assert cache["a"] == 1


# Each operation that asks keys, hashes or values anything.
OPERATIONS = {
    "get": lambda cache, key: cache.get(key),
    "[]": lambda cache, key: cache[key],
    "in": lambda cache, key: key in cache,
    "peek": lambda cache, key: cache.peek(key),
    "ttl": lambda cache, key: cache.ttl(key),
    "touch": lambda cache, key: cache.touch(key, ttl=5),
    "set": lambda cache, key: cache.set(key, "set"),
    "[]=": lambda cache, key: cache.__setitem__(key, "set"),
    "setdefault": lambda cache, key: cache.setdefault(key, "set"),
    "update": lambda cache, key: cache.update([(key, "set"), (key, "again")]),
    "delete": lambda cache, key: cache.delete(key),
    "del": lambda cache, key: cache.__delitem__(key),
    "pop": lambda cache, key: cache.pop(key),
    "pop default": lambda cache, key: cache.pop(key, None),
    "popitem": lambda cache, key: cache.popitem(),
    "get_many": lambda cache, key: cache.get_many([key, key]),
    "delete_many": lambda cache, key: cache.delete_many([key, key]),
    "get_or_compute": lambda cache, key: cache.get_or_compute(key, lambda: "loaded"),
    "items": lambda cache, key: list(cache.items()),
    "==": lambda cache, key: cache == {key: 1},
    "clear": lambda cache, key: cache.clear(),
    "resize": lambda cache, key: cache.resize(2),
    "expire": lambda cache, key: cache.expire(),
}


# Those that need not ask any key anything.
NO_KEYS = ("popitem", "items", "==", "clear", "resize", "expire")


@pytest.mark.parametrize("operation", OPERATIONS)
class TestEveryActionWithinEveryOperation:
    def run(self, operation, acts, cache, number=1, **on):
        acts.cache = cache
        with contextlib.suppress(KeyError):
            OPERATIONS[operation](cache, Key(number, **on))
        acts.cache = None
        assert acts.errors == []
        consistent(cache)

    @pytest.mark.parametrize("number", [0, 2, 98, 100])
    def test_from_eq(self, operation, number):
        for action in ACTIONS.values():
            acts = Acts([action])
            cache = MemoryCache(50)
            cache.update((Key(each, acts), each) for each in range(0, 100, 2))
            self.run(operation, acts, cache, number, on_eq=acts)

    @pytest.mark.parametrize("number", [0, 2, 100])
    def test_from_hash(self, operation, number):
        for action in ACTIONS.values():
            acts = Acts([action])
            cache = MemoryCache(50)
            cache.update((Key(each), each) for each in range(0, 20, 2))
            self.run(operation, acts, cache, number, on_hash=acts)

    def test_from_finalizers_of_values(self, operation):
        for action in ACTIONS.values():
            acts, clock = Acts([action]), Clock()
            cache = MemoryCache(10, timer=clock)
            for each in range(10):
                cache.set(Key(each), Finalized(acts), ttl=1 if each % 3 == 0 else None)
            clock.advance(2)
            self.run(operation, acts, cache)

    def test_from_finalizers_of_keys(self, operation):
        class FinalizedKey(Key):
            def __del__(self):
                acts()

        for action in ACTIONS.values():
            acts, clock = Acts([action]), Clock()
            cache = MemoryCache(10, timer=clock)
            for each in range(10):
                cache.set(FinalizedKey(each), each, ttl=1 if each % 3 == 0 else None)
            clock.advance(2)
            self.run(operation, acts, cache)

    def test_from_the_listener(self, operation):
        for action in ACTIONS.values():
            acts, clock = Acts([action]), Clock()
            cache = MemoryCache(10, timer=clock, on_removal=lambda key, value, cause, acts=acts: acts())
            for each in range(10):
                cache.set(Key(each), each, ttl=1 if each % 3 == 0 else None)
            clock.advance(2)
            self.run(operation, acts, cache)

    def test_from_the_weigher(self, operation):
        for action in ACTIONS.values():
            acts = Acts([action])
            cache = MemoryCache(10, max_weight=8, weigher=lambda key, value, acts=acts: acts() or 1)
            cache.update((Key(each), each) for each in range(10))
            self.run(operation, acts, cache)

    def test_from_the_timer(self, operation):
        for action in ACTIONS.values():
            acts, clock = Acts([action]), Clock()
            cache = MemoryCache(10, timer=lambda acts=acts, clock=clock: acts() or clock())
            for each in range(10):
                cache.set(Key(each), each, ttl=1 if each % 3 == 0 else 100)
            clock.advance(2)
            self.run(operation, acts, cache)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_within_a_loader(action):
    cache = MemoryCache(10)
    cache.update((each, each) for each in range(10))
    assert cache.get_or_compute("k", lambda: ACTIONS[action](cache, 3) or "loaded") is not None
    consistent(cache)


class TestRaising:
    """What a key raises reaches the caller, and the cache is what it was."""

    class Broken(Exception):
        pass

    class BadEq(Key):
        broken = False

        def __eq__(self, other):
            if TestRaising.BadEq.broken:
                raise TestRaising.Broken("eq")
            return super().__eq__(other)

        __hash__ = Key.__hash__

    class BadHash(Key):
        def __hash__(self):
            raise TestRaising.Broken("hash")

    ASKS_KEYS = [name for name in OPERATIONS if name not in NO_KEYS]

    @pytest.fixture(autouse=True)
    def whole(self):
        yield
        self.BadEq.broken = False

    @pytest.mark.parametrize("operation", ASKS_KEYS)
    def test_eq(self, operation):
        listener = Listener()
        cache = MemoryCache(10, on_removal=listener, timer=Clock())
        keys = [self.BadEq(each) for each in range(4)]
        cache.update((key, key.number) for key in keys)
        before = cache.stats()
        self.BadEq.broken = True
        with pytest.raises(self.Broken, match="eq"):
            OPERATIONS[operation](cache, self.BadEq(2))
        self.BadEq.broken = False
        after = cache.stats()
        assert (after.size, after.inserts, after.updates, after.loads) == (4, before.inserts, before.updates, 0)
        assert (after.hits, after.misses) == (before.hits, before.misses)
        assert [key for key, _ in cache.items()] == keys
        assert listener == []
        consistent(cache)

    @pytest.mark.parametrize("operation", ASKS_KEYS)
    def test_hash(self, operation):
        listener = Listener()
        cache = MemoryCache(10, on_removal=listener, timer=Clock())
        cache.update((Key(each), each) for each in range(4))
        before = cache.stats()
        with pytest.raises(self.Broken, match="hash"):
            OPERATIONS[operation](cache, self.BadHash(2))
        assert cache.stats() == before
        assert listener == []
        consistent(cache)

    def test_eq_is_not_asked_where_the_object_is_the_same(self):
        cache = MemoryCache()
        key = self.BadEq(1)
        cache[key] = 1
        self.BadEq.broken = True
        assert cache[key] == 1
        assert cache.delete(key)

    def test_eq_that_gives_something_without_a_truth(self):
        class NoTruth:
            def __bool__(self):
                raise TestRaising.Broken("bool")

        class Odd(Key):
            def __eq__(self, other):
                return NoTruth()

            __hash__ = Key.__hash__

        cache = MemoryCache()
        cache[Odd(1)] = 1
        with pytest.raises(self.Broken, match="bool"):
            cache.get(Odd(1))
        assert len(cache) == 1

    def test_eq_that_gives_a_truthy_object(self):
        class Odd(Key):
            def __eq__(self, other):
                return [1] if self.number == other.number else []

            __hash__ = Key.__hash__

        cache = MemoryCache()
        cache[Odd(1)] = "one"
        cache[Odd(3)] = "three"
        assert cache[Odd(3)] == "three"
        assert Odd(5) not in cache

    @pytest.mark.parametrize("result", ["no number", None, 1.5])
    def test_hash_that_is_no_int(self, result):
        class Odd:
            def __hash__(self):
                return result

        cache = MemoryCache()
        with pytest.raises(TypeError):
            cache[Odd()] = 1
        assert len(cache) == 0

    @pytest.mark.parametrize("value", [-1, -2, 0, 2**61 - 1, -(2**61), 2**63 - 1, -(2**63)])
    def test_extreme_hashes(self, value):
        class Odd:
            def __init__(self, number):
                self.number = number

            def __hash__(self):
                return value

            def __eq__(self, other):
                return self.number == other.number

        cache = MemoryCache(5)
        for number in range(10):
            cache[Odd(number)] = number
        assert list(cache.values()) == [5, 6, 7, 8, 9]
        assert cache[Odd(7)] == 7
        assert Odd(2) not in cache

    def test_recursion_without_end_is_an_error_and_not_a_crash(self):
        class Endless(Key):
            def __eq__(self, other):
                return cache.get(Endless(self.number)) is None

            __hash__ = Key.__hash__

        cache = MemoryCache()
        cache[Endless(0)] = 0
        with pytest.raises(RecursionError):
            cache.get(Endless(2))
        assert len(cache) == 1

    def test_finalizers_without_end(self):
        """Each value dropped puts in another that does the same: a chain as long as the finalizers make it."""
        dropped = []

        def again():
            dropped.append(1)
            if len(dropped) < 2000:
                cache["k"] = Finalized(again)

        cache = MemoryCache(1)
        cache["k"] = Finalized(again)
        cache["k"] = "plain"
        cache.clear()
        assert 1 <= len(dropped) <= 2000
        dropped.extend([1] * 2000)
        consistent(cache)


class TestLyingKeys:
    def test_always_equal(self):
        class Same(Key):
            def __eq__(self, other):
                return True

            __hash__ = Key.__hash__

        cache = MemoryCache(4)
        for number in range(0, 20, 2):
            cache[Same(number)] = number
        assert len(cache) == 1
        assert cache[Same(4)] == 18
        cache[Same(1)] = 1
        assert len(cache) == 2

    def test_never_equal(self):
        class Different(Key):
            def __eq__(self, other):
                return False

            __hash__ = Key.__hash__

        listener = Listener()
        cache = MemoryCache(4, on_removal=listener)
        keys = [Different(number) for number in range(10)]
        for key in keys:
            cache[key] = key.number
        assert cache.get(Different(9)) is None
        assert cache[keys[9]] == 9
        assert [value for _, value, _ in listener] == [0, 1, 2, 3, 4, 5]
        # Entries that no look-up but their own finds are pressed out and cleared all the same.
        assert [cache.popitem()[0] for _ in range(4)] == keys[6:]

    def test_hash_that_changes_while_it_is_in(self):
        class Moody(Key):
            def __hash__(self):
                return self.mood

        listener = Listener()
        cache = MemoryCache(4, on_removal=listener)
        keys = []
        for number in range(12):
            key = Moody(number)
            key.mood = number
            keys.append(key)
            cache[key] = number
            key.mood = number + 1000
        assert len(cache) == 4
        assert cache.get(keys[-1]) is None
        cache.resize(2)
        cache.resize(100)
        cache.update((number, number) for number in range(50))
        assert len(cache) == 52
        cache.clear()
        assert sorted(value for key, value, _ in listener if isinstance(key, Moody)) == list(range(12))

    def test_equal_and_not_by_turns(self):
        class Wavering(Key):
            turn = 0

            def __eq__(self, other):
                Wavering.turn += 1
                return Wavering.turn % 3 == 0

            __hash__ = Key.__hash__

        inserted, listener = [], Listener()
        cache = MemoryCache(5, on_removal=listener)
        for number in range(0, 400, 2):
            inserted.append(value := Value(number))
            cache[Wavering(number)] = value
            cache.get(Wavering(number))
            cache.delete(Wavering(number // 2))
            assert len(cache) <= 5
        there = []
        while cache:
            there.append(cache.popitem()[1])
        assert sorted(value.label for _, value, _ in listener) == sorted(value.label for value in inserted)

    def test_eq_that_removes_what_it_is_compared_with(self):
        class Removing(Key):
            armed = False

            def __eq__(self, other):
                if Removing.armed:
                    Removing.armed = False
                    cache.clear()
                return super().__eq__(other)

            __hash__ = Key.__hash__

        for operation in OPERATIONS:
            listener = Listener()
            cache = MemoryCache(10, on_removal=listener)
            cache.update((Removing(each), Value(each)) for each in range(6))
            Removing.armed = True
            with contextlib.suppress(KeyError):
                OPERATIONS[operation](cache, Removing(4))
            Removing.armed = False
            assert len(cache) <= 6
            assert len({id(value) for _, value, _ in listener}) == len(listener)
            consistent(cache)

    def test_eq_that_replaces_what_it_is_compared_with(self):
        class Replacing(Key):
            armed = False

            def __eq__(self, other):
                if Replacing.armed:
                    Replacing.armed = False
                    cache[Replacing(self.number)] = "replaced meanwhile"
                return super().__eq__(other)

            __hash__ = Key.__hash__

        for operation in ("get", "[]", "peek", "pop", "setdefault", "get_or_compute"):
            cache = MemoryCache(10)
            cache[Replacing(2)] = "first"
            Replacing.armed = True
            assert OPERATIONS[operation](cache, Replacing(2)) in ("first", "replaced meanwhile")
            Replacing.armed = False
            assert len(cache) == (operation != "pop")

    @pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ("items", "==")])
    def test_eq_that_inserts_a_fresh_key_each_time_ends(self, operation):
        class Endless(BaseException):
            pass

        class Inserting(Key):
            armed = False
            asked = 0

            def __eq__(self, other):
                if Inserting.armed:
                    Inserting.asked += 1
                    if Inserting.asked > 50_000:
                        raise Endless
                    cache[("fresh", Inserting.asked)] = 1
                return super().__eq__(other)

            __hash__ = Key.__hash__

        for maxsize in (5, 100, 2**20):
            cache = MemoryCache(maxsize)
            cache.update((Inserting(each), each) for each in range(0, 10, 2))
            Inserting.armed, Inserting.asked = True, 0
            with contextlib.suppress(KeyError, RuntimeError):
                OPERATIONS[operation](cache, Inserting(6))
            Inserting.armed = False
            assert len(cache) <= maxsize
            consistent(cache)

    def test_eq_that_inserts_equal_hashes_each_time_ends(self):
        """Each comparison puts another key where the look-up goes on; the keys themselves end it, after a while."""

        class Inserting(Key):
            left = 0

            def __eq__(self, other):
                if Inserting.left > 0:
                    Inserting.left -= 1
                    cache[Plain(1000 + 2 * Inserting.left)] = 1
                return super().__eq__(other)

            __hash__ = Key.__hash__

        class Plain(Key):
            pass

        for operation in OPERATIONS:
            cache = MemoryCache(400)
            cache.update((Inserting(each), each) for each in range(0, 10, 2))
            Inserting.left = 300
            with contextlib.suppress(KeyError, RuntimeError):
                OPERATIONS[operation](cache, Inserting(6))
            Inserting.left = 0
            consistent(cache)


class TestValues:
    def test_that_are_put_back_by_their_finalizer(self):
        saved = []

        class Phoenix:
            def __del__(self):
                saved.append(self)

        cache = MemoryCache(2)
        for number in range(6):
            cache[number] = Phoenix()
        cache.clear()
        cache[0] = Phoenix()
        cache[0] = 1
        cache[1] = Phoenix()
        cache.delete(1)
        assert len(saved) == 8
        saved.clear()
        assert len(cache) == 1

    def test_that_put_themselves_back_into_the_cache(self):
        class Phoenix:
            lives = 3

            def __del__(self):
                if self.lives:
                    self.lives -= 1
                    cache["back"] = self

        cache = MemoryCache(5)
        cache["k"] = Phoenix()
        cache["k"] = 1
        assert isinstance(cache["back"], Phoenix)
        phoenix = weakref.ref(cache["back"])
        cache.clear()
        cache.clear()
        cache.clear()
        cache.clear()
        gc.collect()
        assert phoenix() is None
        consistent(cache)

    def test_finalizers_of_many_values_during_clear(self):
        dropped = []

        def note():
            dropped.append(len(cache))
            cache[("note", len(dropped))] = 1

        cache = MemoryCache(10_000)
        cache.update((number, Finalized(note)) for number in range(1000))
        cache.clear()
        assert len(dropped) == 1000
        assert len(cache) == 1000

    def test_finalizers_run_with_no_lock_held(self):
        """A finalizer may wait for another thread that uses the cache."""
        results = []

        def use():
            cache["x"] = 1
            return cache.pop("x")

        def wait_for_another():
            results.append(Task(use).result(10))

        cache = MemoryCache(3)
        for operation in (
            lambda: cache.set("k", 1),
            lambda: cache.delete("k"),
            lambda: cache.pop("k") and None,
            lambda: cache.clear(),
            lambda: cache.popitem() and None,
            lambda: cache.update(a=1, b=2, c=3),
            lambda: cache.resize(1) or cache.set("l", 1) or cache.resize(3),
        ):
            cache.clear()
            cache["k"] = Finalized(wait_for_another)
            before = len(results)
            operation()
            assert len(results) == before + 1


class TestThreadsWithin:
    """A callback may start a thread that uses the same cache, and wait for it: no lock is held then."""

    def use(self):
        cache = self.cache
        cache["from another thread"] = 1
        cache.get(Key(6)), cache.get("from another thread"), len(cache), list(cache.items())
        cache.touch("from another thread"), cache.stats(), cache.expire()
        cache.get_or_compute("loaded in another thread", dict)
        return cache.delete("from another thread")

    def waits(self):
        if self.armed:
            self.armed = False
            self.outcomes.append("the other thread was kept out")
            self.outcomes[-1] = Task(self.use).result(10)

    def run(self, operation, on_eq=None, on_hash=None, **settings):
        self.outcomes = []
        self.armed = False
        self.cache = MemoryCache(20, **settings)
        self.cache.update((Key(each, on_eq, on_hash), each) for each in range(0, 10, 2))
        self.armed = True
        with contextlib.suppress(KeyError):
            OPERATIONS[operation](self.cache, Key(6, on_eq, on_hash))
        # An operation need not call back; where it does, the other thread must not be kept out.
        assert self.outcomes in ([], [True])
        self.armed = False
        consistent(self.cache)
        return bool(self.outcomes)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_eq(self, operation):
        asked = self.run(operation, on_eq=self.waits)
        assert asked or operation in NO_KEYS

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_hash(self, operation):
        asked = self.run(operation, on_hash=self.waits)
        assert asked or operation in NO_KEYS

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_listener(self, operation):
        called = self.run(operation, on_removal=lambda key, value, cause: self.waits())
        assert called or operation not in ("set", "[]=", "update", "delete", "del", "pop", "popitem", "clear", "resize")

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_weigher(self, operation):
        called = self.run(operation, max_weight=100, weigher=lambda key, value: (self.waits(), 1)[1])
        assert called or operation not in ("set", "[]=", "update")

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_timer(self, operation):
        clock = Clock()
        called = self.run(operation, ttl=10, timer=lambda: (self.waits(), clock())[1])
        assert called or operation in NO_KEYS

    def test_loader(self):
        self.outcomes, self.armed = [], True
        self.cache = MemoryCache(20)
        assert self.cache.get_or_compute("k", lambda: self.waits() or "loaded") == "loaded"
        assert self.outcomes == [True]


class TestDroppedFromWithin:
    """The last reference the program has to a cache goes while one of the cache's calls runs."""

    def drop(self):
        if self.armed:
            self.armed = False
            self.caches.clear()
            gc.collect()

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("by", ["eq", "hash", "del", "listener", "weigher", "timer"])
    def test_by(self, by, operation):
        self.armed = False
        settings, clock = {}, Clock()
        if by == "listener":
            settings["on_removal"] = lambda key, value, cause: self.drop()
        if by == "weigher":
            settings |= {"max_weight": 100, "weigher": lambda key, value: (self.drop(), 1)[1]}
        settings["timer"] = (lambda: (self.drop(), clock())[1]) if by == "timer" else clock
        self.caches = [MemoryCache(6, ttl=10, **settings)]
        gone = weakref.ref(self.caches[0])
        on_eq = self.drop if by == "eq" else None
        on_hash = self.drop if by == "hash" else None
        for each in range(0, 12, 2):
            value = Finalized(self.drop) if by == "del" else Value(each)
            self.caches[0].set(Key(each, on_eq, on_hash), value, ttl=5 if each == 4 else 100)
        del value
        clock.advance(7)
        self.armed = True
        with contextlib.suppress(KeyError):
            OPERATIONS[operation](self.caches[0], Key(6, on_eq, on_hash))
        self.armed = False
        self.caches.clear()
        gc.collect()
        assert gone() is None

    def test_by_the_loader(self):
        caches = [MemoryCache()]
        gone = weakref.ref(caches[0])

        def load():
            caches.clear()
            gc.collect()
            return "loaded"

        assert caches[0].get_or_compute("k", load) == "loaded"
        gc.collect()
        assert gone() is None

    def test_while_another_thread_waits_in_it(self):
        caches = [MemoryCache()]
        gone = weakref.ref(caches[0])
        begun, go = threading.Event(), threading.Event()

        def load():
            begun.set()
            assert go.wait(30)
            return "loaded"

        leader = Task(lambda: caches[0].get_or_compute("k", load))
        assert begun.wait(30)
        waiter = Task(lambda: caches[0].get_or_compute("k", lambda: "own"))
        threading.Event().wait(0.05)
        caches.clear()
        go.set()
        assert leader.result() == "loaded"
        with contextlib.suppress(IndexError):
            assert waiter.result() == "loaded"
        del leader, waiter
        gc.collect()
        assert gone() is None

    def test_finalizers_of_values_that_look_for_the_dying_cache(self):
        found = []

        def look():
            cache = gone()
            found.append(cache is None or len(cache) >= 0)

        cache = MemoryCache()
        gone = weakref.ref(cache)
        cache.update((number, Finalized(look)) for number in range(100))
        del cache
        gc.collect()
        assert gone() is None
        assert found == [True] * 100

    def test_finalizer_of_a_subclass_that_uses_and_resurrects_it(self):
        saved = []

        class Undying(MemoryCache):
            def __del__(self):
                self["last words"] = len(self)
                if not saved:
                    saved.append(self)

        cache = Undying()
        cache.update(a=1, b=2)
        del cache
        gc.collect()
        [cache] = saved
        assert dict(cache.items()) == {"a": 1, "b": 2, "last words": 2}
        consistent(cache)


actions = st.sampled_from(sorted(set(ACTIONS) - {"grow"}))
steps = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 7))


class TestAnyProgram:
    """Random programs in which every callback runs the next of a list of random actions."""

    @given(
        program=st.lists(steps, max_size=25),
        inner=st.lists(st.one_of(actions, st.just("raise"), st.just("advance")), max_size=60),
        maxsize=st.integers(1, 6),
        weighs=st.booleans(),
    )
    def test_stays_consistent_and_accounts_for_every_value(self, program, inner, maxsize, weighs):
        todo, inserted, removed, surprises, depth = list(inner), [], [], [], 0
        clock = Clock()

        class Broken(Exception):
            pass

        def act(may_raise=True):
            nonlocal depth
            if not todo or depth >= 4:
                return
            depth += 1
            try:
                name = todo.pop()
                if name == "raise":
                    if may_raise:
                        raise Broken
                elif name == "advance":
                    clock.advance(TICK)
                else:
                    with contextlib.suppress(Broken, KeyError, LoaderCycle):
                        perform(name)
                limit = cache.stats()
                assert limit.size <= limit.maxsize
            except Broken:
                if may_raise:
                    raise
            except Exception as error:
                # Raised in a listener or a finalizer it would go no further.
                surprises.append(error)
                raise
            finally:
                depth -= 1

        def fresh(source):
            inserted.append(Finalized(lambda: act(may_raise=False)))
            return inserted[-1]

        def perform(name):
            if name == "set":
                put(Key(len(todo) % 8, act, act))
            elif name in ("set fresh", "set many", "setdefault", "load"):
                put(Key(100 + len(todo), act, act))
            else:
                ACTIONS[name](cache, len(todo))

        def put(key):
            value = fresh(key)
            before = len(removed)
            try:
                cache[key] = value
            except Broken:
                # Refused by its own key or weigher: then it never was there, or it is and was reported.
                if all(gone is not value for gone in removed[before:]) and all(
                    there is not value for there in list(quiet(cache.values))
                ):
                    inserted.remove(value)

        def quiet(call):
            held = todo[:]
            todo.clear()
            try:
                return list(call())
            finally:
                todo.extend(held)

        def listener(key, value, cause):
            removed.append(value)
            act()

        def weigher(key, value):
            act()
            return 1

        settings = {"max_weight": 5, "weigher": weigher} if weighs else {}
        cache = MemoryCache(maxsize, on_removal=listener, timer=clock, ttl=3 * TICK, **settings)
        log = logging.getLogger("khronos_fast.memory")
        log.disabled = True
        try:
            for name, number in program:
                key = Key(number, act, act)
                with contextlib.suppress(KeyError, Broken, LoaderCycle):
                    if name in ("set", "[]=", "update", "setdefault", "get_or_compute"):
                        put(key)
                    elif name != "==":
                        OPERATIONS[name](cache, key)
                stats = cache.stats()
                assert stats.size <= stats.maxsize
                assert not weighs or stats.weight <= 5
            todo.clear()
            cache.expire()
            accounted(inserted, cache, removed)
            assert surprises == []
            consistent(cache)
        finally:
            todo.clear()
            log.disabled = False
            cache.clear()

    @given(
        st.lists(
            st.tuples(st.sampled_from(sorted(OPERATIONS)), actions.filter(lambda name: name != "collect")),
            min_size=1,
            max_size=20,
        ),
        st.integers(1, 40),
    )
    def test_lists_and_copies_while_keys_act(self, program, maxsize):
        acts = Acts(times=100)
        cache = MemoryCache(maxsize)
        cache.update((Key(each, acts, acts), each) for each in range(10))
        acts.cache = cache
        for operation, action in program:
            acts.actions = [ACTIONS[action]]
            with contextlib.suppress(KeyError):
                OPERATIONS[operation](cache, Key(3, acts, acts))
            assert len(copy.copy(cache)) <= 1000
            list(cache.items()), list(cache.keys()), list(cache)
        acts.cache = None
        assert acts.errors == []
        consistent(cache)
