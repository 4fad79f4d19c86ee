"""Many threads: bounds at every moment, nothing lost, single keys atomic, exact order of calls that do not overlap.

With the interpreter lock threads take turns between bytecodes, so the switch interval is made small here; without it
they run at the same time. The same must hold.
"""

import gc
import itertools
import queue
import sys
import threading
import weakref
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause

from .support import PATIENCE, Clock, Listener, Task, Value, together

THREADS = 4


@pytest.fixture(autouse=True)
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class PythonKey:
    """A key whose hash and equality are Python code: threads switch in the middle of a look-up."""

    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return hash(self.number % 5)

    def __eq__(self, other):
        return isinstance(other, PythonKey) and self.number == other.number

    def __repr__(self):
        return f"PythonKey({self.number})"


kinds = pytest.mark.parametrize("kind", [int, str, PythonKey])


def crowd(work, count=THREADS):
    return together(*[lambda number=number: work(number) for number in range(count)])


class TestBounds:
    @kinds
    def test_never_more_than_maxsize_at_any_moment(self, kind):
        maxsize = 20
        cache = MemoryCache(maxsize)
        done = threading.Event()

        def work(number):
            if number == 0:
                looks = 0
                while looks == 0 or not done.is_set():
                    looks += 1
                    assert len(cache) <= maxsize
                    assert len(cache.items()) <= maxsize
                    assert len(list(cache)) <= maxsize
                    assert cache.stats().size <= maxsize
                return looks
            try:
                for turn in range(6000):
                    cache[kind(turn * number % 70)] = turn
                    cache.get(kind(turn % 50))
                    cache.setdefault(kind(turn % 90), turn)
                    assert len(cache) <= maxsize
            finally:
                if number == 1:
                    done.set()
            return 1

        assert all(crowd(work))
        assert len(cache) == maxsize

    def test_never_more_than_max_weight(self):
        cache = MemoryCache(max_weight=100, weigher=lambda key, value: value)

        def work(number):
            for turn in range(5000):
                cache[turn * (number + 1) % 60] = turn % 30
                stats = cache.stats()
                assert stats.weight <= 100
                assert stats.size <= stats.maxsize
                if turn % 50 == 0:
                    cache.delete(turn % 60)

        crowd(work)
        assert cache.stats().weight == sum(cache.values())

    def test_resize_clear_and_expire_storms(self):
        clock, listener = Clock(), Listener()
        cache = MemoryCache(50, timer=clock, ttl=1, on_removal=listener)
        puts = [[] for _ in range(THREADS)]

        def work(number):
            for turn in range(5000):
                value = Value((number, turn))
                puts[number].append(value)
                cache.set(turn * 7 % 120, value, ttl=None if turn % 3 == 0 else 1)
                match turn % 40 + number:
                    case 10:
                        cache.resize(1 + turn % 60)
                    case 20:
                        cache.clear()
                    case 30:
                        clock.now += 0.5
                        cache.expire()
                    case 35:
                        list(cache.items()), cache.stats()
                    case 39:
                        cache.touch(turn * 7 % 120, ttl=3)
                    case _:
                        cache.get(turn % 100)
                        cache.pop(turn % 110, None)
                assert len(cache) <= 60

        crowd(work)
        cache.expire()
        stats = cache.stats()
        assert stats.size <= stats.maxsize
        reported = Counter(id(value) for _, value, _ in listener)
        there = Counter(map(id, cache.values()))
        assert reported + there == Counter(id(value) for values in puts for value in values)


class TestNothingIsLost:
    @kinds
    def test_without_pressure_every_entry_is_there(self, kind):
        cache = MemoryCache(100_000)
        each = 1500

        def work(number):
            for turn in range(each):
                cache[kind(number * each + turn)] = (number, turn)
                # What this thread set, it sees.
                assert cache[kind(number * each + turn)] == (number, turn)
            return [cache.get(kind(number * each + turn)) for turn in range(each)]

        results = crowd(work)
        for number, result in enumerate(results):
            assert result == [(number, turn) for turn in range(each)]
        assert len(cache) == THREADS * each
        stats = cache.stats()
        assert (stats.inserts, stats.updates, stats.evictions) == (THREADS * each, 0, 0)
        assert (stats.hits, stats.misses) == (2 * THREADS * each, 0)

    @kinds
    def test_growing_while_others_read(self, kind):
        cache = MemoryCache(100_000)
        cache.update((kind(number), number) for number in range(100))

        def work(number):
            if number == 0:
                for turn in range(100, 12000):
                    cache[kind(turn)] = turn
                return True
            return all(cache.get(kind(turn % 100)) == turn % 100 for turn in range(8000))

        assert crowd(work) == [True] * THREADS

    @kinds
    def test_counters_are_exact(self, kind):
        cache = MemoryCache(1000)
        cache.update((kind(number), number) for number in range(100))
        before = cache.stats()

        def work(number):
            for turn in range(2000):
                cache.get(kind(turn % 200))
                cache.set(kind(turn % 100), turn)
                cache.peek(kind(turn % 200))

        crowd(work)
        stats = cache.stats()
        assert stats.hits - before.hits == stats.misses - before.misses == THREADS * 1000
        assert stats.updates - before.updates == THREADS * 2000
        assert stats.inserts == before.inserts

    def test_values_are_dropped_when_the_last_thread_lets_go(self):
        cache = MemoryCache(10)
        alive = weakref.WeakSet()
        lock = threading.Lock()

        def work(number):
            for turn in range(4000):
                value = Value(turn)
                with lock:
                    alive.add(value)
                cache[turn % 30] = value
                cache.get((turn + number) % 30)
                cache.pop(turn % 17, None)
                del value

        crowd(work)
        cache.clear()
        gc.collect()
        assert len(alive) == 0


class TestSingleKeysAreAtomic:
    @kinds
    def test_setdefault_has_one_winner(self, kind):
        cache = MemoryCache(10_000)

        def work(number):
            return [cache.setdefault(kind(turn), (number, turn)) for turn in range(1500)]

        results = crowd(work)
        assert all(result == results[0] for result in results)
        assert cache.stats().inserts == 1500

    @kinds
    def test_pop_gives_each_value_to_one_thread(self, kind):
        cache = MemoryCache(10_000)
        cache.update((kind(number), number) for number in range(3000))

        def work(number):
            return [value for turn in range(3000) if (value := cache.pop(kind(turn), None)) is not None]

        assert sorted(itertools.chain(*crowd(work))) == list(range(3000))
        assert len(cache) == 0

    @kinds
    def test_delete_succeeds_in_one_thread(self, kind):
        cache = MemoryCache(10_000)
        cache.update((kind(number), number) for number in range(3000))

        def work(number):
            return sum(cache.delete(kind(turn)) for turn in range(3000))

        assert sum(crowd(work)) == 3000

    def test_popitem_gives_each_entry_to_one_thread_in_order(self):
        cache = MemoryCache(10_000)
        cache.update((number, number) for number in range(5000))

        def work(number):
            got = []
            while True:
                try:
                    got.append(cache.popitem()[0])
                except KeyError:
                    return got

        results = crowd(work)
        assert sorted(itertools.chain(*results)) == list(range(5000))
        # Each thread took from the front of what was left.
        assert all(result == sorted(result) for result in results)

    @kinds
    def test_get_or_compute_loads_once(self, kind):
        cache = MemoryCache(10_000)
        loads = []

        def work(number):
            return [
                cache.get_or_compute(kind(turn), lambda turn=turn: loads.append(turn) or (number, turn))
                for turn in range(1000)
            ]

        results = crowd(work)
        assert sorted(loads) == list(range(1000))
        assert all(result == results[0] for result in results)
        assert cache.stats().loads == 1000

    @kinds
    def test_a_value_is_one_that_was_set(self, kind):
        """No reader ever sees a key with the value of another, however the entries are moved about."""
        cache = MemoryCache(30)

        def work(number):
            for turn in range(6000):
                key = (turn * (number + 3)) % 100
                cache[kind(key)] = (key, number)
                look = (turn * 5 + number) % 100
                for value in (cache.get(kind(look)), cache.peek(kind(look))):
                    assert value is None or value[0] == look
                if turn % 200 == 0:
                    for listed, value in cache.items():
                        assert listed == kind(value[0])
                if turn % 7 == 0:
                    cache.delete(kind(look))

        crowd(work)

    def test_expiring_keys_under_contention(self):
        """Never a value that had expired before the call, never a miss of one that had not."""
        cache = MemoryCache(1000)
        cache.update((number, -1) for number in range(50))

        def work(number):
            for turn in range(2000):
                if number == 0:
                    cache.set(("mortal", turn % 100), turn, ttl=0.0005)
                else:
                    cache.get(("mortal", turn % 100))
                    assert cache.get(turn % 50) == -1

        crowd(work)

    def test_update_in_turns_counts_every_replacement(self):
        listener = Listener()
        cache = MemoryCache(on_removal=listener)

        def work(number):
            for turn in range(2000):
                cache["k"] = (number, turn)

        crowd(work)
        assert len(listener) == THREADS * 2000 - 1
        seen = {value for _, value, _ in listener} | {cache["k"]}
        assert seen == {(number, turn) for number in range(THREADS) for turn in range(2000)}
        assert {cause for _, _, cause in listener} == {RemovalCause.REPLACED}


class TestListener:
    @kinds
    def test_exactly_once_per_entry(self, kind):
        listener = Listener()
        cache = MemoryCache(25, on_removal=listener)
        inserted = [[] for _ in range(THREADS)]

        def work(number):
            for turn in range(4000):
                value = Value((number, turn))
                if turn % 5:
                    cache[kind(turn * 3 % 80)] = value
                    inserted[number].append(value)
                elif cache.setdefault(kind(turn % 80), value) is value:
                    inserted[number].append(value)
                if turn % 4 == 0:
                    cache.pop(kind(turn % 60), None)
                if turn % 100 == 50:
                    cache.clear()
                if turn % 100 == 75:
                    cache.resize(10 + turn % 30)

        crowd(work)
        reported = Counter(id(value) for _, value, _ in listener)
        there = Counter(map(id, cache.values()))
        assert reported + there == Counter(id(value) for values in inserted for value in values)
        causes = Counter(cause for _, _, cause in listener)
        stats = cache.stats()
        assert (stats.evictions, stats.updates) == (causes[RemovalCause.EVICTED], causes[RemovalCause.REPLACED])

    def test_that_changes_the_cache(self):
        calls = itertools.count()

        def listener(key, value, cause):
            number = next(calls)
            if number % 3 == 0 and number < 20_000:
                cache[("listener", number % 40)] = number
            elif number % 7 == 0:
                cache.pop(number % 30, None)

        cache = MemoryCache(20, on_removal=listener)

        def work(number):
            for turn in range(1500):
                cache[turn * (number + 1) % 60] = turn
                assert len(cache) <= 20
                if turn % 200 == 0:
                    cache.clear()

        crowd(work)
        assert next(calls) > 1000


class TestOrderAcrossThreads:
    """Calls that do not overlap are in exact order, whichever threads they come from."""

    class Workers:
        def __init__(self, count):
            self.inboxes = [queue.SimpleQueue() for _ in range(count)]
            self.done = queue.SimpleQueue()
            self.tasks = [Task(lambda inbox=inbox: self.work(inbox)) for inbox in self.inboxes]

        def work(self, inbox):
            while (call := inbox.get(timeout=PATIENCE)) is not None:
                self.done.put(call())

        def run(self, worker, call):
            """Let that worker make the call, and wait until it has returned."""
            self.inboxes[worker].put(call)
            return self.done.get(timeout=PATIENCE)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            for inbox in self.inboxes:
                inbox.put(None)
            for task in self.tasks:
                task.result()

    def test_of_hits_in_turns(self):
        with self.Workers(3) as workers:
            cache = MemoryCache(3)
            cache.update(a=1, b=2, c=3)
            workers.run(0, lambda: cache.get("a"))
            workers.run(1, lambda: cache.get("b"))
            workers.run(2, lambda: cache.get("a"))
            cache["d"] = 4
            assert list(cache) == ["b", "a", "d"]

    def test_of_hits_seen_by_the_thread_that_evicts(self):
        """Hits that threads may keep to themselves for a while must count before another thread evicts."""
        with self.Workers(2) as workers:
            for rounds in range(300):
                cache = MemoryCache(10)
                cache.update((number, number) for number in range(10))
                kept = rounds % 10
                workers.run(rounds % 2, lambda cache=cache, kept=kept: cache.get(kept))
                for number in range(9):
                    cache[("new", number)] = 1
                assert kept in cache
                assert len(cache) == 10
                assert list(cache)[0] == kept

    @settings(max_examples=40)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.sampled_from(["get", "[]", "set", "touch", "delete", "setdefault"]),
                st.integers(0, 7),
            ),
            max_size=60,
        ),
        st.integers(1, 6),
    )
    def test_of_any_program_handed_from_thread_to_thread(self, program, maxsize):
        listener, expected = Listener(), []
        cache, model = MemoryCache(maxsize, on_removal=listener), {}

        def perform(name, key):
            match name:
                case "get":
                    return cache.get(key)
                case "[]":
                    return cache[key] if key in cache else None
                case "set":
                    return cache.set(key, key)
                case "touch":
                    return cache.touch(key)
                case "delete":
                    return cache.delete(key)
                case "setdefault":
                    return cache.setdefault(key, key)

        with self.Workers(3) as workers:
            for worker, name, key in program:
                workers.run(worker, lambda name=name, key=key: perform(name, key))
                if name == "delete":
                    model.pop(key, None)
                elif key in model:
                    model[key] = model.pop(key)
                elif name in ("set", "setdefault"):
                    if len(model) == maxsize:
                        oldest = next(iter(model))
                        del model[oldest]
                        expected.append(oldest)
                    model[key] = key
            assert list(cache) == list(model)
            assert [key for key, _, cause in listener if cause is RemovalCause.EVICTED] == expected


class TestListings:
    def test_never_raise_and_never_repeat(self):
        cache = MemoryCache(200)
        done = threading.Event()

        def work(number):
            if number == 0:
                for _ in range(400):
                    for listing in (list(cache), list(cache.keys()), [key for key, _ in cache.items()]):
                        assert len(set(listing)) == len(listing) <= 200
                    assert all(value == key for key, value in cache.items())
                    assert len(cache.values()) <= 200
                done.set()
                return 1
            turn = 0
            while turn == 0 or not done.is_set():
                turn += 1
                cache[turn * number % 500] = turn * number % 500
                cache.pop(turn % 300, None)
                if turn % 300 == 0:
                    cache.clear()
                if turn % 200 == 0:
                    cache.resize(50 + turn % 150)
            return turn

        assert all(crowd(work))

    def test_iterating_while_others_change(self):
        cache = MemoryCache(100)
        cache.update((number, number) for number in range(100))
        done = threading.Event()

        def work(number):
            if number == 0:
                walked = 0
                for _ in range(200):
                    for key in cache:
                        walked += 1
                        cache.get(key)
                done.set()
                return walked
            turn = 0
            while turn == 0 or not done.is_set():
                turn += 1
                cache[turn % 150] = turn
            return turn

        assert all(crowd(work))


class TestManyCaches:
    def test_that_use_each_other_from_their_listeners(self):
        """Two caches that fill each other from their listeners, in opposite order: nobody waits for ever."""
        left = {"count": 3000}

        def into(other):
            def listener(key, value, cause):
                if cause is RemovalCause.EVICTED and left["count"] > 0:
                    left["count"] -= 1
                    other()[key] = value

            return listener

        one = MemoryCache(5, on_removal=into(lambda: two))
        two = MemoryCache(5, on_removal=into(lambda: one))

        def work(number):
            for turn in range(800):
                (one if number % 2 else two)[(number, turn)] = turn

        crowd(work)
        assert len(one) <= 5
        assert len(two) <= 5

    def test_that_contain_and_compare_with_each_other(self):
        one, two = MemoryCache(50), MemoryCache(50)

        def work(number):
            first, second = (one, two) if number % 2 else (two, one)
            for turn in range(400):
                first[turn % 60] = turn
                first == second
                second.update(first)
                first.set_many(second)
                first.update(dict(second.items()))

        crowd(work)
        assert len(one) <= 50
        assert len(two) <= 50

    def test_created_and_dropped_all_the_time(self):
        def work(number):
            for turn in range(400):
                cache = MemoryCache(10, on_removal=lambda key, value, cause: None)
                cache.update((key, turn) for key in range(20))
                assert len(cache) == 10
            return True

        assert crowd(work) == [True] * THREADS

    def test_dropped_while_another_thread_uses_it(self):
        for _ in range(100):
            box = [MemoryCache(10)]
            gone = weakref.ref(box[0])

            def work(number, box=box):
                for turn in range(50):
                    try:
                        cache = box[0]
                    except IndexError:
                        return
                    cache[turn % 20] = Value()
                    if number == 0 and turn == 25:
                        box.clear()
                    del cache

            crowd(work, 3)
            assert gone() is None


def test_a_thread_that_ends_in_the_middle_of_everything():
    """Threads come and go; what they noted about a cache while they lived does not go with them, nor stay behind."""
    cache = MemoryCache(10)
    cache.update((number, number) for number in range(10))
    for turn in range(300):
        Task(lambda turn=turn: cache.get(turn % 10)).result()
    # The last ten hits were of 0 to 9 in turn.
    assert list(cache) == list(range(10))
    assert cache.stats().hits == 300


def test_what_one_thread_s_key_raises_is_its_own():
    class Angry:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise ZeroDivisionError

    cache = MemoryCache(100)
    cache[Angry()] = "angry"

    def work(number):
        seen = Counter()
        for turn in range(1000):
            if number % 2:
                try:
                    cache.get(Angry())
                    seen["missed"] += 1
                except ZeroDivisionError:
                    seen["raised"] += 1
            else:
                cache[turn % 80 + 10] = turn
                seen["set"] += 1
        return seen

    assert crowd(work) == [Counter(set=1000), Counter(raised=1000)] * 2
