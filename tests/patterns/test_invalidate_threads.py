"""Invalidations while other threads read, write, load, evict and invalidate.

With the interpreter lock threads take turns between bytecodes, so the switch interval is made small here; without it
they run at the same time. The same must hold.
"""

import functools
import itertools
import random
import sys
import threading
from collections import Counter

import pytest

from khronos_fast import Glob, MemoryCache, RemovalCause
from khronos_fast._core.audit import audit

from .support import PATIENCE, Clock, Flight, Listener, Task, Value, causes, together, wait

INVALIDATED = RemovalCause.INVALIDATED
MANY = 60_000
# An index, and a walk over everything.
patterns = pytest.mark.parametrize("pattern", ["a:*", "a:*[0-9]"])


@pytest.fixture(autouse=True)
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Ledger:
    """Who has written what, and what must be gone since which invalidation.

    Each writer numbers what it writes, and notes a number when that is written. An invalidation takes at least what was
    noted before it began; so whoever begins to look after it has returned may see only later numbers.
    """

    def __init__(self, writers, invalidators):
        self.written = [0] * writers
        self.gone = [[0] * writers for _ in range(invalidators)]

    def invalidate(self, number, call):
        before = list(self.written)
        count = call()
        self.gone[number] = before
        return count

    def floor(self):
        return list(map(max, *self.gone)) if len(self.gone) > 1 else self.gone[0]


def newer(found, floor):
    if found is not None:
        writer, version = found
        assert version > floor[writer], f"{found} was written before an invalidation that has returned: {floor}"


class TestReaders:
    @pytest.mark.parametrize("maxsize", [40, 10_000])
    @pytest.mark.parametrize("several", [["a:*"], ["a:*", "*:*"], ["a:*", "a:[0-4]*", "a:*"]])
    def test_never_see_what_was_invalidated_before_they_began(self, maxsize, several):
        listener = Listener()
        cache = MemoryCache(maxsize, on_removal=listener)
        # A pattern that takes only some of the keys says nothing of the others.
        whole = [pattern for pattern in several if "[" not in pattern]
        ledger = Ledger(2, len(whole))
        done = threading.Event()
        keys = [f"a:{number}" if number % 3 else f"a:{number}".encode() for number in range(70)]

        def write(number):
            try:
                for version in range(1, 2500):
                    cache[keys[version * (number + 3) % 70]] = (number, version)
                    ledger.written[number] = version
            finally:
                done.set()
            return version

        def read():
            rng = random.Random(1)
            while not done.is_set():
                key = rng.choice(keys)
                floor = ledger.floor()
                newer(cache.get(key), floor)
                newer(cache.peek(key), floor)
                for found in cache.get_many(rng.sample(keys, 5)).values():
                    newer(found, floor)
                for found in cache.values():
                    newer(found, floor)
                newer(cache.pop(key, None), floor)

        def invalidate(pattern):
            glob, count = Glob(pattern), 0
            number = whole.index(pattern) if pattern in whole else None
            while not done.is_set():
                if number is None:
                    count += cache.invalidate(glob)
                else:
                    count += ledger.invalidate(number, lambda: cache.invalidate(glob))
            return count

        results = together(
            lambda: write(0),
            lambda: write(1),
            read,
            *[lambda pattern=pattern: invalidate(pattern) for pattern in several],
        )
        stats = cache.stats()
        assert sum(results[3:]) == stats.invalidations == causes(listener)[INVALIDATED]
        written = Counter((number, version) for number in range(2) for version in range(1, results[number] + 1))
        assert Counter(value for _, value, _ in listener) + Counter(cache.values()) == written
        assert stats.inserts + stats.updates == len(listener) + len(cache)
        audit(cache)

    def test_never_get_a_load_that_had_begun_before(self):
        """Neither from the cache nor from the load itself, where they came after it was overtaken."""
        cache = MemoryCache(1000)
        ledger = Ledger(3, 2)
        done = threading.Event()
        keys = [f"a:{number}" for number in range(6)]

        def load(number):
            rng = random.Random(number)

            def loader():
                ledger.written[number] = version = ledger.written[number] + 1
                for _ in range(rng.randrange(20)):
                    cache.peek(keys[0])
                return (number, version)

            try:
                for _ in range(2000):
                    key, floor = rng.choice(keys), ledger.floor()
                    newer(cache.get_or_compute(key, loader), floor)
                    floor = ledger.floor()
                    newer(cache.get(key), floor)
            finally:
                done.set()

        def invalidate(number, pattern):
            while not done.is_set():
                ledger.invalidate(number, lambda: cache.invalidate(pattern))

        together(
            *[lambda number=number: load(number) for number in range(3)],
            lambda: invalidate(0, "a:*"),
            lambda: invalidate(1, "*:?"),
        )
        audit(cache)


class TestAllAtOnce:
    """What one look misses, no later look finds."""

    @patterns
    def test_what_is_gone_for_one_is_gone_for_all(self, pattern):
        cache = MemoryCache(2 * MANY)
        keys = [f"a:{number}" for number in range(MANY)]
        cache.update(zip(keys, keys, strict=True))
        cache.update((number, number) for number in range(100))
        done = threading.Event()
        gone = threading.Event()

        def read(seed):
            rng = random.Random(seed)
            looks = 0
            while not done.is_set() or looks < 50:
                looks += 1
                was_gone = gone.is_set()
                first, second, third = rng.choices(keys, k=3)
                found = cache.get(first)
                assert found in (None, first)
                if found is None or was_gone:
                    gone.set()
                    assert cache.get(second) is cache.peek(third) is None
                    assert second not in cache
                    assert cache.touch(second) is False
                    assert cache.get_many([first, second, third]) == {}
                    assert cache.delete(third) is False
                    assert len(cache) == 100
                    if looks % 20 == 0:
                        assert set(cache) == set(range(100))
                        assert cache.stats().size == 100
                assert rng.randrange(100) in cache

        def invalidate():
            try:
                return cache.invalidate(pattern)
            finally:
                gone.set()
                done.set()

        results = together(invalidate, lambda: read(1), lambda: read(2))
        assert results[0] == MANY
        assert set(cache) == set(range(100))
        audit(cache)

    @patterns
    def test_what_is_written_afterwards_stays(self, pattern):
        """Whoever has seen that something is gone may write it again at once, and keeps it."""
        cache = MemoryCache(2 * MANY)
        cache.update((f"a:{number}", "old") for number in range(MANY))
        begun = threading.Event()

        def invalidate():
            begun.set()
            return cache.invalidate(pattern)

        def write():
            wait(begun)
            while cache.get("a:17") is not None:
                pass
            written = {f"a:{number}": "new" for number in range(0, MANY, 101)} | {"a:new:1": "new", "a:17": "new"}
            for turn, (key, value) in enumerate(written.items()):
                match turn % 4:
                    case 0:
                        assert cache.setdefault(key, value) == "new"
                    case 1:
                        assert cache.get_or_compute(key, lambda: "new") == "new"
                    case _:
                        cache[key] = value
                assert cache[key] == "new"
            return written

        count, written = together(invalidate, write)
        # A key that was written again before the sweep came to it is still one removal.
        assert count == MANY
        assert dict(cache.items()) == written
        audit(cache)

    @patterns
    def test_what_is_written_meanwhile_is_told_of_as_it_is(self, pattern):
        """Written twice, deleted, evicted: each of what is new, with its own cause, and never what is old."""
        listener = Listener()
        cache = MemoryCache(2 * MANY, on_removal=listener)
        cache.update((f"a:{number}", "old") for number in range(MANY))
        begun = threading.Event()

        def invalidate():
            begun.set()
            return cache.invalidate(pattern)

        def write():
            wait(begun)
            while "a:17" in cache:
                pass
            for number in range(0, 3000, 3):
                cache[f"a:{number}"] = "first"
                cache[f"a:{number}"] = "second"
                assert cache.delete(f"a:{number}") is True

        together(invalidate, write)
        told = Counter((value, cause) for _, value, cause in listener)
        assert told == {
            ("old", INVALIDATED): MANY,
            ("first", RemovalCause.REPLACED): 1000,
            ("second", RemovalCause.DELETED): 1000,
        }
        assert len(cache) == 0
        audit(cache)


class TestOnceEach:
    @pytest.mark.parametrize("others", [["a:*"], ["*[0-9]"], ["*", "a:1*", "a:*"], ["a:1:*", "b:*", "*5"]])
    @patterns
    def test_several_invalidations_share_what_there_is(self, pattern, others):
        listener = Listener()
        cache = MemoryCache(2 * MANY, on_removal=listener)
        cache.update((f"a:{number}", number) for number in range(MANY))
        counts = together(*[lambda each=each: cache.invalidate(each) for each in (pattern, *others)])
        assert sum(counts) == MANY
        assert sorted(value for _, value, _ in listener) == list(range(MANY))
        assert causes(listener) == {INVALIDATED: MANY}
        assert len(cache) == 0
        audit(cache)

    RIVALS = {
        "delete": (lambda c: sum(c.delete(f"a:{number}") for number in range(MANY)), RemovalCause.DELETED),
        "pop": (lambda c: sum(c.pop(f"a:{n}", None) is not None for n in reversed(range(MANY))), RemovalCause.DELETED),
        "delete_many": (lambda c: c.delete_many(f"a:{number}" for number in range(MANY)), RemovalCause.DELETED),
        "clear": (lambda c: c.clear(), RemovalCause.CLEARED),
        "shrink": (lambda c: c.resize(10), RemovalCause.EVICTED),
        "evict": (lambda c: c.update((n, n) for n in range(2 * MANY)), RemovalCause.EVICTED),
        "overwrite": (lambda c: c.update((f"a:{n}", -1 - n) for n in range(MANY)), RemovalCause.REPLACED),
        "expire": (lambda c: (c.timer_of_test.advance(10), c.expire()), RemovalCause.EXPIRED),
    }

    @pytest.mark.parametrize("rival", RIVALS)
    @patterns
    def test_beside_whatever_else_removes(self, pattern, rival):
        class Cache(MemoryCache):
            pass

        call, cause = self.RIVALS[rival]
        clock, listener = Clock(), Listener()
        cache = Cache(2 * MANY, 5, timer=clock, on_removal=listener)
        cache.timer_of_test = clock
        for delay in (0, 200, 3000):
            listener.clear()
            cache.clear()
            cache.resize(2 * MANY)
            cache.update((f"a:{number}", number) for number in range(MANY))
            listener.clear()
            before = cache.stats()

            def late(delay=delay):
                for _ in range(delay):
                    cache.get("b")
                return call(cache)

            count, removed = together(lambda: cache.invalidate(pattern), late)
            cache.expire()
            after = cache.stats()
            told = causes(listener)
            assert set(told) <= {INVALIDATED, cause}
            assert told[INVALIDATED] == count == after.invalidations - before.invalidations
            if cause is RemovalCause.DELETED:
                assert told[cause] == removed
            assert len({(key, value) for key, value, _ in listener}) == len(listener)
            put = after.inserts - before.inserts + after.updates - before.updates
            assert len(listener) + len(cache) == MANY + put
            audit(cache)

    def test_any_operations_in_any_order(self):
        """Everything that goes in comes out once or is there."""
        listener, clock = Listener(), Clock()
        cache = MemoryCache(150, timer=clock, ttl=1, on_removal=listener)
        inserted = [[] for _ in range(4)]

        def work(number):
            rng = random.Random(number)
            for _ in range(2500):
                key = f"{rng.choice('ab')}:{rng.choice('xyz')}:{rng.randrange(40)}"
                value = Value(key)
                match rng.randrange(12):
                    case 0 | 1 | 2 | 3:
                        cache.set(key if rng.randrange(2) else key.encode(), value, ttl=rng.choice([None, 1, 5]))
                        inserted[number].append(value)
                    case 4:
                        if cache.setdefault(key, value) is value:
                            inserted[number].append(value)
                    case 5:
                        cache.get(key)
                    case 6:
                        cache.pop(key, None)
                    case 7:
                        cache.invalidate(rng.choice(["a:*", "b:x:*", "a:y:*", "b:*", "c:d:e:*"]))
                    case 8:
                        cache.invalidate(rng.choice(["*:x:*", key, "a:*1", "[b]:z:*", "**", "*:9"]))
                    case 9:
                        list(cache.items()), len(cache)
                    case 10:
                        cache.touch(key, ttl=3)
                    case _:
                        rare = rng.randrange(30)
                        if rare == 0:
                            cache.clear()
                        elif rare == 1:
                            cache.resize(rng.randrange(100, 200))
                        elif rare < 8:
                            clock.now += 0.25
                            cache.expire()
                assert len(cache) <= 200

        together(*[lambda number=number: work(number) for number in range(4)])
        cache.expire()
        audit(cache)
        reported = Counter(id(value) for _, value, _ in listener)
        there = Counter(map(id, cache.values()))
        assert reported + there == Counter(id(value) for values in inserted for value in values)
        assert cache.stats().invalidations == causes(listener)[INVALIDATED]

    def test_a_cache_whose_index_is_built_while_others_write(self):
        """The first pattern of its depth walks over all that is there, and more comes all the time."""
        for depth in range(1, 4):
            cache = MemoryCache(200_000)
            cache.update((f"a:{number}:b:{number % 10}:x", number) for number in range(20_000))
            written = []

            def write(number, cache=cache, written=written):
                for turn in range(3000):
                    key = f"a:{number}:new:{turn}:x"
                    cache[key] = turn
                    if turn % 3 == 0:
                        cache.delete(key)
                    else:
                        written.append(key)
                    cache.pop(f"a:{(turn * 7) % 20_000}:b:{(turn * 7) % 10}:x", None)

            pattern = ":".join(["nobody"] * depth) + ":*"
            together(
                lambda cache=cache, pattern=pattern: cache.invalidate(pattern),
                lambda: write(1),
                lambda: write(2),
            )
            audit(cache)
            assert all(key in cache for key in written)
            for number, expected in ((1, 2000), (2, 2000)):
                there = sum(key.startswith(f"a:{number}:") for key in cache)
                assert there >= expected
                assert cache.invalidate(f"a:{number}:*") == there
            left = len(cache)
            assert cache.invalidate("a:*") == left
            audit(cache)


class TestListener:
    @patterns
    def test_that_uses_the_cache_from_several_invalidations_at_once(self, pattern):
        told = []

        def listener(key, value, cause):
            told.append((value, cause))
            if cause is INVALIDATED and isinstance(value, int) and value % 10 == 0:
                cache[key] = f"again {value}"
                cache.get(f"a:{value + 1}")
                len(cache)

        cache = MemoryCache(2 * MANY, on_removal=listener)
        cache.update((f"a:{number}", number) for number in range(5000))
        counts = together(*[lambda each=each: cache.invalidate(each) for each in (pattern, "a:*", "*")])
        again = {value: cause for value, cause in told if isinstance(value, str)}
        assert set(again.values()) <= {INVALIDATED}
        assert len({value for value, _ in told}) == len(told)
        assert sum(counts) == len(told) == cache.stats().invalidations
        assert sorted(value for value, _ in told if isinstance(value, int)) == list(range(5000))
        assert len(again) + len(cache) == 500
        audit(cache)

    @patterns
    def test_that_waits_for_another_thread(self, pattern):
        """No lock is held while it runs: the other one may do anything, another invalidation too."""

        def use(value):
            # A key of its own: it may be within the first one's `invalidate` that the listener is told of the other.
            cache[f"a:new:{value}"] = -1
            len(cache)
            return cache.invalidate(f"a:new:{value}"), cache.invalidate("b:*"), cache.get("a:3")

        def listener(key, value, cause):
            if value in (0, 4000):
                results.append(Task(functools.partial(use, value)).result(PATIENCE))

        results = []
        cache = MemoryCache(2 * MANY, on_removal=listener)
        cache.update((f"a:{number}", number) for number in range(MANY))
        assert cache.invalidate(pattern) == MANY
        assert results == [(1, 0, None)] * 2
        assert len(cache) == 0
        audit(cache)


class TestLoads:
    @pytest.mark.parametrize("count", [1, 5])
    def test_under_way_when_several_invalidations_come(self, count):
        for _ in range(20):
            cache = MemoryCache()
            flights = [Flight(cache, f"{'ab'[number % 2]}:{number}") for number in range(6)]
            patterns = ["a:*"] * count + ["*:2"]
            together(*[functools.partial(cache.invalidate, pattern) for pattern in patterns])
            for flight in flights:
                assert flight.land() == ("loaded", [])
            assert sorted(cache) == ["b:1", "b:3", "b:5"]
            audit(cache)

    @patterns
    def test_that_land_while_a_large_invalidation_runs(self, pattern):
        """Whether it landed before or during it: nothing of it is left."""
        for _ in range(5):
            cache = MemoryCache(2 * MANY)
            cache.update((f"a:{number}", number) for number in range(MANY // 3))
            flights = [Flight(cache, f"a:load:{number}9") for number in range(4)]
            others = [Flight(cache, f"b:load:{number}") for number in range(4)]

            def land(flights=flights, others=others):
                return [flight.land() for flight in (*flights, *others)]

            begun = threading.Barrier(2)

            def land_when_it_runs(cache=cache, land=land, begun=begun):
                begun.wait(PATIENCE)
                while cache.get("a:1") is not None:
                    pass
                return land()

            def invalidate(cache=cache, begun=begun):
                begun.wait(PATIENCE)
                return cache.invalidate(pattern)

            count, landed = together(invalidate, land_when_it_runs)
            assert count == MANY // 3
            assert landed == [("loaded", [])] * 8
            assert sorted(cache) == [f"b:load:{number}" for number in range(4)]
            audit(cache)

    def test_a_key_that_is_loaded_again_and_again(self):
        """Each load runs once; each value that is kept was loaded after the last invalidation."""
        cache = MemoryCache()
        serial = itertools.count(1)
        done = threading.Event()

        def load():
            try:
                for _ in range(2000):
                    assert cache.get_or_compute("a:1", lambda: next(serial)) is not None
            finally:
                done.set()

        def invalidate():
            while not done.is_set():
                begun = next(serial)
                cache.invalidate("a:*")
                found = cache.get("a:1")
                assert found is None or found > begun

        together(load, load, invalidate)
        stats = cache.stats()
        assert stats.inserts == stats.invalidations + len(cache)
        audit(cache)
