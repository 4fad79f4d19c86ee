"""The memory cache in plain Python, and the machine that drives a real one beside it.

The model says what the contract says and nothing of how: an entry is gone at the moment it expires, whenever the
cache gets around to dropping it. So the cache may report an expired entry at any call from then on, but must have
reported it once `expire()` or `stats()` has returned; every other removal is reported by the call that caused it.

Time goes by in whole ticks, and an entry's time to live ends a little more than 5 ms before one of them: so no entry is
ever found in the 5 ms after its expiry, in which it may, but need not, leave before a live one. What happens at the
very moment of expiry is tested elsewhere.
"""

import copy
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from khronos_fast import MemoryCache, RemovalCause

from .support import NO_COUNTS, TICK, WINDOW, Clock, Listener, SameHash

MISSING = object()
DAY = 86400.0
YEAR = 365 * DAY


def seconds(ttl: object, default: float | None = None) -> float | None:
    if ttl is ...:
        return default
    return ttl.total_seconds() if isinstance(ttl, timedelta) else ttl


class Model:
    """An LRU cache with a time to live and a weight per entry."""

    def __init__(self, clock, maxsize, ttl=None, max_weight=None, weigher=None):
        self.clock = clock
        self.maxsize = maxsize
        self.ttl = seconds(ttl)
        self.max_weight = max_weight
        self.weigher = weigher
        self.entries = {}  # key: (value, expiry, weight), least to most recently used
        self.counts = Counter(NO_COUNTS)
        self.due = []  # expired, and not reported yet
        self.removed = []  # all other removals by the present call

    @property
    def weight(self):
        return sum(weight for _, _, weight in self.entries.values())

    def pass_time(self):
        now = self.clock()
        for key, (value, expiry, _) in list(self.entries.items()):
            if expiry is not None and now >= expiry:
                del self.entries[key]
                self.due.append((key, value, RemovalCause.EXPIRED))
                self.counts["expirations"] += 1

    def remove(self, key, cause):
        value, _, _ = self.entries.pop(key)
        self.removed.append((key, value, cause))
        return value

    def move(self, key):
        self.entries[key] = self.entries.pop(key)

    def look_up(self, key):
        if key not in self.entries:
            self.counts["misses"] += 1
            return MISSING
        self.counts["hits"] += 1
        self.move(key)
        return self.entries[key][0]

    def make_room(self, size, weight=0):
        while len(self.entries) + size > self.maxsize or (
            self.max_weight is not None and self.weight + weight > self.max_weight
        ):
            self.remove(next(iter(self.entries)), RemovalCause.EVICTED)
            self.counts["evictions"] += 1

    def set(self, key, value, ttl=...):
        ttl = seconds(ttl, self.ttl)
        expiry = None if ttl is None else self.clock() + ttl
        weight = self.weigher(key, value) if self.weigher else 0
        if self.max_weight is not None and weight > self.max_weight:
            raise ValueError(weight)
        if key in self.entries:
            self.removed.append((key, self.entries[key][0], RemovalCause.REPLACED))
            self.counts["updates"] += 1
            # It is the most recently used: others are pressed out for its new weight.
            del self.entries[key]
            self.make_room(1, weight)
            self.entries[key] = (value, expiry, weight)
        else:
            self.make_room(1, weight)
            self.entries[key] = (value, expiry, weight)
            self.counts["inserts"] += 1

    def resize(self, maxsize):
        self.maxsize = maxsize
        self.make_room(0)


keys = st.integers(0, 11) | st.integers(0, 3).map(SameHash)
ticks = st.integers(1, 40) | st.integers(41, 2**14)
moments = st.one_of(
    ticks.map(lambda count: count * TICK),
    st.sampled_from([60.0, 3600.0, DAY, 30 * DAY, YEAR]),
    st.integers(1, int(YEAR / TICK)).map(lambda count: count * TICK),
)
ttls = st.one_of(
    st.just(...),
    st.none(),
    ticks.map(lambda count: count * TICK - WINDOW),
    st.sampled_from([1, 60, 3600, DAY, 30 * DAY, YEAR, 10 * YEAR]).map(lambda whole: whole - WINDOW),
    st.integers(1, int(10 * YEAR / TICK)).map(lambda count: count * TICK - WINDOW),
    st.sampled_from([0.001, 0.008]),
    # 6 ms less than whole ticks.
    st.sampled_from([timedelta(milliseconds=244), timedelta(milliseconds=994), timedelta(days=365, milliseconds=-6)]),
)


class CacheMachine(RuleBasedStateMachine):
    """Any program on the cache and on the model beside it: same answers, removals, order, times left and counters.

    Comparing everything asks for listings and statistics, which drop what has expired. Where `looks_every_step` is
    false that happens now and then only, and expired entries pile up in between as they do in an application.
    """

    looks_every_step = True
    with_ttl = True
    with_weights = False
    keys = keys

    cache: MemoryCache

    @initialize(
        maxsize=st.integers(1, 8),
        ttl=ttls.filter(lambda ttl: ttl is not ...),
        max_weight=st.integers(1, 30),
        start=st.sampled_from([0.0, 1000.0, 1.75e9]),
    )
    def start(self, maxsize, ttl, max_weight, start):
        self.clock = Clock(start)
        self.listener = Listener()
        self.serial = 0
        settings = {"ttl": ttl if self.with_ttl else None}
        if self.with_weights:
            settings |= {"max_weight": max_weight, "weigher": lambda key, value: value[1]}
        self.model = Model(self.clock, maxsize, **settings)
        self.cache = MemoryCache(maxsize, timer=self.clock, on_removal=self.listener, **settings)

    def value(self, weight):
        self.serial += 1
        return (self.serial, weight if self.with_weights else 0)

    def both(self, real, expected):
        """Run the call on both; the same answer or exception, the same removals."""
        answers = []
        for call in (real, expected):
            try:
                answers.append(call())
            except (KeyError, ValueError, LookupError) as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        self.compare_removals()
        return answers[0]

    def compare_removals(self):
        reported = self.listener.taken()
        expired = [call for call in reported if call[2] is RemovalCause.EXPIRED]
        for call in expired:
            assert call in self.model.due, f"{call} had not expired, or was reported twice"
            self.model.due.remove(call)
        others = [call for call in reported if call[2] is not RemovalCause.EXPIRED]
        expected = self.model.removed
        assert Counter(others) == Counter(expected)
        pressed_out = [call for call in others if call[2] is RemovalCause.EVICTED]
        assert pressed_out == [call for call in expected if call[2] is RemovalCause.EVICTED]
        self.model.removed = []

    # Reading

    @rule(key=keys)
    def get(self, key):
        default = object()
        found = self.model.look_up(key)
        self.both(lambda: self.cache.get(key, default), lambda: default if found is MISSING else found)

    @rule(key=keys)
    def subscript(self, key):
        def expected():
            found = self.model.look_up(key)
            if found is MISSING:
                raise KeyError(key)
            return found

        self.both(lambda: self.cache[key], expected)

    @rule(asked=st.lists(keys, max_size=6))
    def get_many(self, asked):
        def expected():
            found = [(key, self.model.look_up(key)) for key in asked]
            return {key: value for key, value in found if value is not MISSING}

        self.both(lambda: self.cache.get_many(asked), expected)

    @rule(key=keys)
    def peek(self, key):
        self.both(lambda: self.cache.peek(key, 5), lambda: self.model.entries.get(key, (5,))[0])

    @rule(key=keys)
    def contains(self, key):
        self.both(lambda: key in self.cache, lambda: key in self.model.entries)

    @rule(key=keys)
    def time_left(self, key):
        if key not in self.model.entries:
            self.both(lambda: self.cache.ttl(key), lambda: self.model.entries[key])
        else:
            self.compare_time_left(key)

    # Writing

    @rule(key=keys, weight=st.integers(0, 32), ttl=ttls)
    def set(self, key, weight, ttl):
        value = self.value(weight)
        ttl = ttl if self.with_ttl else ...
        self.both(lambda: self.cache.set(key, value, ttl=ttl), lambda: self.model.set(key, value, ttl))

    @rule(key=keys, weight=st.integers(0, 12))
    def subscript_set(self, key, weight):
        value = self.value(weight)
        self.both(lambda: self.cache.__setitem__(key, value), lambda: self.model.set(key, value))

    @rule(given=st.lists(keys, max_size=5, unique=True), weight=st.integers(0, 4), ttl=ttls, by=st.booleans())
    def set_many(self, given, weight, ttl, by):
        content = {key: self.value(weight) for key in given}
        ttl = ttl if self.with_ttl and by else ...

        def expected():
            for key, value in content.items():
                self.model.set(key, value, ttl)

        if by:
            self.both(lambda: self.cache.set_many(content, ttl=ttl), expected)
        else:
            self.both(lambda: self.cache.update(content), expected)

    @rule(key=keys, weight=st.integers(0, 12))
    def setdefault(self, key, weight):
        value = self.value(weight)

        def expected():
            found = self.model.look_up(key)
            if found is MISSING:
                self.model.set(key, value)
                return value
            return found

        self.both(lambda: self.cache.setdefault(key, value), expected)

    @rule(key=keys, weight=st.integers(0, 12), ttl=ttls, fails=st.booleans(), takes=st.none() | moments)
    def get_or_compute(self, key, weight, ttl, fails, takes):
        if self.with_weights:
            # Whether a load whose value is too heavy has failed is left open.
            weight = min(weight, self.model.max_weight)
        value = self.value(weight)
        ttl = ttl if self.with_ttl else ...

        def load():
            if takes is not None:
                self.clock.advance(takes)
            if fails:
                raise LookupError("no such row")
            return value

        def expected():
            # What expired meanwhile was there while the load began: time has passed already when the model is asked.
            found = self.model.look_up(key)
            if found is not MISSING:
                return found
            if loaded:
                self.model.pass_time()
            if fails:
                self.model.counts["load_failures"] += 1
                raise LookupError("no such row")
            self.model.counts["loads"] += 1
            self.model.set(key, value, ttl)
            return value

        loaded = key not in self.model.entries
        self.both(lambda: self.cache.get_or_compute(key, load, ttl=ttl), expected)

    @rule(key=keys, ttl=ttls)
    def touch(self, key, ttl):
        ttl = ttl if self.with_ttl else ...

        def expected():
            if key not in self.model.entries:
                return False
            value, _, weight = self.model.entries[key]
            left = seconds(ttl, self.model.ttl)
            self.model.entries[key] = (value, None if left is None else self.clock() + left, weight)
            self.model.move(key)
            return True

        self.both(lambda: self.cache.touch(key, ttl=ttl), expected)

    # Removing

    @rule(key=keys)
    def delete(self, key):
        def expected():
            if key not in self.model.entries:
                return False
            self.model.remove(key, RemovalCause.DELETED)
            return True

        self.both(lambda: self.cache.delete(key), expected)

    @rule(key=keys)
    def subscript_delete(self, key):
        self.both(lambda: self.cache.__delitem__(key), lambda: self.model.remove(key, RemovalCause.DELETED) and None)

    @rule(key=keys, default=st.none() | st.just(MISSING) | st.integers())
    def pop(self, key, default):
        def expected():
            if key not in self.model.entries and default is not MISSING:
                return default
            return self.model.remove(key, RemovalCause.DELETED)

        self.both(lambda: self.cache.pop(key, *([] if default is MISSING else [default])), expected)

    @rule(asked=st.lists(keys, max_size=5))
    def delete_many(self, asked):
        def expected():
            there = [key for key in dict.fromkeys(asked) if key in self.model.entries]
            for key in there:
                self.model.remove(key, RemovalCause.DELETED)
            return len(there)

        self.both(lambda: self.cache.delete_many(asked), expected)

    @rule()
    def popitem(self):
        def expected():
            if not self.model.entries:
                raise KeyError
            key = next(iter(self.model.entries))
            return key, self.model.remove(key, RemovalCause.DELETED)

        self.both(self.cache.popitem, expected)

    @rule()
    def clear(self):
        def expected():
            for key in list(self.model.entries):
                self.model.remove(key, RemovalCause.CLEARED)

        self.both(self.cache.clear, expected)

    @rule()
    def expire(self):
        due = len(self.model.due)
        self.both(self.cache.expire, lambda: due)
        assert not self.model.due

    @rule(maxsize=st.integers(1, 12))
    def resize(self, maxsize):
        self.both(lambda: self.cache.resize(maxsize), lambda: self.model.resize(maxsize))

    # Everything else

    @rule()
    def go_on_with_a_copy(self):
        self.look()
        self.cache = copy.copy(self.cache)
        self.model.counts = Counter(NO_COUNTS)
        self.look()

    @rule(by=moments)
    def advance(self, by):
        if self.with_ttl:
            self.clock.advance(by)
            self.model.pass_time()

    @rule()
    def look(self):
        model, stats = self.model, self.cache.stats()
        self.compare_removals()
        assert not model.due, "expired, and not reported after stats()"
        assert list(self.cache.items()) == [(key, entry[0]) for key, entry in model.entries.items()]
        assert list(self.cache) == list(self.cache.keys()) == list(model.entries)
        assert list(self.cache.values()) == [entry[0] for entry in model.entries.values()]
        assert stats.size == len(self.cache) == len(model.entries)
        assert stats.maxsize == model.maxsize
        assert 0 <= stats.usage <= 1
        if not self.with_weights:
            assert stats.usage == pytest.approx(len(model.entries) / model.maxsize)
        expected = dict(model.counts)
        # The contract leaves open whether a failed load is a load.
        assert stats.loads in (expected["loads"], expected["loads"] + expected["load_failures"])
        assert {name: getattr(stats, name) for name in NO_COUNTS if name != "loads"} == {
            name: expected[name] for name in NO_COUNTS if name != "loads"
        }
        asked = expected["hits"] + expected["misses"]
        assert stats.hit_ratio == (pytest.approx(expected["hits"] / asked) if asked else None)
        if self.with_weights:
            assert stats.weight == model.weight
            assert stats.max_weight == model.max_weight
        for key in model.entries:
            self.compare_time_left(key)
        self.compare_removals()

    def compare_time_left(self, key):
        _, expiry, _ = self.model.entries[key]
        left = self.cache.ttl(key)
        assert left == (None if expiry is None else pytest.approx(expiry - self.clock(), abs=1e-6, rel=0))

    @invariant()
    def bounds_hold(self):
        if self.looks_every_step:
            self.look()

    def teardown(self):
        if hasattr(self, "cache"):
            self.look()
