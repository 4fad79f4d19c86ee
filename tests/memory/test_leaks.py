"""Each public method, property and slot, good ways and bad, over and over: no reference and no block stays behind."""

import contextlib
import copy
import gc
import logging
import pickle
import sys
import threading
import weakref
from datetime import timedelta

import pytest

from khronos_fast import Glob, LoaderCycle, MemoryCache

from .support import FREE_THREADED, Clock, Task, Value, run_script

ROUNDS = 2000
WARM_UP = 300


class Thing:
    """A key, a value or a default that is nothing else."""

    def __repr__(self):
        return "Thing"


class Collides:
    """A key in one bucket with all of its kind."""

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return 7

    def __eq__(self, other):
        return self.number == other.number if isinstance(other, Collides) else NotImplemented


class Callback:
    """A listener, weigher or timer whose references can be counted."""

    def __init__(self, result=None):
        self.result = result

    def __call__(self, *arguments):
        return self.result


class Broken(Exception):
    pass


class BadHash:
    def __hash__(self):
        raise Broken


class BadEq:
    def __hash__(self):
        return 7

    def __eq__(self, other):
        raise Broken


class World:
    """A cache with something in it, and every object whose references are watched."""

    def __init__(self):
        self.key, self.other, self.absent = Thing(), Thing(), Thing()
        self.value, self.second, self.default = Thing(), Thing(), Thing()
        self.one, self.two, self.three = Collides(1), Collides(2), Collides(3)
        self.listener, self.weigher, self.clock = Callback(), Callback(1), Clock()
        self.cache = self.make()
        self.fill()

    def make(self, kind=MemoryCache, **more):
        settings = {"on_removal": self.listener, "timer": self.clock, "max_weight": 1000, "weigher": self.weigher}
        return kind(10, 60, **settings | {"name": "leaks"} | more)

    def fill(self):
        self.cache.clear()
        self.cache.set(self.key, self.value)
        self.cache.set(self.other, self.second, ttl=None)
        self.cache.set(self.one, self.value)
        self.cache.set(self.two, self.second)

    def load(self):
        return self.value

    def watched(self):
        return {name: each for name, each in vars(self).items() if name != "cache"} | {"cache": self.cache}


EXERCISES = {}


def exercises(*names):
    """What is to be repeated for these names. It leaves the cache as it was."""

    def register(function):
        for name in names:
            EXERCISES.setdefault(name, []).append(function)
        return function

    return register


def refused(*errors):
    return contextlib.suppress(*errors)


@exercises("get")
def _(w):
    w.cache.get(w.key)
    w.cache.get(w.absent)
    w.cache.get(w.absent, w.default)
    w.cache.get(w.two, default=w.default)
    w.cache.get(w.three)


@exercises("peek")
def _(w):
    w.cache.peek(w.key)
    w.cache.peek(w.absent)
    w.cache.peek(w.absent, w.default)
    w.cache.peek(w.one)


@exercises("__getitem__")
def _(w):
    w.cache[w.key]
    w.cache[w.one]
    with refused(KeyError):
        w.cache[w.absent]


@exercises("__contains__")
def _(w):
    w.key in w.cache
    w.absent in w.cache
    w.three in w.cache


@exercises("set", "__setitem__")
def _(w):
    w.cache.set(w.key, w.second)
    w.cache.set(w.key, w.value, ttl=5)
    w.cache.set(w.key, w.value, ttl=timedelta(seconds=5))
    w.cache.set(key=w.key, value=w.value, ttl=None)
    w.cache[w.key] = w.value
    w.cache[w.absent] = w.value
    del w.cache[w.absent]


@exercises("set")
def _(w):
    """Insertions into a full cache."""
    for _ in range(20):
        w.cache.set(Thing(), w.value)
    w.fill()


@exercises("setdefault")
def _(w):
    w.cache.setdefault(w.key, w.default)
    w.cache.setdefault(w.absent, w.default)
    w.cache.delete(w.absent)
    w.cache.setdefault(w.absent)
    w.cache.delete(w.absent)


@exercises("update")
def _(w):
    w.cache.update({w.key: w.value, w.one: w.second})
    w.cache.update([(w.key, w.second), (w.two, w.value)])
    w.cache.update(iter([(w.key, w.value)]), a=w.value, b=w.value)
    w.cache.update(w.cache)
    w.cache.delete_many(["a", "b"])


@exercises("set_many")
def _(w):
    w.cache.set_many({w.key: w.value, w.absent: w.second}, ttl=5)
    w.cache.set_many({w.key: w.value}, None)
    w.cache.delete(w.absent)


@exercises("get_many")
def _(w):
    w.cache.get_many([w.key, w.absent, w.one])
    w.cache.get_many(iter((w.two, w.two)))


@exercises("delete", "__delitem__")
def _(w):
    w.cache.delete(w.key)
    w.cache.delete(w.absent)
    del w.cache[w.one]
    with refused(KeyError):
        del w.cache[w.absent]
    w.fill()


@exercises("delete_many")
def _(w):
    w.cache.delete_many([w.key, w.absent, w.two])
    w.fill()


@exercises("invalidate")
def _(w):
    texts = {f"user:{user}:{field}": w.value for user in range(3) for field in "ab"}
    for pattern in ("user:1:*", "*:a", "user:2:b", b"nobody:*", Glob("user:[0-9]:*")):
        w.cache.update(texts)
        w.cache.invalidate(pattern)
    for pattern, error in ((42, TypeError), ("*a" * 1001, ValueError)):
        with refused(error):
            w.cache.invalidate(pattern)
    w.cache.delete_many(texts)
    w.fill()


@exercises("pop")
def _(w):
    w.cache.pop(w.key)
    w.cache.pop(w.absent, w.default)
    w.cache.pop(w.two, w.default)
    with refused(KeyError):
        w.cache.pop(w.absent)
    w.fill()


@exercises("popitem")
def _(w):
    while w.cache:
        w.cache.popitem()
    with refused(KeyError):
        w.cache.popitem()
    w.fill()


@exercises("clear")
def _(w):
    w.cache.clear()
    w.cache.clear()
    w.fill()


@exercises("ttl")
def _(w):
    w.cache.ttl(w.key)
    w.cache.ttl(w.other)
    with refused(KeyError):
        w.cache.ttl(w.absent)


@exercises("touch")
def _(w):
    w.cache.touch(w.key)
    w.cache.touch(w.key, ttl=5)
    w.cache.touch(w.key, None)
    w.cache.touch(w.absent, ttl=5)


@exercises("expire", "__len__", "stats")
def _(w):
    w.cache.set(w.absent, w.value, ttl=1)
    w.cache.set(w.three, w.second, ttl=1)
    w.clock.advance(1)
    w.cache.expire()
    w.cache.set(w.absent, w.value, ttl=1)
    w.clock.advance(1)
    len(w.cache), bool(w.cache)
    w.cache.set(w.absent, w.value, ttl=1)
    w.clock.advance(1)
    w.cache.stats(), w.cache.stats().as_dict(), repr(w.cache.stats())
    w.fill()


@exercises("get", "peek", "__contains__", "__getitem__", "pop", "delete", "set", "setdefault", "touch")
def _(w):
    """Entries found expired."""
    for look in (
        lambda: w.cache.get(w.absent),
        lambda: w.cache.peek(w.absent),
        lambda: w.absent in w.cache,
        lambda: w.cache.pop(w.absent, None),
        lambda: w.cache.delete(w.absent),
        lambda: w.cache.touch(w.absent),
        lambda: w.cache.set(w.absent, w.second),
        lambda: w.cache.setdefault(w.absent, w.second),
    ):
        w.cache.set(w.absent, w.value, ttl=1)
        w.clock.advance(1)
        look()
        w.cache.delete(w.absent)
    w.fill()


@exercises("resize")
def _(w):
    w.cache.resize(1)
    w.cache.resize(5000)
    w.cache.resize(10)
    w.fill()


@exercises("keys", "values", "items", "__iter__", "__reversed__")
def _(w):
    list(w.cache.keys()), list(w.cache.values()), list(w.cache.items())
    w.cache.keys(), w.cache.values(), w.cache.items()
    list(w.cache)
    next(iter(w.cache))
    {**w.cache}
    with refused(TypeError, KeyError):
        list(reversed(w.cache))


@exercises("get_or_compute")
def _(w):
    w.cache.get_or_compute(w.key, w.load)
    w.cache.get_or_compute(w.absent, w.load)
    w.cache.delete(w.absent)
    w.cache.get_or_compute(w.absent, loader=w.load, ttl=5)
    w.cache.delete(w.absent)
    # Not stored, because the key was set, deleted or cleared meanwhile.
    w.cache.get_or_compute(w.absent, lambda: w.cache.set(w.absent, w.second) or w.value)
    w.cache.delete(w.absent)
    w.cache.get_or_compute(w.absent, lambda: w.cache.delete(w.absent) or w.value)
    w.cache.get_or_compute(w.absent, lambda: w.cache.get_or_compute(w.three, w.load))
    w.cache.delete_many([w.absent, w.three])


@exercises("name", "maxsize", "max_weight", "delimiter", "default_ttl", "timer", "weigher", "on_removal")
def _(w):
    for name in ("name", "maxsize", "max_weight", "delimiter", "default_ttl", "timer", "weigher", "on_removal"):
        getattr(w.cache, name, None)
        with refused(AttributeError, TypeError):
            setattr(w.cache, name + " that is not there", w.value)


@exercises("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__or__", "__ror__", "__ior__")
def _(w):
    w.cache == {w.key: w.value}
    w.cache != w.cache
    w.cache == w.default
    {w.key: w.value} == w.cache
    with refused(TypeError):
        w.cache < w.cache
    with refused(TypeError):
        w.cache >= w.default
    with refused(TypeError):
        hash(w.cache)


@exercises("__repr__", "__sizeof__", "__class_getitem__", "__dir__", "__bool__")
def _(w):
    repr(w.cache), str(w.cache), sys.getsizeof(w.cache)
    MemoryCache[str, int], MemoryCache[Thing, Thing](maxsize=1)
    type(w.cache).__mro__, w.cache.__class__


@exercises("__copy__", "__deepcopy__")
def _(w):
    copy.copy(w.cache)
    plain = MemoryCache(3, 50)
    plain.update(a=[1], b=[plain])
    copy.deepcopy(plain)
    plain.clear()


@exercises("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
def _(w):
    plain = MemoryCache(3, 50)
    plain.update(a=[1], b=(2, plain))
    twin = pickle.loads(pickle.dumps(plain))
    twin.clear()
    plain.clear()
    with refused(TypeError, pickle.PicklingError):
        pickle.dumps(w.make(timer=lambda: 0.0))
    with refused(TypeError, ValueError, AttributeError, IndexError, KeyError, RuntimeError):
        MemoryCache(3).__setstate__(5)


@exercises("__init__", "__new__", "__init_subclass__", "__subclasshook__")
def _(w):
    cache = w.make()
    cache[w.key] = w.value
    cache.set(w.one, w.second, ttl=5)
    reference = weakref.ref(cache)
    del cache
    assert reference() is None
    MemoryCache(3)
    with refused(RuntimeError, TypeError):
        again = w.make()
        again[w.key] = w.value
        again.__init__(5, on_removal=w.listener)


class Sub(MemoryCache):
    pass


@exercises("__init__")
def _(w):
    """A subclass with attributes, and the collector."""
    cache = w.make(Sub)
    cache.extra = w.value
    cache[w.key] = w.value
    cache["self"] = w.default
    gc.is_tracked(cache), gc.get_referents(cache)


# What is refused or fails.

EMPTY = MemoryCache()


def failing(name, *errors):
    def register(function):
        def run(w):
            with refused(*errors):
                function(w)

        FAILURES[name] = run
        return function

    return register


FAILURES = {}

for method, arguments in {
    "get": (),
    "peek": (),
    "__getitem__": (),
    "__contains__": (),
    "set": (1,),
    "__setitem__": (1,),
    "setdefault": (1,),
    "pop": (),
    "delete": (),
    "__delitem__": (),
    "ttl": (),
    "touch": (),
    "get_or_compute": (dict,),
}.items():
    for what, bad_key, error in (
        ("unhashable", list, TypeError),
        ("raising hash", BadHash, Broken),
        ("raising eq", BadEq, Broken),
    ):

        @failing(f"{method} with {what}", error)
        def _(w, method=method, arguments=arguments, bad_key=bad_key):
            getattr(w.cache, method)(bad_key(), *arguments)


for number, ttl in enumerate([0, -1, float("nan"), float("inf"), "5", True, [], timedelta(0), 1j]):
    for method, arguments in {
        "set": ("bad", 1, ttl),
        "touch": ("bad", ttl),
        "setdefault": ("bad", 1, ttl),
        "set_many": ({"bad": 1}, ttl),
        "get_or_compute": ("bad", dict, ttl),
    }.items():

        @failing(f"{method} with bad ttl {number}", TypeError, ValueError)
        def _(w, method=method, arguments=arguments):
            getattr(w.cache, method)(*arguments)


@failing("constructor", TypeError, ValueError)
def _(w):
    for bad in (
        {"maxsize": 0},
        {"maxsize": "5"},
        {"maxsize": 2**40},
        {"ttl": -1},
        {"ttl": "5"},
        {"timer": 5},
        {"on_removal": 5},
        {"weigher": None},
        {"max_weight": None},
        {"max_weight": -1},
        {"delimiter": 5},
        {"name": 5},
        {"unknown": w.value},
    ):
        with refused(TypeError, ValueError):
            w.make(**bad)
    with refused(TypeError):
        MemoryCache(5, 6, w.value)


@failing("resize", TypeError, ValueError)
def _(w):
    for bad in (0, -1, "5", 2.0, None, True, 2**40):
        with refused(TypeError, ValueError):
            w.cache.resize(bad)


@failing("wrong arguments", TypeError)
def _(w):
    for name in ("get", "set", "pop", "delete", "touch", "ttl", "peek", "setdefault", "get_or_compute", "resize"):
        for arguments in ((), (w.key,) * 5):
            with refused(TypeError):
                getattr(w.cache, name)(*arguments)
        with refused(TypeError):
            getattr(w.cache, name)(w.key, unknown=w.value)


@failing("weigher that raises", Broken)
def _(w):
    def weigher(key, value):
        raise Broken

    cache = w.make(weigher=weigher)
    for call in (
        lambda: cache.set(w.key, w.value),
        lambda: cache.setdefault(w.key, w.value),
        lambda: cache.update({w.key: w.value}),
        lambda: cache.get_or_compute(w.key, w.load),
    ):
        with refused(Broken):
            call()


@failing("weigher that gives nonsense", TypeError, ValueError)
def _(w):
    for weight in (None, "5", True, 1.5, -1, 10**30, 1001):
        cache = w.make(weigher=Callback(weight))
        for call in (lambda: cache.set(w.key, w.value), lambda: cache.get_or_compute(w.key, w.load)):  # noqa: B023
            with refused(TypeError, ValueError):
                call()


@failing("timer that raises or gives nonsense", Broken)
def _(w):
    for reading in ("now", None, float("nan"), float("inf"), 1j):
        cache = w.make(timer=Callback(reading))
        for call in (
            lambda: cache.set(w.key, w.value, ttl=5),  # noqa: B023
            lambda: cache.get(w.key),  # noqa: B023
            lambda: len(cache),  # noqa: B023
            lambda: cache.get_or_compute(w.key, w.load),  # noqa: B023
            lambda: cache.clear(),  # noqa: B023
        ):
            with refused(TypeError, ValueError):
                call()


@failing("listener that raises", Broken)
def _(w):
    def listener(key, value, cause):
        raise Broken

    cache = w.make(on_removal=listener)
    cache[w.key] = w.value
    cache[w.key] = w.second
    cache.delete(w.key)
    cache.update({w.key: w.value, w.one: w.second})
    cache.clear()


@failing("loader that raises", Broken)
def _(w):
    def load():
        raise Broken

    w.cache.get_or_compute(w.absent, load)


@failing("loader that raises what is no exception", KeyboardInterrupt)
def _(w):
    def load():
        raise KeyboardInterrupt

    w.cache.get_or_compute(w.absent, load)


@failing("loader that is none", TypeError)
def _(w):
    w.cache.get_or_compute(w.absent, w.value)


@failing("loader that needs its own key", LoaderCycle)
def _(w):
    w.cache.get_or_compute(w.absent, lambda: w.cache.get_or_compute(w.absent, w.load))


@failing("loader that needs its own key through others", LoaderCycle)
def _(w):
    w.cache.get_or_compute(
        w.absent, lambda: w.cache.get_or_compute(w.three, lambda: w.cache.get_or_compute(w.absent, w.load))
    )


@failing("update with what is no pair", TypeError, ValueError)
def _(w):
    for bad in ([(1, 2, 3)], [1], 5, [[]], [("ok", 1), None]):
        with refused(TypeError, ValueError):
            w.cache.update(bad)
    w.fill()


@failing("iterables that raise half-way", Broken)
def _(w):
    def keys():
        yield w.key
        raise Broken

    def pairs():
        yield w.key, w.value
        raise Broken

    for call in (
        lambda: w.cache.get_many(keys()),
        lambda: w.cache.delete_many(keys()),
        lambda: w.cache.update(pairs()),
    ):
        with refused(Broken):
            call()
    w.fill()


@failing("many with unhashable keys", TypeError)
def _(w):
    for call in (
        lambda: w.cache.get_many([w.key, []]),
        lambda: w.cache.delete_many([w.absent, []]),
        lambda: w.cache.update([(w.key, w.value), ([], 1)]),
        lambda: w.cache.get_many(5),
        lambda: w.cache.delete_many(None),
        lambda: w.cache.set_many(5),
    ):
        with refused(TypeError):
            call()
    w.fill()


@failing("popitem of an empty cache", KeyError)
def _(w):
    EMPTY.popitem()


@failing("attributes", AttributeError, TypeError)
def _(w):
    for name in ("name", "maxsize", "no such attribute"):
        with refused(AttributeError, TypeError):
            setattr(w.cache, name, w.value)
        with refused(AttributeError, TypeError):
            delattr(w.cache, name)


def shown(world):
    return list(world.cache.items())


def repeat(exercise, rounds):
    """Run the exercise often, and compare what the interpreter counts before and after."""
    world = World()
    for _ in range(WARM_UP):
        exercise(world)
    gc.collect()
    before = shown(world)
    watched = world.watched()
    constants = {"None": None, "Ellipsis": ..., "True": True, "()": ()}
    counted = {name: sys.getrefcount(each) for name, each in watched.items()}
    constant = {name: sys.getrefcount(each) for name, each in constants.items()}
    blocks = sys.getallocatedblocks()
    for _ in range(rounds):
        exercise(world)
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    after = {name: sys.getrefcount(each) for name, each in watched.items()}
    assert after == counted
    # Others use the constants too, but not so often; where they are immortal their counts stand still.
    for name, each in constants.items():
        assert abs(sys.getrefcount(each) - constant[name]) < rounds // 2, name
    if not FREE_THREADED:
        assert grown < rounds // 10, f"{grown} blocks more after {rounds} rounds"
    assert {id(key): id(value) for key, value in shown(world)} == {id(key): id(value) for key, value in before}
    # All of it goes with the world.
    references = [weakref.ref(getattr(world, name)) for name in ("key", "value", "second", "listener", "cache")]
    del world, watched, before
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
    for exercise in EXERCISES[name]:
        repeat(exercise, ROUNDS)


@pytest.mark.parametrize("name", FAILURES)
def test_leaves_nothing_behind_when_it_fails(name):
    repeat(FAILURES[name], ROUNDS // 4)


def test_the_failures_do_fail():
    """A bad argument that were accepted would make its leak test prove nothing."""
    for name in FAILURES:
        if " with " in name and not name.startswith("update"):
            world = World()
            before = shown(world)
            FAILURES[name](world)
            assert shown(world) == before, name
            assert "bad" not in world.cache, name


# Attributes that a type has without having defined what they do.
NOT_OURS = {
    *(
        "__doc__",
        "__module__",
        "__dict__",
        "__weakref__",
        "__slots__",
        "__qualname__",
        "__annotations__",
        "__abstractmethods__",
    ),
    *(
        "__parameters__",
        "__orig_bases__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotate__",
        "__annotate_func__",
    ),
    *("__pyx_vtable__", "__annotations_cache__", "__match_args__"),
}


def test_nothing_public_is_left_out():
    public = {name for name in dir(MemoryCache) if not name.startswith("_")}
    special = {name for name in vars(MemoryCache) if name.startswith("__") and name.endswith("__")} - NOT_OURS
    assert public - set(EXERCISES) == set()
    assert special - set(EXERCISES) == set()


def test_waiting_leaves_nothing_behind():
    """Threads that wait for a load: its value, its key and its exception are let go of by all of them."""

    class Key:
        pass

    def flight(fails):
        cache, key = MemoryCache(), Key()
        begun, go = threading.Event(), threading.Event()

        def load():
            begun.set()
            assert go.wait(30)
            if fails:
                raise Broken
            return Value()

        tasks = [Task(lambda: cache.get_or_compute(key, load))]
        assert begun.wait(30)
        tasks += [Task(lambda: cache.get_or_compute(key, load)) for _ in range(3)]
        threading.Event().wait(0.01)
        go.set()
        outcomes = [task.outcome() for task in tasks]
        kept = [weakref.ref(key), weakref.ref(cache), weakref.ref(load)]
        if not fails:
            kept.append(weakref.ref(outcomes[0][0]))
        return kept

    for _ in range(10):
        for fails in (False, True):
            kept = flight(fails)
            gc.collect()
            assert [reference() for reference in kept] == [None] * len(kept)


MANY_CACHES = """
import gc, sys
from khronos_fast import MemoryCache

def round(number):
    cache = MemoryCache(500, ttl=60, on_removal=lambda *removal: None, timer=lambda: float(number))
    for turn in range(1500):
        cache.set(turn % 700, [turn], ttl=1 + turn % 50)
        cache.get(turn % 300)
        if turn % 100 == 0:
            cache.resize(100 + turn % 400)
    cache.clear()
    cache.update((turn, turn) for turn in range(100))

for number in range(20):
    round(number)
gc.collect()
before = sys.getallocatedblocks()
for number in range(100):
    round(number)
gc.collect()
grown = sys.getallocatedblocks() - before
assert grown < 200, grown

try:
    import resource
except ImportError:
    sys.exit()
# What does not come from the interpreter's allocator is seen only in the size of the process.
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
def big():
    cache = MemoryCache(200_000, ttl=60)
    cache.update((turn, turn) for turn in range(200_000))
    cache.resize(10)
    cache.resize(200_000)
for _ in range(3):
    big()
before = peak()
for _ in range(20):
    big()
# One such cache that stayed behind would be some 10 MB.
assert peak() - before < 64 * 2**20, peak() - before
"""


@pytest.mark.skipif(FREE_THREADED, reason="the allocator's figures are not exact there")
def test_whole_caches_in_a_process_of_their_own():
    run_script(MANY_CACHES)
