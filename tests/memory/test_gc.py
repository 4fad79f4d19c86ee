"""The cyclic garbage collector: it sees all that a cache holds, once, and may run at any moment."""

import contextlib
import copy
import gc
import sys
import threading
import weakref
from types import FunctionType, ModuleType

import pytest

from khronos_fast import MemoryCache
from khronos_fast._core.audit import audit

from .support import FREE_THREADED, Clock, Listener, Task, Value, run_script, wait

SETTINGS = {"max_weight": 10**6, "weigher": lambda key, value: 1}


class Holder:
    """An object that can be part of a cycle, be a key and be called."""

    def __init__(self, held=None):
        self.held = held

    def __call__(self, *arguments):
        return 1


class Subclass(MemoryCache):
    pass


def through_value(make):
    cache = make()
    cache["k"] = Holder(cache)
    return cache


def through_value_itself(make):
    cache = make()
    cache["k"] = cache
    return cache


def through_key(make):
    cache = make()
    cache[Holder(cache)] = 1
    return cache


def through_container(make):
    cache = make()
    cache["k"] = [{"deep": (cache,)}]
    return cache


def through_expired_value(make):
    clock = Clock()
    cache = make(timer=clock)
    cache.set("k", Holder(cache), ttl=1)
    clock.advance(2)
    return cache


def through_listener(make):
    listener = Holder()
    cache = make(on_removal=listener)
    listener.held = cache
    return cache


def through_listener_closure(make):
    cache = make(on_removal=lambda key, value, cause: cache.get(key))
    return cache


def through_weigher(make):
    weigher = Holder()
    cache = make(max_weight=10, weigher=weigher)
    weigher.held = cache
    cache["k"] = 1
    return cache


def through_timer(make):
    timer = Holder()
    cache = make(timer=timer)
    timer.held = cache
    cache.set("k", 1, ttl=5)
    return cache


def through_loader(make):
    cache = make()
    cache.get_or_compute("k", lambda: lambda: cache)
    return cache


def through_failed_loader(make):
    cache = make()

    def fail():
        raise LookupError(cache)

    with contextlib.suppress(LookupError):
        cache.get_or_compute("k", fail)
    cache["again"] = fail
    return cache


def through_a_chain_of_caches(make):
    first = last = make()
    for _ in range(50):
        following = make()
        last["next"] = following
        last = following
    last["next"] = first
    return first


def through_many_entries(make):
    cache = make()
    for number in range(2000):
        cache[number if number % 2 else Holder(cache)] = Holder(cache)
    return cache


def through_a_copy(make):
    cache = make()
    cache["k"] = Holder(cache)
    other = copy.copy(cache)
    cache["other"] = other
    other["other"] = cache
    return cache


WAYS = [value for name, value in list(globals().items()) if name.startswith("through_")]


class TestCyclesAreCollected:
    @pytest.mark.parametrize("make", [MemoryCache, Subclass])
    @pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
    def test_cycle(self, way, make):
        gc.collect()
        gone = weakref.ref(way(make))
        gc.collect()
        assert gone() is None
        assert gc.garbage == []

    def test_through_the_dict_and_bound_methods_of_a_subclass(self):
        class Own(MemoryCache):
            def __init__(self):
                super().__init__(10, on_removal=self.left, timer=self.time, max_weight=10, weigher=self.weigh)
                self.me = self
                self["me"] = self.left

            def left(self, key, value, cause):
                pass

            def time(self):
                return 0.0

            def weigh(self, key, value):
                return 1

        gone = weakref.ref(Own())
        kind = weakref.ref(Own)
        gc.collect()
        assert gone() is None
        # The type is part of the cycle as well: it refers to itself, and so does each of its objects.
        del Own
        gc.collect()
        # Python 3.13 without the interpreter lock makes types immortal once a second thread has run.
        assert kind() is None or (FREE_THREADED and sys.version_info < (3, 14))

    def test_finalizers_of_values_in_a_cycle_run_once(self):
        dropped = []

        class Finalized(Holder):
            def __del__(self):
                # The cache is still whole while finalizers run.
                dropped.append(self.held.get("k") is self)

        cache = MemoryCache()
        cache["k"] = Finalized(cache)
        del cache
        gc.collect()
        assert dropped == [True]

    def test_a_cycle_that_a_finalizer_takes_back(self):
        saved = []

        class Saving(Holder):
            def __del__(self):
                saved.append(self.held)

        cache = MemoryCache(3)
        cache.update(a=Saving(cache), b=2)
        del cache
        gc.collect()
        [cache] = saved
        assert list(cache) == ["a", "b"]
        cache.update(c=3, d=4)
        assert list(cache) == ["b", "c", "d"]
        saved.clear()
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        assert gone() is None

    def test_a_cache_that_is_used_after_the_collector_has_emptied_it(self):
        """Finalizers see it whole, but what they put into it is finalized when the entries are already gone."""
        back, seen = [], []

        class Late:
            def __del__(self):
                cache = back.pop()()
                if cache is None:
                    return  # later versions clear such references as well
                seen.append(list(cache))
                cache.update(a=1, b=2)
                seen.append((cache["a"], list(cache)))
                audit(cache)

        class First(Holder):
            def __del__(self):
                # The collector has done away with the weak references there were; this one comes too late for it.
                back.append(weakref.ref(self.held))
                self.held["late"] = late.pop()
                for key in range(20):
                    self.held.get(key)

        late = [Late()]
        cache = MemoryCache(100)
        cache.update((number, number) for number in range(50))
        cache["first"] = First(cache)
        del cache
        gc.collect()
        assert seen in ([], [[], (1, ["b", "a"])])
        assert back == []

    def test_what_is_still_referenced_stays(self):
        cache = through_many_entries(MemoryCache)
        gc.collect()
        assert len(cache) == 1000
        assert all(value.held is cache for value in cache.values())

    def test_dropping_without_a_cycle_needs_no_collection(self):
        gc.collect()
        gc.disable()
        try:
            value = Value()
            cache = MemoryCache(on_removal=Listener(), timer=Clock(), **SETTINGS)
            cache["k"] = value
            cache.set(("key", 1), 1, ttl=5)
            gone, left = weakref.ref(cache), weakref.ref(value)
            del cache, value
            assert gone() is None
            assert left() is None
        finally:
            gc.enable()

    def test_removal_frees_at_once(self):
        cache = MemoryCache(5)
        for remove in (
            lambda: cache.delete("k"),
            lambda: cache.pop("k") and None,
            lambda: cache.popitem() and None,
            lambda: cache.clear(),
            lambda: cache.set("k", 1),
            lambda: cache.update(dict.fromkeys(range(5))),
        ):
            cache.clear()
            cache["k"] = Value()
            gone = weakref.ref(cache["k"])
            remove()
            assert gone() is None


def references(cache):
    """Every reference that the collector is shown from a cache inwards, however many parts the cache is made of."""
    shown, seen, todo = [], {id(cache)}, [cache]
    while todo:
        for each in gc.get_referents(todo.pop()):
            shown.append(each)
            if id(each) not in seen and not isinstance(
                each, (type, ModuleType, FunctionType, Value, Holder, Listener, Clock)
            ):
                seen.add(id(each))
                todo.append(each)
    return shown


def times(shown, looked_for):
    return sum(each is looked_for for each in shown)


class TestWhatTheCollectorSees:
    def test_everything_that_is_held_and_each_once(self):
        key, value, listener, weigher, timer = Value(), Value(), Listener(), Holder(), Clock()
        cache = MemoryCache(on_removal=listener, timer=timer, max_weight=10, weigher=weigher)
        cache[key] = value
        cache.set("mortal", 1, ttl=5)
        shown = references(cache)
        assert [times(shown, each) for each in (key, value, listener, weigher, timer)] == [1] * 5
        assert gc.is_tracked(cache)

    def test_one_object_in_many_places_is_seen_as_often(self):
        shared = Value()
        cache = MemoryCache()
        cache.update(dict.fromkeys(range(10), shared))
        cache[shared] = shared
        assert times(references(cache), shared) == 12

    def test_what_has_left_is_not_seen(self):
        values = [Value() for _ in range(5)]
        cache = MemoryCache(2)
        cache.update(a=values[0], b=values[1], c=values[2])
        cache["c"] = values[3]
        cache.delete("b")
        shown = references(cache)
        assert [times(shown, value) for value in values] == [0, 0, 0, 1, 0]
        cache.clear()
        assert not any(isinstance(each, Value) for each in references(cache))

    def test_of_a_subclass(self):
        value, extra = Value(), Value()
        cache = Subclass()
        cache["k"] = value
        cache.extra = extra
        shown = references(cache)
        assert (times(shown, value), times(shown, extra)) == (1, 1)
        assert any(each is Subclass for each in gc.get_referents(cache))


class TestCollectionAtAnyMoment:
    @pytest.fixture
    def eager(self):
        """Collect at every allocation, but only what the test makes: not the whole test run each time."""
        thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(1)
        yield
        gc.set_threshold(*thresholds)
        gc.unfreeze()

    def program(self, cache, rounds=300):
        for turn in range(rounds):
            cache[turn % 20] = Holder([cache])
            cache.set(("t", turn % 7), Holder(cache), ttl=1)
            cache.get(turn % 11)
            cache.setdefault(turn % 13, [turn])
            cache.get_or_compute(turn % 17, lambda turn=turn: [turn, cache])
            cache.get_many([turn % 3, turn % 5])
            if turn % 10 == 0:
                cache.items(), cache.stats(), repr(cache)
                cache.resize(5 + turn % 9)
            if turn % 25 == 0:
                cache.clear()
            assert len(cache) <= cache.stats().maxsize

    def test_threshold_of_one(self, eager):
        clock, listener = Clock(), Listener()
        cache = MemoryCache(10, timer=lambda: clock() + len(listener) / 8, on_removal=listener)
        self.program(cache)
        assert listener

    def test_garbage_whose_finalizers_use_the_cache(self, eager):
        """Garbage of others may be collected at any allocation in the middle of an operation."""
        calls = []

        class Garbage:
            def __init__(self):
                self.me = self

            def __del__(self):
                if over:
                    return
                calls.append(1)
                number = len(calls)
                cache[("from garbage", number % 5)] = number
                cache.get(number % 20)
                cache.pop(("from garbage", number % 3), None)
                if number % 50 == 0:
                    cache.clear()
                if number % 30 == 0:
                    cache.resize(3 + number % 10)

        def load():
            Garbage()
            return 1

        # Finalizers remove entries, and removals make garbage: it would go on for ever.
        over = []
        cache = MemoryCache(10, on_removal=lambda key, value, cause: over or Garbage())
        for turn in range(500):
            Garbage()
            cache[turn % 20] = [turn]
            cache.get_or_compute(turn % 30, load)
            cache.get(turn % 7)
            cache.items()
            cache.delete(turn % 9)
            assert len(cache) <= cache.stats().maxsize
            if turn % 20 == 0:
                # Without the interpreter lock the collector does not heed a threshold as small as this.
                gc.collect()
        assert len(calls) > 500
        over.append(True)
        gc.collect()

    def test_callbacks_of_the_collector(self, eager):
        def callback(phase, info):
            if not busy:
                busy.append(1)
                cache[phase] = len(cache)
                cache.get("k")
                cache.delete("start")
                busy.clear()

        busy = []
        cache = MemoryCache(5)
        gc.callbacks.append(callback)
        try:
            self.program(cache, 100)
        finally:
            gc.callbacks.remove(callback)
        assert len(cache) <= cache.stats().maxsize

    def test_weak_references_whose_callbacks_use_the_cache(self):
        seen = []
        cache = MemoryCache(3)
        references = []
        for turn in range(200):
            value = Value(turn)
            references.append(
                weakref.ref(value, lambda _, turn=turn: seen.append(cache.get(turn)) or cache.delete(turn - 1))
            )
            cache[turn] = value
        del value
        cache.clear()
        assert len(seen) >= 3
        assert len(cache) == 0

    def test_in_another_thread(self):
        stop = threading.Event()

        def collect():
            turns = 0
            while turns == 0 or not stop.is_set():
                gc.collect()
                turns += 1
            return turns

        gc.collect()
        gc.freeze()
        try:
            collector = Task(collect)
            self.program(MemoryCache(10), 60)
        finally:
            stop.set()
            gc.unfreeze()
        assert collector.result() > 0


class TestWeakReferences:
    def test_to_a_cache(self):
        cache = MemoryCache()
        called = []
        reference = weakref.ref(cache, called.append)
        proxy = weakref.proxy(cache)
        proxy["k"] = 1
        assert reference() is cache
        assert cache["k"] == len(proxy) == 1
        del cache
        gc.collect()
        assert reference() is None
        assert called == [reference]
        with pytest.raises(ReferenceError):
            len(proxy)

    def test_a_bound_method_keeps_it(self):
        cache = MemoryCache()
        get = cache.get
        gone = weakref.ref(cache)
        cache["k"] = 1
        del cache
        assert get("k") == 1
        del get
        gc.collect()
        assert gone() is None

    def test_as_a_value_of_a_weak_dictionary(self):
        caches = weakref.WeakValueDictionary()
        caches["one"] = cache = MemoryCache()
        assert list(caches) == ["one"]
        del cache
        gc.collect()
        assert list(caches) == []

    def test_values_may_be_weak(self):
        cache = MemoryCache()
        value = Value()
        cache["k"] = weakref.ref(value, lambda reference: cache.delete("k"))
        del value
        gc.collect()
        assert "k" not in cache


NEST = """
import gc, sys
from khronos_fast import MemoryCache

class Subclass(MemoryCache):
    pass

def nested(make, depth):
    outer = make()
    for _ in range(depth):
        cache = make()
        cache["inner"] = outer
        outer = cache
    return outer

def mixed(make, depth):
    outer = make()
    for turn in range(depth):
        cache = make()
        cache["inner"] = [outer, (turn,)] if turn % 2 else {"inner": outer}
        outer = cache
    return outer

def cyclic(make, depth):
    outer = first = make()
    for _ in range(depth):
        cache = make()
        cache["inner"] = outer
        outer = cache
    first["outermost"] = outer
    return outer

def expiring(make, depth):
    now = [0.0]
    outer = make(timer=lambda: now[0])
    for _ in range(depth):
        cache = make(timer=lambda: now[0])
        cache.set("inner", outer, ttl=1)
        outer = cache
    now[0] = 2.0
    return outer

depth = 100_000
for build in (nested, mixed, cyclic, expiring):
    for make in (MemoryCache, Subclass):
        for end in ("drop", "clear", "overwrite", "delete", "touch it"):
            outer = build(make, depth if end == "drop" else depth // 4)
            if end == "clear":
                outer.clear()
            elif end == "overwrite":
                outer["inner"] = 1
            elif end == "delete":
                outer.delete("inner")
            elif end == "touch it":
                len(outer)
            del outer
            gc.collect()
print("survived")
"""

AT_EXIT = """
import atexit, gc, sys, threading
from khronos_fast import MemoryCache

class Last:
    def __del__(self):
        cache = globals().get("cache") or self.cache
        cache.get("k"), cache.set("more", 1, ttl=5), len(cache), cache.clear()

cache = MemoryCache(100, ttl=60, on_removal=lambda key, value, cause: None, name="global")
for number in range(50):
    value = Last()
    value.cache = cache
    cache[number] = value
sys.modules["keeps it to the very end"] = cache
atexit.register(lambda: cache.set("at exit", Last.__new__(Last).__dict__.update(cache=cache)))

begun = threading.Event()
def waits_for_ever():
    begun.set()
    threading.Event().wait()
for _ in range(2):
    threading.Thread(target=lambda: cache.get_or_compute("never", waits_for_ever), daemon=True).start()
assert begun.wait(30)
print("survived")
"""


class TestInAProcessOfItsOwn:
    def test_caches_in_caches_a_hundred_thousand_deep(self):
        assert "survived" in run_script(NEST).stdout

    def test_interpreter_shutdown(self):
        done = run_script(AT_EXIT)
        assert "survived" in done.stdout
        assert "Fatal" not in done.stderr


@pytest.mark.skipif(FREE_THREADED, reason="the allocator's figures are not exact there")
def test_caches_leave_no_blocks_behind():
    def cycle():
        cache = through_many_entries(MemoryCache)
        cache.items(), cache.stats(), iter(cache)
        through_listener(Subclass)
        through_a_chain_of_caches(MemoryCache)

    for _ in range(3):
        cycle()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(10):
        cycle()
    gc.collect()
    assert sys.getallocatedblocks() - before < 200


def test_a_leader_that_waits_keeps_only_what_it_needs():
    cache = MemoryCache()
    begun, go = threading.Event(), threading.Event()

    def load():
        begun.set()
        wait(go)
        return Value()

    task = Task(lambda: cache.get_or_compute("k", load) and None)
    wait(begun)
    gc.collect()
    go.set()
    task.result()
    gone = weakref.ref(cache["k"])
    cache.clear()
    gc.collect()
    assert gone() is None
